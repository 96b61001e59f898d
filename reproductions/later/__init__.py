"""Claims of two later papers, DPOSG and DSS-OG."""
