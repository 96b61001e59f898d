"""Distributed-GAN: its figures and tables."""
