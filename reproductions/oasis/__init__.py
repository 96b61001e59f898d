"""Oasis (Hu et al. 2024): its figures and tables."""
