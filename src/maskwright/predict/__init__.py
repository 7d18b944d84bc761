"""From an image of any size to probabilities, tile by tile."""
