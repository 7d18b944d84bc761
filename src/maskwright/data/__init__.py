"""From a folder to training samples."""
