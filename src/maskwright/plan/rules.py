"""The numbers by which a plan is made; an experiment that finds a better one changes it here.

Where each comes from is told in ``docs/decisions/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOWEST_PX = 4
"""Pixels that the lowest level has at least along each side of a usual image."""

CONTEXT = 3.0
"""How many times its thickness of a long object must be seen at most."""

DEEPER_FROM_MINUTES = 30.0
"""Time from which on one more pooling is worth its updates where objects outgrow the context."""

WIDTHS: tuple[tuple[int, int], ...] = ((8, 0), (16, 1500), (32, 6000), (64, 12000))
"""Widths, and the updates that must fit so that one is used."""

FULL_MINUTES = 10.0
"""Time in which these updates must fit; in less time as many fewer as the time is shorter."""

DOUBLED_COST = 2.0
"""How many times longer an update of twice the width takes at least; decides what is measured."""

PATCH_PX = 256
"""Largest side of a patch."""

VOLUME_PATCH_PX = 64**3
"""Voxels that a patch of volumes holds at most."""

SMALLEST_PATCH_PX = {2: 64, 3: 16}
"""Side below which patches are not cut where memory is short."""

THICK = 2.0
"""How many times longer voxels are along one axis before it is pooled later than the others."""

FEWEST_SLICES = 8
"""Slices along such an axis below which each slice is an image of its own."""

RARE_SHARE = 0.01
"""Share of the pixels below which everything but the largest class together is rare."""

RARE_FOREGROUND_SHARE = 0.8
"""Share of the patches that are centred on a class drawn evenly where classes are rare."""

TOUCHING_SHARE = 0.05
"""Share of the objects that must touch another so that their borders are learnt."""

SMALLEST_BORDERED_PX = 8.0
"""Size of objects below which a border would leave no interior."""

STRONGER_FROM_VIEWS = 40.0
"""How often each pixel is seen before random changes are made stronger."""

STRONGER: Mapping[str, Any] = {"scale": 0.4, "elastic_px": 10.0, "noise": 0.3, "share": 0.5}

NETWORK_UPDATES = 2000
"""Updates after which a network has learnt what there is to learn: further ones are for another."""

MOST_NETWORKS = 5
"""How many networks are averaged at most, as prediction takes so many times as long."""

VALIDATING_SHARE = 0.15
"""Share of the time that validations may take."""

FEWEST_VALIDATIONS = 2

MEMORY_SHARE = 0.5
"""Share of the free memory that one update, or one tile, may take."""

ACTIVATION_BYTES = 14.0
"""Bytes that training holds for each number a convolution computes."""

PARAMETER_BYTES = 24.0
"""Bytes for each trained number: itself, gradient, two moments, running average, a copy."""

PREDICTION_BYTES = 32.0
"""Bytes for each pixel of a tile and channel of the first level."""

SMALLEST_TILE_PX = 64

TRAINING_SHARE = 0.9
"""Share of the time that is left for updates and validations, roughly, when a plan is made."""
