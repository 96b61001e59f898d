"""Files that hold images: one module a format, each from a path to what was found there."""
