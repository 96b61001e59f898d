"""Reading what runs left, and what is measured while one goes on."""
