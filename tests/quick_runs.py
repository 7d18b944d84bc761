"""Settings of runs that take a moment."""

from __future__ import annotations

QUICK = (
    "depth=1",
    "width=4",
    "patch_px=32",
    "train.precision=float32",
    "train.layout=contiguous",
    "predict.precision=float32",
)
"""A tiny network of which nothing is measured."""
