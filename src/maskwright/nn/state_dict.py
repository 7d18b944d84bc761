"""Weights of other programs: read without running anything, and grouped into layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what weights_only raises; no object is ever made
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskwright.errors import RunError

Kind = Literal["convolution", "up", "point", "norm", "other"]

NESTED = ("state_dict", "model_state_dict", "network_weights", "model")
"""Names under which programs keep the weights in a file that holds more."""

_STATISTICS = ("running_mean", "running_var")
_COUNTER = "num_batches_tracked"
_UNREADABLE = (
    *(UnpicklingError, RuntimeError, EOFError, OSError),
    *(ValueError, LookupError, TypeError, AttributeError),
)


@dataclass(frozen=True)
class Layer:
    """Tensors that belong together: those whose names differ in the last part only.

    Args:
        name: What their names have in common.
        tensors: ``weight``, ``bias``, ``running_mean`` and ``running_var``, where they exist.
    """

    name: str
    tensors: Mapping[str, Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight, or of what stands for it."""
        return tuple(self.tensors.get("weight", next(iter(self.tensors.values()))).shape)

    @property
    def kind(self) -> Kind:
        """What the names and shapes say that it is.

        A kernel with a side of 2 is an up-convolution, one of sides of 1 a 1×1 convolution.
        """
        weight = self.tensors.get("weight")
        if weight is not None and weight.ndim in (4, 5) and self.tensors.keys() <= {
            "weight", "bias"
        }:  # fmt: skip
            return kind_of(self.shape)
        known = {"weight", "bias", *_STATISTICS}
        beside = self.tensors.keys() & {"bias", *_STATISTICS}
        flat = all(tensor.ndim == 1 for tensor in self.tensors.values())
        return "norm" if flat and beside and self.tensors.keys() <= known else "other"

    @property
    def has_statistics(self) -> bool:
        """Whether it normalises with stored means and variances."""
        return all(name in self.tensors for name in _STATISTICS)


def kind_of(shape: tuple[int, ...]) -> Kind:
    """What a convolution's kernel says that it is.

    Example:
        >>> kind_of((8, 4, 3, 3)), kind_of((8, 4, 2, 2)), kind_of((2, 8, 1, 1, 1))
        ('convolution', 'up', 'point')
    """
    kernel = shape[2:]
    if 2 in kernel:
        return "up"
    return "point" if set(kernel) == {1} else "convolution"


def layers_of(tensors: Mapping[str, Tensor]) -> list[Layer]:
    """The layers of a state dict in its order; counters of batches are left out.

    Example:
        >>> tensors = {"a.weight": torch.zeros(3), "a.bias": torch.zeros(3)}
        >>> [(layer.name, layer.kind) for layer in layers_of(tensors)]
        [('a', 'norm')]
    """
    grouped: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        prefix, _, leaf = name.rpartition(".")
        if leaf != _COUNTER:
            grouped.setdefault(prefix, {})[leaf] = tensor
    return [Layer(name, leaves) for name, leaves in grouped.items()]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, in float32.

    Args:
        path: A safetensors file, or one of ``torch.save``, which is read with ``weights_only``: it
            can hold tensors and plain values, but no code. The weights may lie under one of
            :data:`NESTED`. A tensor that is there under several names is given once.

    Returns:
        The tensors in the order of the file. Safetensors files have lost the order of definition;
        their names are sorted, with numbers as numbers.

    Raises:
        RunError: ``weights-missing``, ``weights-unreadable`` for a file that is neither or that
            needs code to be opened, ``weights-none`` without tensors, ``weights-not-finite``.
    """
    if not path.is_file():
        raise RunError(
            "weights-missing",
            str(path),
            expected="a file of weights (.safetensors, .pth or .pt)",
            found="a folder" if path.is_dir() else "none",
            remedy="name the file",
        )
    with path.open("rb") as file:
        start = file.read(2)
    tensors = _read_torch(path) if start in (b"PK", b"\x80\x02") else _read_safetensors(path)
    kept: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = tensor.float() if tensor.is_floating_point() else tensor
        if not bool(torch.isfinite(kept[name]).all()):
            raise RunError(
                "weights-not-finite",
                str(path),
                expected="finite weights",
                found=f"NaN or infinity in {name}",
                remedy="use an earlier file of this training",
            )
    if not kept:
        raise RunError(
            "weights-none",
            str(path),
            expected="named tensors",
            found="none",
            remedy="save them with torch.save(network.state_dict(), 'weights.pth')",
        )
    return kept


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys(), key=_natural)}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, str(error)) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise _unreadable(path, str(error).strip().partition("\n")[0]) from error
    return _tensors_in(content)


def _tensors_in(content: Any) -> dict[str, Tensor]:
    """The named tensors of what a file holds, or of what lies in it under a known name."""
    if not isinstance(content, Mapping):
        return {}
    tensors = {str(name): t for name, t in content.items() if isinstance(t, Tensor)}
    inner = (_tensors_in(content[name]) for name in NESTED if name in content)
    return tensors or next((found for found in inner if found), {})


def _natural(name: str) -> list[list[tuple[int, str]]]:
    """A key that sorts ``conv`` before ``conv2``, and that before ``conv10``."""
    return [
        [(int(text) if text.isdecimal() else 0, text) for text in re.split(r"(\d+)", part)]
        for part in name.split(".")
    ]


def _unreadable(path: Path, reason: str) -> RunError:
    return RunError(
        "weights-unreadable",
        str(path),
        expected="a safetensors file, or tensors alone as torch.save writes them",
        found=f"another file, a damaged one, or one that needs code to be opened ({reason})",
        remedy="in the program that wrote it, save the weights alone with "
        "torch.save(network.state_dict(), 'weights.pth')",
    )
