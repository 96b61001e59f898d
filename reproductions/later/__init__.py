"""Two later papers: DPOSG and DSS-OG: its figures and tables."""
