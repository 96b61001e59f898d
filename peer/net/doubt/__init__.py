"""What the two ends of a link have not agreed on yet, as the compute thread sees it."""
