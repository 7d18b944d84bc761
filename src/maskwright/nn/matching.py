"""Weights of another program's U-Net for ours, matched by shape and order.

::

    their layers ──by kind of kernel──▶ convolutions  │ up-convolutions │ predictions
                                            │ cut into blocks of the shapes of ours
                                            ▼
                 ours, by shape; where shapes repeat, by the order of the levels

Shapes alone say where most blocks belong. Where several levels have the same, their order has to
say it: encoders from fine to coarse, decoders one way or the other, whichever fits the levels that
shapes do tell apart. What still fits in two ways, or in none, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from maskwright.config import ModelConfig
from maskwright.errors import ConfigError
from maskwright.geometry.channels import up_channels
from maskwright.nn.alignment import Place, Placed, Shape, align, told, units_of
from maskwright.nn.likeness import mismatch, settings_like
from maskwright.nn.state_dict import Layer, layers_of
from maskwright.nn.unet import build_unet

Concat = Literal["skip-first", "up-first"]

_PLAIN = {"block": "plain", "attention": False, "squeeze_excitation": 0, "image_classes": 0}


@dataclass(frozen=True)
class Row:
    """One line of the mapping.

    Args:
        theirs: Name in the file; empty for what the file does not have.
        ours: Name in our network; empty for what it does not need.
        shape: Shape of the tensor in the file, or of ours.
        change: What was done to it; empty where it was copied.
    """

    theirs: str
    ours: str
    shape: Shape
    change: str = ""


@dataclass(frozen=True)
class Matching:
    """Where each tensor of a file belongs.

    Args:
        rows: The mapping in the order of the file.
        tensors: The weights of our network, complete.
    """

    rows: tuple[Row, ...]
    tensors: Mapping[str, Tensor]


def match(
    tensors: Mapping[str, Tensor],
    model: ModelConfig,
    *,
    concat: Concat = "skip-first",
    subject: str = "weights",
) -> Matching:
    """The weights of our network from those of another program's.

    Args:
        tensors: Their state dict, in its order.
        model: Our network.
        concat: Whether their decoder joins the skip before the upsampled features, as ours does,
            or after them; then the first convolution of each decoder block is reordered.
        subject: What the weights are called in a message.

    Raises:
        ConfigError: ``import-kind`` for a network that is no plain U-Net, ``import-mismatch`` when
            no assignment fits, ``import-ambiguous`` when more than one does, ``import-norm`` when
            the normalisation is another.

    Example:
        >>> model = ModelConfig(depth=1, width=4)
        >>> matching = match(build_unet(model).state_dict(), model)
        >>> matching.rows[0]
        Row(theirs='encoder.0.0.weight', ours='encoder.0.0.weight', shape=(4, 1, 3, 3), change='')
    """
    network = build_unet(model)
    _check_plain(model)
    layers = [_two_scores(layer, model) for layer in layers_of(tensors)]
    units = units_of(network)
    unknown = [told(layer) for layer in layers if layer.kind == "other"]
    if unknown:
        raise mismatch(subject, surplus=unknown)
    places = align(layers, units, model, subject)
    norms = _norms(layers, places, model, subject)
    rows: list[Row] = []
    state = network.state_dict()
    for layer in layers:
        if layer.name in places:
            unit, place = places[layer.name]
            up = up_channels(model, unit.level)[1] if unit.family == "decoder" else 0
            swap = up if concat == "up-first" and place is unit.places[0] else 0
            rows += _copy_convolution(state, layer, place, swap)
    for place_norm, norm in norms:
        rows += _copy_norm(state, place_norm, norm)
    for layer in layers:
        if layer.name in places:
            rows += _fold_bias(state, layer, places[layer.name][1], model, subject)
    order = {name: number for number, name in enumerate(tensors)}
    rows.sort(key=lambda row: order.get(row.theirs, len(order)))
    return Matching(tuple(_as_in_file(row, tensors) for row in rows), state)


def _check_plain(model: ModelConfig) -> None:
    for setting, plain in _PLAIN.items():
        if getattr(model, setting) != plain:
            raise ConfigError(
                "import-kind",
                f"--set {setting}",
                expected=f"{plain}, as weights can be imported into plain U-Nets only",
                found=str(getattr(model, setting)),
                remedy=f"leave {setting} out",
            )
    if model.levels == "fused":
        raise ConfigError(
            "import-kind",
            "--set levels",
            expected="none or supervised, as weights can be imported into plain U-Nets only",
            found="fused",
            remedy="leave levels out",
        )


def _two_scores(layer: Layer, model: ModelConfig) -> Layer:
    """A single score for softmax: the background scores 0, which makes its sigmoid a softmax."""
    single = layer.kind == "point" and layer.shape[0] == 1
    if not single or model.classes != 2 or model.output != "softmax":
        return layer
    padded = {name: torch.cat([torch.zeros_like(t), t]) for name, t in layer.tensors.items()}
    return replace(layer, tensors=padded)


def _as_in_file(row: Row, tensors: Mapping[str, Tensor]) -> Row:
    shape = tuple(tensors[row.theirs].shape) if row.theirs else row.shape
    if shape == row.shape:
        return row
    return replace(row, shape=shape, change="a score of 0 for the background added")


def _norms(
    layers: Sequence[Layer],
    places: Placed,
    model: ModelConfig,
    subject: str,
) -> list[tuple[Place, Layer]]:
    """Their normalisations in order, with the convolutions they follow, in order."""
    theirs = [layer for layer in layers if layer.kind == "norm"]
    normed = [places[layer.name][1] for layer in layers if layer.name in places]
    normed = [place for place in normed if place.norm]
    if not theirs and model.norm == "instance":
        return [(place, Layer("", {})) for place in normed]
    fitting = [layer.shape for layer in theirs] == [place.shape[:1] for place in normed]
    if not fitting or any(layer.has_statistics != (model.norm == "batch") for layer in theirs):
        like = settings_like(layers, model)
        raise ConfigError(
            "import-norm",
            subject,
            expected=f"{len(normed)} normalisations as norm={model.norm} has them",
            found=f"{len(theirs)} of other sizes, order or kind"
            + (f" ({theirs[0].name}: {', '.join(theirs[0].tensors)})" if theirs else ""),
            remedy=f"use --set norm={like['norm']}" if "norm" in like else "use another network",
        )
    return list(zip(normed, theirs, strict=True))


def _copy_convolution(
    state: dict[str, Tensor], layer: Layer, place: Place, swap: int
) -> Iterator[Row]:
    weight = layer.tensors["weight"]
    if swap:
        weight = torch.cat([weight[:, swap:], weight[:, :swap]], dim=1)
    state[f"{place.name}.weight"] = weight
    change = "skip and upsampled channels swapped" if swap else ""
    yield Row(_named(layer, "weight"), f"{place.name}.weight", tuple(weight.shape), change)
    if not place.biased:
        return
    ours = f"{place.name}.bias"
    if "bias" in layer.tensors:
        state[ours] = layer.tensors["bias"]
        yield Row(_named(layer, "bias"), ours, tuple(state[ours].shape))
    else:
        state[ours] = torch.zeros_like(state[ours])
        yield Row("", ours, tuple(state[ours].shape), "0")


def _copy_norm(state: dict[str, Tensor], place: Place, norm: Layer) -> Iterator[Row]:
    for leaf, plain in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0), ("running_var", 1)):
        ours = f"{place.norm}.{leaf}"
        if leaf in norm.tensors:
            state[ours] = norm.tensors[leaf]
            yield Row(_named(norm, leaf), ours, tuple(state[ours].shape))
        elif ours in state:
            state[ours] = torch.full_like(state[ours], plain)
            yield Row("", ours, tuple(state[ours].shape), f"{plain:g}")


def _fold_bias(
    state: dict[str, Tensor], layer: Layer, place: Place, model: ModelConfig, subject: str
) -> Iterator[Row]:
    """Account for a bias of theirs where our convolution has none."""
    if place.biased or "bias" not in layer.tensors:
        return
    bias, theirs = layer.tensors["bias"], _named(layer, "bias")
    if place.norm and model.norm == "batch":
        # γ (x + b − μ) / σ + β = γ (x − (μ − b)) / σ + β
        ours = f"{place.norm}.running_mean"
        state[ours] = (state[ours].double() - bias.double()).to(bias.dtype)
        yield Row(theirs, ours, tuple(bias.shape), "subtracted")
    elif place.norm and model.norm == "instance":
        yield Row(theirs, "", tuple(bias.shape), "left out: the normalisation takes it away")
    elif not bias.any():
        yield Row(theirs, "", tuple(bias.shape), "left out: 0")
    else:
        raise ConfigError(
            "import-bias",
            f"{subject} tensor {theirs}",
            expected=f"no bias, as {place.name} has none here",
            found="one",
            remedy="use --set norm=none if nothing follows it"
            if place.norm
            else "use --set up_bias=true",
        )


def _named(layer: Layer, leaf: str) -> str:
    return f"{layer.name}.{leaf}" if layer.name else leaf
