"""Carrying out local effects, and combining values."""
