"""A generator outside of hearsay: as ONNX, or as a page that draws in a browser."""
