"""Measures that compare a prediction with the truth."""
