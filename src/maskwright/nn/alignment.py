"""Which of their convolutions is which of ours: by shape, and by order where shapes repeat."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from maskwright.config import ModelConfig
from maskwright.errors import ConfigError
from maskwright.nn.blocks import Convolution, UpConvolution
from maskwright.nn.likeness import mismatch, settings_like
from maskwright.nn.state_dict import Kind, Layer, kind_of
from maskwright.nn.unet import UNet

Shape = tuple[int, ...]
Signature = tuple[Shape, ...]
Placed = dict[str, tuple["Unit", "Place"]]
"""Our convolution, and the block it is in, by the name of theirs."""

_KINDS: tuple[Kind, ...] = ("convolution", "up", "point")
_MOST_CUTS = 64


@dataclass(frozen=True)
class Place:
    """One convolution of ours.

    Args:
        name: Its name.
        shape: Shape of its weight.
        biased: Whether it has a bias.
        norm: Name of the normalisation that follows it.
    """

    name: str
    shape: Shape
    biased: bool
    norm: str = ""


@dataclass(frozen=True)
class Unit:
    """Convolutions of ours that every program lists together.

    Args:
        family: ``encoder``, ``decoder``, ``upsample`` or ``heads``.
        level: Its level, 0 being the finest.
        places: The convolutions in order.
    """

    family: str
    level: int
    places: tuple[Place, ...]

    @property
    def signature(self) -> Signature:
        """Shapes of its weights."""
        return tuple(place.shape for place in self.places)


def units_of(network: UNet) -> list[Unit]:
    """The blocks, up-convolutions and predictions of a plain network."""
    heads = [network.head, *network.level_heads]
    families: dict[str, Sequence[nn.Module]] = {
        "encoder": list(network.encoder),
        "decoder": list(network.decoder),
        "upsample": list(network.upsample),
        "heads": heads,
    }
    names = {module: name for name, module in network.named_modules()}
    return [
        Unit(family, level, _places(block, names))
        for family, blocks in families.items()
        for level, block in enumerate(blocks)
    ]


def _places(block: nn.Module, names: Mapping[nn.Module, str]) -> tuple[Place, ...]:
    places: list[Place] = []
    for module in block.modules():
        if isinstance(module, Convolution | UpConvolution):
            shape = tuple(module.weight.shape)
            places.append(Place(names[module], shape, module.bias is not None))
        elif any(True for _ in module.parameters(recurse=False)):
            places[-1] = replace(places[-1], norm=names[module])
    return tuple(places)


def align(
    layers: Sequence[Layer], units: Sequence[Unit], model: ModelConfig, subject: str
) -> Placed:
    """Each of their convolutions with ours.

    Args:
        layers: All layers of a file, in its order.
        units: Ours, as :func:`units_of` gives them.
        model: Our network, for messages.
        subject: What the weights are called in a message.

    Raises:
        ConfigError: ``import-mismatch`` when the shapes are others, ``import-ambiguous`` when the
            order does not decide what the shapes leave open.
    """
    readings: list[list[tuple[Signature, ...]]] = []
    grouped: list[tuple[list[Layer], list[Unit]]] = []
    for kind in _KINDS:
        theirs = [layer for layer in layers if layer.kind == kind]
        ours = [unit for unit in units if kind_of(unit.places[0].shape) == kind]
        wanted = [place for unit in ours for place in unit.places]
        lacking = Counter(place.shape for place in wanted)
        lacking.subtract(layer.shape for layer in theirs)
        if any(lacking.values()):
            surplus = [told(layer) for layer in theirs if lacking[layer.shape] < 0]
            missing = [told(place) for place in wanted if lacking[place.shape] > 0]
            like = settings_like(layers, model)
            raise mismatch(subject, surplus=surplus, missing=missing, like=like)
        shapes = tuple(layer.shape for layer in theirs)
        wanted_blocks = Counter(unit.signature for unit in ours)
        cuts = list(itertools.islice(_cuts(shapes, wanted_blocks), _MOST_CUTS))
        if not cuts:
            raise _disorderly(subject, theirs)
        if len(cuts) == _MOST_CUTS:
            raise _ambiguous(subject, units, _MOST_CUTS)
        readings.append(cuts)
        grouped.append((theirs, ours))
    found: dict[tuple[str, ...], Placed] = {}
    for reading in itertools.product(*readings):
        for decoder, heads in itertools.product((1, -1), repeat=2):
            direction = {"encoder": 1, "decoder": decoder, "upsample": decoder, "heads": heads}
            placed: Placed = {}
            for cut, (theirs, ours) in zip(reading, grouped, strict=True):
                placed |= _in_order(cut, theirs, ours, direction)
            listed = dict.fromkeys(placed[x.name][0] for x in layers if x.name in placed)
            if _is_orderly(list(listed), direction):
                found[tuple(place.name for _, place in placed.values())] = placed
    if len(found) != 1:
        raise _ambiguous(subject, units, len(found))
    return found.popitem()[1]


def _cuts(shapes: Signature, left: Counter[Signature]) -> Iterator[tuple[Signature, ...]]:
    """All ways to cut a sequence of shapes into the given blocks."""
    if not shapes:
        yield ()
        return
    for signature in [s for s, n in left.items() if n and shapes[: len(s)] == s]:
        left[signature] -= 1
        for rest in _cuts(shapes[len(signature) :], left):
            yield (signature, *rest)
        left[signature] += 1


def _in_order(
    reading: Sequence[Signature],
    layers: Sequence[Layer],
    units: Sequence[Unit],
    direction: Mapping[str, int],
) -> Placed:
    """Our units for their layers, equal ones in the order of their levels."""
    waiting: dict[Signature, list[Unit]] = {}
    for unit in sorted(units, key=lambda unit: direction[unit.family] * unit.level):
        waiting.setdefault(unit.signature, []).append(unit)
    sequence = [waiting[signature].pop(0) for signature in reading]
    places = [(unit, place) for unit in sequence for place in unit.places]
    return {layer.name: pair for layer, pair in zip(layers, places, strict=True)}


def _is_orderly(sequence: Sequence[Unit], direction: Mapping[str, int]) -> bool:
    """Whether the levels come in order wherever shapes cannot tell them apart."""
    families: dict[str, list[Unit]] = {}
    for unit in sequence:
        families.setdefault(unit.family, []).append(unit)
    shapes = {family: {unit.signature for unit in units} for family, units in families.items()}
    if sum(map(len, shapes.values())) > len(set().union(*shapes.values())):
        return False  # a block of the encoder looks like one of the decoder
    repeating = {family for family, units in families.items() if len(shapes[family]) < len(units)}
    # Up-convolutions are listed the way the blocks of the decoder are.
    if repeating & {"decoder", "upsample"}:
        repeating |= {"decoder", "upsample"}
    for family in repeating:
        units = families[family]
        alike = Counter(unit.signature for unit in units)
        # The first block reads the image, which tells it apart, and has a name of its own in many
        # codes, so that it may lie elsewhere in a file sorted by names.
        elsewhere = {u for u in units if u.family == "encoder" and alike[u.signature] == 1}
        levels = [direction[family] * u.level for u in units if u.level or u not in elsewhere]
        if levels != sorted(levels):
            return False
    return True


def told(entry: Layer | Place) -> str:
    """A layer in a message: its name and shape."""
    return f"{entry.name or 'a tensor without a layer'} {entry.shape}"


def _disorderly(subject: str, layers: Sequence[Layer]) -> ConfigError:
    return ConfigError(
        "import-ambiguous",
        subject,
        expected="the convolutions of a block one after the other",
        found=f"the right shapes in another order, beginning with {told(layers[0])}",
        remedy="save the weights in the order of the network, with "
        "torch.save(network.state_dict(), 'weights.pth')",
    )


def _ambiguous(subject: str, units: Sequence[Unit], ways: int) -> ConfigError:
    repeated = Counter(unit.signature for unit in units)
    alike = [f"{u.family} {u.level}" for u in units if repeated[u.signature] > 1]
    return ConfigError(
        "import-ambiguous",
        subject,
        expected="one way to assign the layers",
        found=(
            f"at least {ways} ways" if ways else "an order that does not say which level is which"
        )
        + f", as {', '.join(alike)} have the same shapes",
        remedy="weights of such a network cannot be imported"
        if ways
        else "save the weights in the order of the network, encoder first and fine to coarse, with "
        "torch.save(network.state_dict(), 'weights.pth')",
    )
