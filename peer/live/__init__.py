"""A run as a page: what is known of it, as facts, and the HTML that shows them."""
