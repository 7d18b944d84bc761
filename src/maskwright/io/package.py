"""Packages of bioimage.io, made by anyone: what they say, and their ONNX weights.

Read are descriptions of format 0.5, from a folder, its ``rdf.yaml`` or ``bioimageio.yaml``, or a
zip file. Nothing is downloaded, and no code of a package is ever run.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from maskwright.errors import RunError
from maskwright.io.network_file import NetworkFile, open_onnx

NAMES = ("rdf.yaml", "bioimageio.yaml")
"""What a description is called."""

_LARGEST_TEXT = 1 << 20
_LARGEST_WEIGHTS = (1 << 31) - 1

Operation = tuple[str, Mapping[str, Any]]
"""Name and settings of a step before or after the network."""


@dataclass(frozen=True)
class PackageAxis:
    """A spatial axis of the network.

    Args:
        name: ``z``, ``y`` or ``x``.
        smallest: The smallest size of the input.
        divisor: The step between sizes, 0 where only one is possible.
        halo: What is to be cut from the output on each side of a tile.
        border_loss: By how many pixels the output is smaller on each side.
    """

    name: str
    smallest: int
    divisor: int
    halo: int
    border_loss: int


@dataclass(frozen=True)
class Package:
    """A network and how to use it.

    Args:
        name: Of the network.
        network: Runs the weights.
        channels: Channels of the input.
        axes: Spatial axes in the order Z, Y, X.
        input_order: For each axis of the input where it stands in B, C, Z, Y, X.
        output_order: The same for the output.
        output_index: Which of the network's outputs is meant.
        class_names: Names of the output's channels.
        before: Steps between image and network.
        after: Steps between network and probabilities.
    """

    name: str
    network: NetworkFile
    channels: int
    axes: tuple[PackageAxis, ...]
    input_order: tuple[int, ...]
    output_order: tuple[int, ...]
    output_index: int
    class_names: tuple[str, ...]
    before: tuple[Operation, ...]
    after: tuple[Operation, ...]


def is_package(path: Path) -> bool:
    """Whether a path is a package, its description or a zip file."""
    if path.is_dir():
        return any((path / name).is_file() for name in NAMES)
    return path.suffix.lower() in (".zip", ".yaml", ".yml")


def read_package(path: Path) -> Package:
    """Read a package and open its ONNX weights.

    Args:
        path: A folder, its description, or a zip file.

    Raises:
        RunError: For a damaged description, another format, weights without ONNX, files outside
            the package or with another checksum, and networks with several inputs.
        MaskwrightError: ``extra-missing`` without ONNX Runtime.
    """
    files = _Files(path)
    description = _Description(files.description(), str(path))
    source, checksum = description.weights()
    network = open_onnx(files.read(source, checksum), subject=f"{path} {source}")
    return description.package(network)


class _Files:
    """The files of a folder or a zip file."""

    def __init__(self, path: Path) -> None:
        self._subject = str(path)
        self._archive: Path | None = None
        self._folder = path
        self._name: str | None = None
        if path.suffix.lower() == ".zip":
            self._archive = path
        elif not path.is_dir():
            self._folder, self._name = path.parent, path.name

    def description(self) -> Any:
        """The description, as plain values."""
        names = [self._name] if self._name else [n for n in NAMES if self._has(n)]
        if not names:
            raise _refuse(
                "package-missing", self._subject, f"a package with {NAMES[0]}", "none of them"
            )
        try:
            return yaml.safe_load(self._bytes(names[0], _LARGEST_TEXT))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            found = str(error).splitlines()[0]
            raise _refuse("package-damaged", f"{self._subject} {names[0]}", "YAML", found) from None

    def read(self, source: str, checksum: str | None) -> bytes:
        """The content of a file that the description names."""
        parts = PurePosixPath(source).parts
        if "://" in source or source.startswith("/") or ".." in parts or "\\" in source:
            raise _refuse(
                "package-outside", self._subject, "files inside the package", repr(source)
            )
        content = self._bytes(source, _LARGEST_WEIGHTS)
        if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
            raise _refuse(
                "package-checksum",
                f"{self._subject} {source}",
                f"a file with the checksum {checksum[:12]}…",
                "another one",
            )
        return content

    def _has(self, name: str) -> bool:
        if self._archive is None:
            return (self._folder / name).is_file()
        with self._open() as archive:
            return name in archive.namelist()

    def _bytes(self, name: str, limit: int) -> bytes:
        try:
            if self._archive is None:
                path = self._folder / name
                size = path.stat().st_size
                content = path.read_bytes() if size <= limit else b""
            else:
                with self._open() as archive:
                    size = archive.getinfo(name).file_size
                    content = archive.read(name) if size <= limit else b""
        except (OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
            raise _refuse(
                "package-file", f"{self._subject} {name}", "a file that can be read", str(error)
            ) from error
        if size > limit:
            raise _refuse(
                "package-large", f"{self._subject} {name}", f"at most {limit} bytes", str(size)
            )
        return content

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise _refuse("package-file", self._subject, "a zip file", str(error)) from error


class _Description:
    """Plain values of a description, looked at with suspicion."""

    def __init__(self, values: Any, subject: str) -> None:
        self._subject = subject
        self._values = values if isinstance(values, dict) else {}
        version = str(self._values.get("format_version", "none"))
        kind = self._values.get("type")
        if kind != "model" or not version.startswith("0.5."):
            raise RunError(
                "package-format",
                subject,
                expected="a model description of bioimage.io of format 0.5",
                found=f"{kind or 'no type'}, format {version}",
                remedy="bring it up to date with `bioimageio update-format`",
            )

    def weights(self) -> tuple[str, str | None]:
        """Path and checksum of the ONNX weights."""
        weights = self._values.get("weights")
        kinds = sorted(weights) if isinstance(weights, dict) else []
        entry = weights.get("onnx") if isinstance(weights, dict) else None
        if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
            raise RunError(
                "package-weights",
                self._subject,
                expected="ONNX weights, which run no code of others",
                found=", ".join(map(str, kinds)) or "no weights",
                remedy="add them with `bioimageio add-weights`",
            )
        return entry["source"], entry.get("sha256")

    def package(self, network: NetworkFile) -> Package:
        """All that prediction needs."""
        try:
            return self._package(network)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            found = f"{type(error).__name__}: {error}"
            raise _refuse("package-damaged", self._subject, "a whole description", found) from error

    def _package(self, network: NetworkFile) -> Package:
        inputs = [entry for entry in self._values["inputs"] if not entry.get("optional")]
        if len(inputs) != 1:
            raise _refuse("package-inputs", self._subject, "one input", str(len(inputs)))
        source, result = inputs[0], self._values["outputs"][0]
        input_axes = {self._name(axis): axis for axis in source["axes"]}
        output_axes = {self._name(axis): axis for axis in result["axes"]}
        names = [name for name in "zyx" if name in input_axes]
        order = ("batch", "channel", *names)
        for axes in (input_axes, output_axes):
            if set(axes) - {"batch"} != set(order) - {"batch"}:
                raise _refuse(
                    "package-axes", self._subject, "the axes " + ", ".join(order), ", ".join(axes)
                )
        classes = output_axes["channel"].get("channel_names", [])
        return Package(
            str(self._values["name"]),
            network,
            _channels(input_axes["channel"]),
            tuple(self._axis(name, input_axes[name], output_axes[name]) for name in names),
            tuple(order.index(name) for name in input_axes),
            tuple(order.index(name) for name in output_axes),
            0,
            tuple(map(str, classes)) if isinstance(classes, list) else (),
            _operations(source.get("preprocessing")),
            _operations(result.get("postprocessing")),
        )

    def _name(self, axis: Mapping[str, Any]) -> str:
        kind = str(axis["type"])
        # The format names the axis x where a description does not.
        return str(axis.get("id", "x")) if kind == "space" else kind

    def _axis(self, name: str, source: Mapping[str, Any], result: Mapping[str, Any]) -> PackageAxis:
        size, reference = source["size"], result["size"]
        fixed = isinstance(size, int)
        smallest, divisor = (size, 0) if fixed else (int(size["min"]), int(size["step"]))
        if isinstance(reference, int):
            loss = smallest - reference
        else:
            loss = -int(reference.get("offset", 0))
        same_scale = float(source.get("scale", 1)) == float(result.get("scale", 1))
        fits = fixed or not isinstance(reference, int)
        if loss < 0 or loss % 2 or not same_scale or not fits or smallest < 1 or divisor < 0:
            raise _refuse(
                "package-sizes",
                self._subject,
                f"an output of the input's scale along {name}",
                f"input {size}, output {reference}",
            )
        return PackageAxis(name, smallest, divisor, int(result.get("halo", 0)), loss // 2)


def _channels(axis: Mapping[str, Any]) -> int:
    names = axis.get("channel_names")
    return len(names) if isinstance(names, list) else int(axis["size"])


def _operations(entries: Sequence[Mapping[str, Any]] | None) -> tuple[Operation, ...]:
    return tuple((str(entry["id"]), dict(entry.get("kwargs") or {})) for entry in entries or ())


def _refuse(code: str, subject: str, expected: str, found: str) -> RunError:
    return RunError(
        code,
        subject,
        expected=expected,
        found=found,
        remedy="ask whoever made the package, or use another one",
    )
