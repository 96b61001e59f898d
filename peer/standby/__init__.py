"""Servers that may die: backups that hold every acknowledged round, and the election of another."""
