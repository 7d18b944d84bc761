"""Weights of another program's U-Net as a run folder of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskwright.config import ModelConfig, RunConfig
from maskwright.data.labelmap import LabelMap
from maskwright.errors import ConfigError
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import load_tensors, write_model
from maskwright.nn.matching import Concat, Matching, Row, match
from maskwright.nn.state_dict import read_state_dict
from maskwright.nn.unet import build_unet
from maskwright.workflow.opening import class_labels
from maskwright.workflow.run import Run
from maskwright.workflow.settings import resolve

__all__ = ["Imported", "import_weights"]


@dataclass(frozen=True)
class Imported:
    """A run made from weights of another program.

    Args:
        run: The run folder that was written.
        rows: Which tensor of the file became which of the network.
        notes: What weights do not say, and what was assumed.
    """

    run: Run
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def table(self) -> list[tuple[str, ...]]:
        """The mapping as rows of text, the header first."""
        lines: list[tuple[str, ...]] = [("in the file", "here", "shape", "change")]
        lines += [
            (row.theirs or "-", row.ours or "-", "×".join(map(str, row.shape)), row.change)
            for row in self.rows
        ]
        return lines


def import_weights(
    file: str | Path,
    out: str | Path,
    *,
    preset: str = "unet",
    settings: Sequence[str] = (),
    labels: str | None = None,
    concat: Concat = "skip-first",
) -> Imported:
    """Read the weights of another program's U-Net, match them by shape and order, write a run.

    Nothing of the file is run: it is a safetensors file, or one of ``torch.save`` that is read
    with ``weights_only``. What fits in more than one way is refused.

    Args:
        file: The weights.
        out: Run folder to make, for ``predict``, ``export`` and ``train --from``.
        preset: Named starting point of the network.
        settings: ``key=value`` for any field of the configuration, such as ``depth=4``.
        labels: ``name=value,name=value`` in class order; by default class ids, and 0 and 255 for
            two classes.
        concat: ``skip-first`` where their decoder joins the skip before the upsampled features, as
            ours does, ``up-first`` where after them.

    Raises:
        RunError: When the file cannot be read.
        ConfigError: When the weights do not fit the network, or fit in more than one way.
        OutputError: When ``out`` is in the way.

    Example:
        ``import_weights("unet.pth", "runs/theirs", settings=("width=64", "channels=3"))``
    """
    config = _config(preset, settings, labels)
    tensors = read_state_dict(Path(file))
    matching = match(tensors, config.model, concat=concat, subject=str(file))
    network = build_unet(config.model)
    load_tensors(network, matching.tensors, subject=str(file))
    folder = RunFolder(Path(out))
    folder.begin(resume=False)
    with folder.lock():
        write_model(folder.model, network.eval(), {"step": 0, "imported": Path(file).name})
        # What makes the folder a run comes last.
        folder.write_config(config)
    return Imported(Run(folder, config), matching.rows, _notes(config.model, concat, matching))


def _config(preset: str, settings: Sequence[str], labels: str | None) -> RunConfig:
    config = resolve(preset=preset, settings=settings, labels=labels)
    model = config.model
    if model.classes < 2:
        raise ConfigError(
            "import-one-class",
            "--set classes",
            expected="at least 2 classes; a single score becomes background and foreground",
            found=str(model.classes),
            remedy="leave classes and output out",
        )
    data = config.data if config.data.labels else class_labels(_names(model.classes))
    named = LabelMap.from_config(data).classes
    if named != model.classes:
        raise ConfigError(
            "import-labels",
            "--labels",
            expected=f"a name for each of the {model.classes} classes of the network",
            found=f"{named} names",
            remedy=f"name {model.classes}, or use --set classes={named}",
        )
    return config.model_copy(update={"data": data})


def _names(classes: int) -> tuple[str, ...]:
    if classes == 2:
        return ("background", "foreground")
    return ("background", *(f"class {index}" for index in range(1, classes)))


def _notes(model: ModelConfig, concat: Concat, matching: Matching) -> tuple[str, ...]:
    joined = "the skip before the upsampled features"
    other = "--concat up-first"
    if concat == "up-first":
        joined, other = "the upsampled features before the skip", "--concat skip-first"
    after = "a leaky ReLU of slope 0.01" if model.activation == "leaky_relu" else model.activation
    padding = "padded" if model.padding == "same" else "unpadded"
    filled = sum(not row.theirs for row in matching.rows)
    return (
        f"Shapes cannot say in which order a decoder joins its inputs. Assumed: {joined}; {other} "
        "is the other way.",
        f"Weights do not say how a network is run either. Here: {padding} convolutions, {after} "
        "after each, and every image brought to mean 0 and deviation 1 in each channel.",
        "Compare a mask with one of the program that wrote the weights. Where intensities were "
        "prepared in another way, train on with `maskwright train DATA --from` this run.",
        *([f"{filled} tensors are not in the file; 0 and 1 stand in their place, which changes "
           "nothing."] if filled else []),
    )  # fmt: skip
