"""``addresses: discover``: peers of one experiment find each other on one network."""
