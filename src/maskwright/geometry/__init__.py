"""Layer sizes, legal inputs, receptive field, parameters and operations: integers only.

The U-Net of depth ``d`` has ``d`` poolings. Each level holds blocks of convolutions::

    conv conv ───────────── crop, concatenate ────────────► conv conv ► 1×1
       └ pool ► conv conv ── crop, concatenate ─► conv conv ┘ up-conv
                   └ pool ► conv conv ───────────┘ up-conv

``same`` padding keeps every size; ``valid`` (the published network) loses one pixel on each
side at every convolution of size 3. Each axis has its own sizes.
"""

from maskwright.geometry.axis import Axis
from maskwright.geometry.layers import Layer, layer_table
from maskwright.geometry.network import (
    axes_of,
    check_shape,
    is_exact,
    next_legal_shape,
    output_shape,
)

__all__ = [
    "Axis",
    "Layer",
    "axes_of",
    "check_shape",
    "is_exact",
    "layer_table",
    "next_legal_shape",
    "output_shape",
]
