"""The embedded sample: a folder of simulated sections that says that it is simulated."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from maskwright import __version__
from maskwright.data.section import check_seed, simulate_section
from maskwright.errors import ConfigError, OutputError

SAMPLES: Mapping[str, str] = MappingProxyType(
    {"membranes": "simulated electron micrographs of tissue; the masks are the cell membranes"}
)
_TITLE = "SIMULATED IMAGES, NOT MEASUREMENTS"


def write_sample(
    name: str,
    out: Path,
    *,
    images: int = 24,
    size_px: int = 256,
    seed: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Write a simulated data set: ``images/``, ``masks/`` and a ``README.txt`` that says so.

    The folder appears complete or not at all. The sections are independent of each other.

    Args:
        name: A key of :data:`SAMPLES`.
        out: Folder to create.
        images: Number of sections.
        size_px: Height and width of each section in pixels.
        seed: The same seed, number and size give the same files.
        overwrite: Replace ``out`` when it holds an earlier sample.

    Returns:
        The files written: images, masks, then the ``README.txt``.

    Raises:
        ConfigError: For an unknown name, fewer than one image or a negative seed.
        SizeError: For a side outside 16 to 4096 pixels.
        OutputError: When ``out`` holds something, or cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = write_sample("membranes", Path(folder, "demo"), images=1, size_px=32)
        >>> [path.name for path in files]
        ['section_000.png', 'section_000.png', 'README.txt']
    """
    _check_name(name)
    check_seed(seed)
    if images < 1:
        raise ConfigError(
            "sample-images",
            "number of images",
            expected="at least 1",
            found=str(images),
            remedy="ask for one image or more",
        )
    out = out.absolute()
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        _check_free(out, overwrite=overwrite)
        (partial / "images").mkdir(parents=True)
        (partial / "masks").mkdir()
        for index in range(images):
            image_YX, mask_YX = simulate_section(_section_seed(seed, index), (size_px, size_px))
            title = f"Simulated by maskwright {__version__}, seed {seed}, section {index}"
            _write_png(partial / "images" / f"section_{index:03d}.png", image_YX, title)
            _write_png(partial / "masks" / f"section_{index:03d}.png", mask_YX, title)
        readme = _readme(name, images=images, size_px=size_px, seed=seed)
        (partial / "README.txt").write_text(readme, encoding="utf-8", newline="\n")
        _move_into_place(partial, out)
    except OSError as error:
        raise OutputError(
            "sample-write",
            str(out),
            expected="a place that can be written",
            found=error.strerror or str(error),
            remedy="choose another folder or free some space",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    names = [f"section_{index:03d}.png" for index in range(images)]
    return [out / folder / each for folder in ("images", "masks") for each in names] + [
        out / "README.txt"
    ]


def _section_seed(seed: int, index: int) -> int:
    """Seeds of different samples and sections that never coincide in practice."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])


def _check_name(name: str) -> None:
    if name not in SAMPLES:
        near = difflib.get_close_matches(name.lower(), SAMPLES, n=1, cutoff=0.0)
        raise ConfigError(
            "sample-unknown",
            "name of the sample",
            expected="a known sample",
            found=repr(name),
            remedy=f"did you mean {near[0]}?",
        )


def _check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse to put a sample where something else is; replace nothing but a sample."""
    if not os.path.lexists(out):
        return
    if out.resolve() == Path.cwd().resolve():
        found, remedy = "the current folder", "name a folder below it"
    elif out.is_symlink() or not out.is_dir():
        found, remedy = "something else of that name", "choose another folder"
    elif not any(out.iterdir()):
        return
    elif not _is_sample(out):
        found, remedy = "a folder that holds other files", "choose another folder"
    elif not overwrite:
        found, remedy = "an earlier sample", "choose another folder or allow overwriting"
    else:
        return
    raise OutputError(
        "sample-exists",
        str(out),
        expected="a folder that is new or empty",
        found=found,
        remedy=remedy,
    )


def _is_sample(folder: Path) -> bool:
    """Whether a folder holds nothing but what :func:`write_sample` writes."""
    if {entry.name for entry in folder.iterdir()} != {"images", "masks", "README.txt"}:
        return False
    text = (folder / "README.txt").read_text(encoding="utf-8", errors="replace")
    return text.startswith(_TITLE)


def _move_into_place(partial: Path, out: Path) -> None:
    """Rename the finished folder; an earlier one steps aside and returns if that fails."""
    earlier = out.with_name(f".{out.name}.{os.getpid()}.earlier")
    if not out.exists():
        partial.rename(out)
        return
    out.rename(earlier)
    try:
        partial.rename(out)
    except OSError:
        earlier.rename(out)
        raise
    shutil.rmtree(earlier)


def _write_png(path: Path, array_YX: NDArray[np.uint8], description: str) -> None:
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("Description", description)
    Image.fromarray(array_YX).save(path, pnginfo=text)


def _readme(name: str, *, images: int, size_px: int, seed: int) -> str:
    return f"""{_TITLE}

These are not data. No microscope took these images and no person drew these masks:
maskwright {__version__} computed both from random numbers, to try the program and to test it.
Do not use them as evidence of anything about tissue, or about accuracy on real images.

Sample:  {name}, {SAMPLES[name]}
Number:  {images} sections of {size_px} x {size_px} pixels
Seed:    {seed}
Command: maskwright sample {name} --out FOLDER --images {images} --size {size_px} --seed {seed}

images/section_NNN.png  grey values, 8 bits
masks/section_NNN.png   255 = membrane, 0 = inside of a cell

Each section is independent of the others. The numbers are names; they do not mean a stack.
"""
