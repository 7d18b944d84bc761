"""A network ready to predict arrays, with all that was asked of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import ChannelIntensity, DataConfig, ModelConfig, PredictConfig
from maskwright.data.intensity import select_channels
from maskwright.data.target_spacing import spacing_missing
from maskwright.errors import ConfigError
from maskwright.nn.unet import UNet
from maskwright.plan.machine import candidates, fastest, reuse_memory
from maskwright.predict.averaging import averaged, passes
from maskwright.predict.engine import torch_engine
from maskwright.predict.ensemble import mean_engine
from maskwright.predict.predictor import (
    BringBack,
    Engine,
    ImagePrediction,
    Normaliser,
    Rule,
    distribution,
    gated,
    joined,
    predict_image,
    z_score,
)
from maskwright.predict.restoring import restore, restored
from maskwright.predict.stack import predict_stack
from maskwright.predict.variants import predict_variants
from maskwright.resampling import Grid, resample_image
from maskwright.workflow.prediction_plan import Tiling, tiling_of

_MEASURED_PX = {2: 256, 3: 32}


@dataclass(frozen=True)
class Predictor:
    """A network ready to predict arrays.

    Args:
        engine: From tiles to probabilities.
        rule: How tiles may be cut.
        channels: Channels the network takes.
        classes: Number of classes.
        numerics: Memory order and number format in use, for the record.
        normalise: What is done to intensities.
        ways: What is averaged over, see :func:`maskwright.predict.averaging.averaged`.
        scales: Sizes for the way ``scale``.
        overlapping: Whether the probabilities of a pixel need not sum to one.
        gate: Class that the image's label may take away, see
            :func:`maskwright.predict.predictor.gated`.
        levels: Whether the engine gives the levels of the decoder.
        slices: Whether stacks are predicted slice by slice, by a network of planes.
        border: Whether the network tells interior and border of objects, which are one class.
        tiling: How tiles can be chosen for an image, for a network whose layers are known.
        intensities: What is done to those of each channel; z-score where this is empty.
        spacing_mm: Pixel size that the network works at; ``None`` for that of each image.
        pixel_mm: Pixel size of images that do not state theirs.
    """

    engine: Engine
    rule: Rule
    channels: int
    classes: int
    numerics: str
    normalise: Normaliser = z_score
    ways: tuple[str, ...] = ()
    scales: tuple[float, ...] = (1.0,)
    overlapping: bool = False
    gate: int | None = None
    levels: bool = False
    slices: bool = False
    border: bool = False
    tiling: Tiling | None = None
    intensities: tuple[ChannelIntensity, ...] = ()
    spacing_mm: tuple[float, ...] | None = None
    pixel_mm: tuple[float, ...] | None = None

    @staticmethod
    def build(
        networks: UNet | Sequence[UNet],
        config: PredictConfig,
        *,
        tile: int | None = None,
        levels: bool = False,
        gate: int | None = None,
        slices: bool = False,
        border: bool = False,
        data: DataConfig | None = None,
    ) -> Predictor:
        """A predictor with the number format that is fastest on this machine.

        Args:
            networks: A trained network, or several alike whose probabilities are averaged.
            config: The prediction settings.
            tile: Overrides the largest side of a tile.
            levels: Whether the levels of the decoder are predicted too.
            gate: Class that the image's label may take away.
            slices: Whether stacks are predicted slice by slice.
            border: Whether the network tells interior and border.
            data: What training found for intensities and pixel size.

        Raises:
            ConfigError: ``engine-precision`` for int8.
        """
        members = [networks] if isinstance(networks, UNet) else list(networks)
        model = members[0].config
        tiling = tiling_of(model, config, tile=tile)
        rule = tiling.rule_of(tiling.tile_px)
        blank = blank_tile(rule, model)
        options = candidates("channels_last", config.precision)
        if not options:
            raise ConfigError(
                "engine-precision",
                "--engine torch",
                expected="the number format float32 or bfloat16",
                found=f"predict.precision={config.precision}",
                remedy="add --set precision=float32, or use --engine openvino",
            )
        engines = {
            option: mean_engine(
                [
                    torch_engine(
                        member, layout=option.layout, precision=option.precision, levels=levels
                    )
                    for member in members
                ]
            )
            for option in options
        }
        reuse_memory()
        chosen, _ = fastest(options, lambda option: lambda: _run(engines[option], blank))
        return Predictor(
            engines[chosen],
            rule,
            model.channels,
            model.classes - border,
            str(chosen),
            ways=config.tta,
            scales=config.scales,
            overlapping=model.output == "sigmoid",
            gate=gate,
            levels=levels,
            slices=slices,
            border=border,
            tiling=tiling,
            intensities=data.channel_intensity if data else (),
            spacing_mm=data.spacing_mm if data else None,
            pixel_mm=config.pixel_mm,
        )

    def grid(self, size: tuple[int, ...], spacing_mm: Sequence[float] | None) -> Grid | None:
        """The grid of an image and that of the network, or ``None`` where they are one.

        Args:
            size: Size of the image.
            spacing_mm: Its pixel size along each axis, where the file says it.

        Raises:
            DataError: ``spacing-missing`` where it is needed and not known, ``spacing-axes`` for
                another number of axes.
        """
        if self.spacing_mm is None:
            return None
        own_mm = spacing_mm or self.pixel_mm
        if own_mm is None:
            raise spacing_missing("image")
        grid = Grid.between(size, own_mm, self.spacing_mm)
        return None if grid.same else grid

    def tiles(self, size: tuple[int, ...], rule: Rule | None = None) -> int:
        """How many tiles an image of this size takes, over all predictions of it.

        Args:
            size: Size of the image.
            rule: How it is tiled, by default the predictor's own rule.
        """
        if self.slices and len(size) == 3:
            return size[0] * self.tiles(size[1:], rule)
        wanted = [each.read_size for each in passes(size, self.ways, self.scales)]
        if self.ways and self.levels:
            wanted.append(size)
        return sum(len((rule or self.rule).cover(each)) for each in wanted)

    def predict(
        self,
        image_CYX: NDArray[Any],
        spacing_mm: Sequence[float] | None = None,
        *,
        rule: Rule | None = None,
        hold: bool = True,
        at_once: int = 1,
        on_tile: Callable[[], None] | None = None,
    ) -> ImagePrediction:
        """All that the network says of an image, on the image's own grid.

        Levels are those of the image as it is, whatever is averaged.

        Args:
            image_CYX: Image in its own data type; a volume has its Z axis before Y.
            spacing_mm: Its pixel size along each axis, where the file says it.
            rule: How it is tiled, by default the predictor's own rule.
            hold: Whether the probabilities of all pixels are kept, as averaging needs them.
            at_once: How many turned copies of a tile may be predicted together.
            on_tile: Called after each tile.

        Raises:
            DataError: As :meth:`grid`, and ``image-channels``.
        """
        if self.slices and image_CYX.ndim == 4:
            of_planes = None if spacing_mm is None else spacing_mm[1:]
            plane = partial(
                self.predict,
                spacing_mm=of_planes,
                rule=rule,
                hold=hold,
                at_once=at_once,
                on_tile=on_tile,
            )
            return predict_stack(plane, image_CYX)
        grid = self.grid(image_CYX.shape[1:], spacing_mm)
        bring_back: BringBack | None = None
        if grid is not None:
            image_CYX = resample_image(select_channels(image_CYX, self.channels), grid.to_network)
            bring_back = (grid.own_px, partial(restored, grid=grid))

        normalise = partial(z_score, ways=self.intensities) if self.intensities else self.normalise

        def once(array_CYX: NDArray[Any], bring_back: BringBack | None = None) -> ImagePrediction:
            return predict_image(
                array_CYX,
                self.engine,
                rule or self.rule,
                self.channels,
                normalise=normalise,
                hold=hold or self.border,
                bring_back=bring_back,
                on_tile=on_tile,
            )

        together = partial(
            predict_variants,
            engine=self.engine,
            rule=rule or self.rule,
            channels=self.channels,
            normalise=normalise,
            on_tile=on_tile,
        )
        if self.ways:
            found = averaged(together, self.ways, self.scales, at_once=at_once)(image_CYX)
            found = found if grid is None else restore(found, grid)
            if self.levels:
                found = replace(found, levels_YX=once(image_CYX, bring_back).levels_YX)
        else:
            found = once(image_CYX, bring_back)
        found = joined(found) if self.border else found
        return found if self.gate is None else gated(found, self.gate)

    def distribution(self, probabilities_KYX: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities that sum to one, for what reads them as those of one class a pixel."""
        return distribution(probabilities_KYX) if self.overlapping else probabilities_KYX


def blank_tile(rule: Rule, model: ModelConfig) -> NDArray[np.float32]:
    """A batch of one tile to measure with, shape ``(1, C, *S)``."""
    sample = rule.cover((_MEASURED_PX[model.dims],) * model.dims)[0]
    return np.zeros((1, model.channels, *(read.size for read in sample.read)), np.float32)


def _run(engine: Engine, batch: NDArray[np.float32]) -> None:
    engine(batch)
