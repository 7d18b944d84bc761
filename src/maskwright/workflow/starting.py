"""Training that begins with the weights of another run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright import geometry
from maskwright.config import RunConfig
from maskwright.data.labelmap import LabelMap
from maskwright.errors import ConfigError, MaskwrightError, SizeError
from maskwright.io.run_folder import RunFolder
from maskwright.network_config import setting_text
from maskwright.nn.checkpoint import State, read_model, write_checkpoint
from maskwright.nn.presets import preset as named
from maskwright.nn.transfer import FOLLOWS_DATA, apply_transfer, plan_transfer
from maskwright.nn.unet import UNet
from maskwright.progress import Events
from maskwright.train.advance import Progress
from maskwright.train.stepper import Stepper

_KINDS = {2: "images", 3: "volumes"}


@dataclass(frozen=True)
class Start:
    """The run whose weights another begins with.

    Args:
        name: The run folder as it was typed.
        config: Its configuration.
        network: Its network.
        preset: The preset that was asked for; ``None`` for none.
    """

    name: str
    config: RunConfig
    network: UNet
    preset: str | None

    @property
    def dims(self) -> int:
        """2 for a run on images, 3 for one on volumes."""
        return self.network.config.dims

    def settings(self) -> dict[str, dict[str, Any]]:
        """What the new run takes over, by section: the network, and how it was trained.

        The network is taken but for what follows from the data. Without a preset the learning
        rate is taken too, and the size of the patches where the default is none for this network.
        """
        model = self.network.config
        train: dict[str, Any] = {"start_from": self.name}
        if self.preset is None:
            own = self.config.train
            train["learning_rate"] = own.learning_rate
            usual = named("unet", dims=model.dims).train
            try:
                geometry.check_shape(usual.patch_shape(model.dims), model, subject="patch_px")
            except SizeError:
                train["patch_px"] = own.patch_px
        return {
            "model": model.model_dump(exclude={"image_classes"}),
            "train": train,
            "data": self._preparation(),
        }

    def _preparation(self) -> dict[str, Any]:
        """How images were brought to what the weights know, with numbers measured anew."""
        data = self.config.data
        ways = {channel.way for channel in data.channel_intensity} or {"z-score"}
        kept: dict[str, Any] = {"window": data.window}
        if data.window is None and len(ways) == 1:
            kept["intensity"] = ways.pop()
        if data.spacing_mm is not None:
            kept["spacing"] = data.spacing_mm
        return kept

    def check_dims(self, dims: int) -> None:
        """Refuse a run on images for volumes, and the other way round.

        Raises:
            ConfigError: ``from-dims``.
        """
        if dims != self.dims:
            raise ConfigError(
                "from-dims",
                f"--from {self.name}",
                expected=f"a run on {_KINDS[dims]}, as these data are",
                found=f"one on {_KINDS[self.dims]}",
                remedy=f"name a run on {_KINDS[dims]}, or leave --from out",
            )

    def check(self, config: RunConfig, *, labels_given: bool) -> None:
        """Refuse what would make nonsense of the weights, before anything is written.

        Args:
            config: The resolved configuration of the new run.
            labels_given: Whether a person said what the mask values mean.

        Raises:
            ConfigError: ``from-other-network`` when the networks differ too much, ``from-labels``
                when the same mask values mean other classes.
        """
        plan_transfer(config.model, self.network, name=self.name)
        if labels_given or not self.config.data.labels:
            return
        here, there = LabelMap.from_config(config.data), LabelMap.from_config(self.config.data)
        if here.values != there.values and sorted(here.values) == sorted(there.values):
            labels = _labels_text(self.config)
            raise ConfigError(
                "from-labels",
                f"--from {self.name}",
                expected=f"the order of its classes ({', '.join(there.names)})",
                found="the same mask values in another order",
                remedy=f"add --labels '{labels}', or --labels with the order you want",
            )

    def give(
        self,
        stepper: Stepper,
        config: RunConfig,
        folder: RunFolder,
        facts: Mapping[str, Any],
        events: Events,
    ) -> None:
        """Put the weights into a new run, and save them so that a resume needs no other run.

        Args:
            stepper: Its network and running average are changed.
            config: The configuration of the new run, with its number of steps.
            folder: The new run.
            facts: What every checkpoint of the run holds.
            events: Where it is said what was taken.
        """
        transfer = plan_transfer(stepper.network.config, self.network, name=self.name)
        for network in (stepper.network, stepper.average):
            apply_transfer(transfer, network, self.network)
        begun = Progress(config.train.steps or 1).to_facts()
        state = State(stepper.state(), {**facts, **begun})
        if stepper.ranks.first:
            write_checkpoint(folder.path / "checkpoints", state)
        events.send("message", text=transfer.sentence(self.name))
        here, there = (LabelMap.from_config(c.data).names for c in (config, self.config))
        if here != there and len(here) == len(there):
            events.send(
                "message",
                text=f"The classes are {', '.join(here)}; in {self.name} they were, in this order, "
                f"{', '.join(there)}.",
            )


def open_start(run: str | Path, *, preset: str | None = None) -> Start:
    """The run whose weights a new one begins with.

    Args:
        run: A run folder.
        preset: The preset that was asked for, which must be of the same network.

    Raises:
        RunError: When the run cannot be used.
        ConfigError: ``from-preset`` when the preset is of another network.
    """
    folder = RunFolder(Path(run))
    folder.refuse_folds()
    config = folder.read_config()
    network, _ = read_model(folder.model)
    model = network.config
    if preset is not None:
        wanted = named(preset, dims=model.dims).model.model_dump()
        has = model.model_dump()
        different = [
            f"{field}={setting_text(wanted[field])} instead of {setting_text(has[field])}"
            for field in has
            if field not in FOLLOWS_DATA and wanted[field] != has[field]
        ]
        if different:
            raise ConfigError(
                "from-preset",
                f"--preset {preset}",
                expected=f"the network of {run}, whose weights are taken",
                found=", ".join(different),
                remedy="leave --preset out; the network is that of the run",
            )
    return Start(str(run), config, network, preset)


def plain_config(config: RunConfig) -> RunConfig:
    """What a run has where nothing was set: the preset ``unet``, on the network it began with.

    A run that began with another which is gone is compared with the preset alone.
    """
    plain = named("unet", dims=config.model.dims)
    if not config.train.start_from:
        return plain
    try:
        start = open_start(config.train.start_from)
    except MaskwrightError:
        return plain
    values = plain.model_dump()
    for section, fields in start.settings().items():
        values[section].update(fields)
    return RunConfig.model_validate(values)


def _labels_text(config: RunConfig) -> str:
    return ",".join(f"{name}={value}" for name, value in config.data.labels)
