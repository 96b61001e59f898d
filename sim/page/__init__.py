"""One file that plays a run again, for any browser."""
