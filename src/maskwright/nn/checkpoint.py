"""Weights and resume state on disk: safetensors only, never a pickle.

``model.safetensors`` holds the network that prediction uses. A checkpoint of ``checkpoints/``
holds everything training needs to go on; the two newest are kept, so that a damaged one is no
loss.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from maskwright.config import ModelConfig, validate
from maskwright.errors import RunError
from maskwright.io.durable import write_bytes
from maskwright.nn.unet import UNet, build_unet

_KEPT = 2


@dataclass(frozen=True)
class State:
    """Everything training needs to go on.

    Args:
        tensors: Named tensors, such as ``network.head.weight`` or ``average.head.weight``.
        facts: JSON values beside them: the step, the best score, the history.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON facts as one safetensors file, whole or not at all."""
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata={"maskwright": json.dumps(facts)}))


def read_tensors(path: Path) -> State:
    """Read what :func:`write_tensors` wrote.

    Raises:
        RunError: When the file is missing, is a pickle, is damaged or holds NaN.
    """
    if not path.exists():
        raise RunError(
            "weights-missing",
            str(path),
            expected="a file written by training",
            found="none",
            remedy="train first, or name the folder of a finished run",
        )
    if path.read_bytes()[:2] in (b"PK", b"\x80\x02"):
        raise RunError(
            "weights-pickle",
            str(path),
            expected="a safetensors file",
            found="a pickle, which can run code when it is opened",
            remedy="use the model.safetensors of a maskwright run",
        )
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("maskwright", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise RunError(
            "weights-damaged",
            str(path),
            expected="a whole safetensors file",
            found=f"a damaged one ({error})",
            remedy="restore the file or train again",
        ) from error
    if not isinstance(facts, dict):
        raise RunError(
            "weights-foreign",
            str(path),
            expected="a file written by maskwright",
            found="one without its description",
            remedy="name the folder of a maskwright run",
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise RunError(
                "weights-not-finite",
                str(path),
                expected="finite weights",
                found=f"NaN or infinity in {name}",
                remedy="go back to an earlier checkpoint",
            )
    return State(tensors, facts)


def write_model(path: Path, network: UNet, facts: Mapping[str, Any]) -> None:
    """Write the network that prediction uses, with its configuration."""
    model = network.config.model_dump(mode="json")
    write_tensors(path, network.state_dict(), {**facts, "model": model})


def read_model(path: Path) -> tuple[UNet, dict[str, Any]]:
    """The network of a ``model.safetensors`` in evaluation mode, and its facts.

    Raises:
        RunError: As :func:`read_tensors`, and when a tensor does not fit the network.
    """
    state = read_tensors(path)
    if "model" not in state.facts:
        raise RunError(
            "weights-foreign",
            str(path),
            expected="a model",
            found="a resume state",
            remedy="use the run's model.safetensors",
        )
    network = build_unet(validate(ModelConfig, state.facts["model"], subject=str(path)))
    load_tensors(network, state.tensors, subject=str(path))
    return network.eval(), dict(state.facts)


def load_tensors(network: torch.nn.Module, tensors: Mapping[str, Tensor], *, subject: str) -> None:
    """Copy tensors into a network of exactly these names and shapes.

    Raises:
        RunError: Naming the first tensor that is missing, unknown or of another shape.
    """
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        has = tuple(tensors[name].shape) if name in tensors else None
        wants = tuple(wanted[name].shape) if name in wanted else None
        if has != wants:
            raise RunError(
                "weights-shape",
                f"{subject} tensor {name}",
                expected=str(wants) if wants is not None else "no such tensor",
                found=str(has) if has is not None else "none",
                remedy="the weights belong to another network; use its own run folder",
            )
    network.load_state_dict(dict(tensors))


def write_checkpoint(folder: Path, state: State) -> Path:
    """Write a resume state named by its step, and drop all but the two newest.

    Args:
        folder: The run's ``checkpoints/``.
        state: Its ``facts`` hold ``step``.
    """
    path = _path(folder, state.facts)
    write_tensors(path, state.tensors, state.facts)
    for old in _checkpoints(folder)[_KEPT:]:
        old.unlink(missing_ok=True)
    return path


def write_snapshot(folder: Path, network: UNet, facts: Mapping[str, Any], *, kept: int) -> Path:
    """Write a network named by its step beside those of earlier steps, and drop the oldest.

    Args:
        folder: The run's ``snapshots/``.
        network: A network that prediction averages with the others.
        facts: They hold ``step``.
        kept: How many stay.
    """
    path = _path(folder, facts)
    write_model(path, network, facts)
    for old in _checkpoints(folder)[kept:]:
        old.unlink()
    return path


def write_member(folder: Path, number: int, network: UNet, facts: Mapping[str, Any]) -> Path:
    """Write one of several networks that prediction averages, over an earlier state of it.

    Args:
        folder: The run's ``ensemble/``.
        number: From 1.
        network: The network.
        facts: What is written beside the weights.
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"network_{number:02d}.safetensors"
    write_model(path, network, facts)
    return path


def read_checkpoint(folder: Path) -> tuple[State | None, list[str]]:
    """The newest usable resume state, and a sentence for each damaged one passed over.

    Raises:
        RunError: When there are checkpoints and all are damaged.
    """
    complaints: list[str] = []
    for path in _checkpoints(folder):
        try:
            return read_tensors(path), complaints
        except RunError as error:
            complaints.append(f"{error} Going back to the one before.")
    if complaints:
        raise RunError(
            "checkpoints-damaged",
            str(folder),
            expected="one usable checkpoint",
            found=f"{len(complaints)} damaged",
            remedy="train again into another folder",
        )
    return None, []


def _path(folder: Path, facts: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"step_{int(facts['step']):08d}.safetensors"


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoints, newest step first; clocks are not asked."""
    return sorted(folder.glob("step_*.safetensors"), reverse=True)
