"""Weights of one network for another of the same kind: other classes, other channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwright.config import ModelConfig
from maskwright.errors import ConfigError
from maskwright.network_config import setting_text
from maskwright.nn.unet import UNet, build_unet

FOLLOWS_DATA = ("channels", "classes", "image_classes")
"""Settings of the network that may differ: they are those of the images and masks."""

_LEAST_SHARE = 0.5
_NAMES_TOLD = 6


@dataclass(frozen=True)
class Transfer:
    """Which tensors a network takes from another.

    Args:
        source: The other network.
        target: This network.
        taken: Tensors of the same name and shape, running statistics included.
        adapted: Convolutions of the image, changed to another number of channels.
        fresh: Tensors that keep the weights they have.
        parameters: Trainable numbers in the network.
        parameters_taken: How many of them are in ``taken`` and ``adapted``.
    """

    source: ModelConfig
    target: ModelConfig
    taken: tuple[str, ...]
    adapted: tuple[str, ...]
    fresh: tuple[str, ...]
    parameters: int
    parameters_taken: int

    @property
    def share(self) -> float:
        """Share of the parameters that come from the other network."""
        return self.parameters_taken / self.parameters

    def differences(self) -> dict[str, tuple[str, str]]:
        """Settings of the networks that differ although they do not follow from the data.

        Returns:
            The name with the value here and the value there, as they are typed.
        """
        here, there = self.target.model_dump(), self.source.model_dump()
        return {
            name: (setting_text(here[name]), setting_text(there[name]))
            for name in here
            if name not in FOLLOWS_DATA and here[name] != there[name]
        }

    def sentence(self, name: str) -> str:
        """What was taken from the run of this name, adapted and left fresh, with the reasons."""
        tensors = len(self.taken) + len(self.adapted)
        text = (
            f"Took {tensors} of {tensors + len(self.fresh)} tensors ({self.share:.1%} of the "
            f"parameters) from {name}"
        )
        if self.adapted:
            text += (
                f"; adapted: {_listed(self.adapted)} (channels: {self.target.channels} instead of "
                f"{self.source.channels})"
            )
        if self.fresh:
            reasons = [
                f"{getattr(self.target, field)} {noun} instead of {getattr(self.source, field)}"
                for field, noun in (("classes", "classes"), ("image_classes", "image classes"))
                if getattr(self.target, field) != getattr(self.source, field)
            ]
            text += f"; new: {_listed(self.fresh)}" + (
                f" ({', '.join(reasons)})" if reasons else ""
            )
        different = self.told_differences()
        return f"{text}. Other settings: {different}." if different else f"{text}."

    def told_differences(self) -> str:
        """The differences in words, such as ``norm=none instead of batch``."""
        return ", ".join(
            f"{setting}={here} instead of {there}"
            for setting, (here, there) in self.differences().items()
        )


def plan_transfer(model: ModelConfig, source: UNet, *, name: str) -> Transfer:
    """Which tensors a network takes from another: those of the same name and shape.

    Convolutions of the image are adapted where only the channels differ.

    Args:
        model: The network that takes them.
        source: The network they come from.
        name: What the source is called in a message.

    Raises:
        ConfigError: ``from-other-network`` when less than half of the parameters can be taken.

    Example:
        >>> source = build_unet(ModelConfig(depth=1, width=4))
        >>> plan = plan_transfer(ModelConfig(depth=1, width=4, classes=3), source, name="runs/a")
        >>> plan.sentence("runs/a")
        'Took 32 of 34 tensors (99.1% of the parameters) from runs/a; new: head.weight, head.bias
        (3 classes instead of 2).'
    """
    with torch.device("meta"):
        wanted = build_unet(model)
    has = source.state_dict()
    of_image = _of_image(wanted) & _of_image(source)
    taken, adapted, fresh = [], [], []
    for key, tensor in _numbers(wanted).items():
        if key in has and has[key].shape == tensor.shape:
            taken.append(key)
        elif key in of_image and has[key][:, 0].shape == tensor[:, 0].shape:
            adapted.append(key)
        else:
            fresh.append(key)
    sizes = {key: parameter.numel() for key, parameter in wanted.named_parameters()}
    transfer = Transfer(
        source.config,
        model,
        tuple(taken),
        tuple(adapted),
        tuple(fresh),
        sum(sizes.values()),
        sum(sizes.get(key, 0) for key in (*taken, *adapted)),
    )
    if transfer.share < _LEAST_SHARE:
        raise _too_different(transfer, name)
    return transfer


@torch.no_grad()
def apply_transfer(transfer: Transfer, network: UNet, source: UNet) -> None:
    """Copy the tensors of a plan into a network.

    Args:
        transfer: What :func:`plan_transfer` chose.
        network: Changed in place.
        source: The network the tensors come from.
    """
    tensors, has = network.state_dict(), source.state_dict()
    for key in transfer.taken:
        tensors[key].copy_(has[key])
    for key in transfer.adapted:
        tensors[key].copy_(adapt_channels(has[key], tensors[key].shape[1]))


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution of the image for another number of channels.

    w'[o, j] = Σᵢ w[o, i] / C', the same for each of the C' new channels j. An image whose channels
    are all equal is answered as before. From grey this repeats the weights, each divided by C'; to
    grey it is their sum.

    Args:
        weight: Shape ``(O, C, *kernel)``.
        channels: The new number C'.

    Example:
        >>> adapt_channels(torch.tensor([[[[1.0]], [[2.0]], [[3.0]]]]), 2).flatten().tolist()
        [3.0, 3.0]
    """
    total = weight.sum(dim=1, keepdim=True) / channels
    return total.expand(-1, channels, *weight.shape[2:]).contiguous()


def _numbers(network: UNet) -> Mapping[str, Tensor]:
    """Parameters and running statistics, without the counters of batches."""
    return {key: t for key, t in network.state_dict().items() if t.is_floating_point()}


def _of_image(network: UNet) -> set[str]:
    """The convolutions of the image: the first one, and the shortcut around its block."""
    weights = [key for key, t in network.encoder[0].named_parameters() if t.ndim > 1]
    return {f"encoder.0.{key}" for key in weights if key == weights[0] or "shortcut" in key}


def _too_different(transfer: Transfer, name: str) -> ConfigError:
    found = transfer.told_differences()
    settings = " ".join(
        f"--set {setting}={there}" for setting, (_, there) in transfer.differences().items()
    )
    return ConfigError(
        "from-other-network",
        f"--from {name}",
        expected="a network that shares at least half of its parameters with this one",
        found=f"{transfer.share:.1%} of them" + (f" ({found})" if found else ""),
        remedy=f"use {settings}" if settings else "train without --from",
    )


def _listed(names: Sequence[str]) -> str:
    told = ", ".join(names[:_NAMES_TOLD])
    return f"{told} and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else told
