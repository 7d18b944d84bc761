"""Reading and writing files: needs a path."""
