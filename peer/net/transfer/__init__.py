"""A value on its way: cut into chunks at one end, received into place at the other."""
