import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright import __version__
from maskwright.data.sample import SAMPLES, write_sample
from maskwright.errors import ConfigError, OutputError, SizeError


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_membranes_is_a_sample_and_says_that_it_is_simulated() -> None:
    assert "simulated" in SAMPLES["membranes"]


def test_every_image_has_its_mask_and_all_are_returned(tmp_path: Path) -> None:
    out = tmp_path / "data"
    files = write_sample("membranes", out, images=3, size_px=49)
    stems = [f"section_{index:03d}.png" for index in range(3)]
    assert files == [
        *(out / "images" / stem for stem in stems),
        *(out / "masks" / stem for stem in stems),
        out / "README.txt",
    ]
    assert set(contents(out)) == {str(path.relative_to(out)) for path in files}
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    for stem in stems:
        image, mask = Image.open(out / "images" / stem), Image.open(out / "masks" / stem)
        assert image.mode == mask.mode == "L"
        assert image.size == mask.size == (49, 49)
        assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_sample("membranes", tmp_path / name, images=2, size_px=40, seed=5)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_a_longer_sample_begins_with_the_shorter_one(tmp_path: Path) -> None:
    write_sample("membranes", tmp_path / "short", images=1, size_px=40)
    write_sample("membranes", tmp_path / "long", images=2, size_px=40)
    short, long = contents(tmp_path / "short"), contents(tmp_path / "long")
    assert short["images/section_000.png"] == long["images/section_000.png"]


def test_samples_of_neighbouring_seeds_share_no_section(tmp_path: Path) -> None:
    seen = set()
    for seed in (0, 1):
        files = write_sample("membranes", tmp_path / str(seed), images=3, size_px=40, seed=seed)
        seen |= {np.asarray(Image.open(path)).tobytes() for path in files[:3]}
    assert len(seen) == 6


def test_the_readme_and_every_file_say_that_they_are_simulated(tmp_path: Path) -> None:
    *pictures, readme = write_sample("membranes", tmp_path / "data", images=2, size_px=40, seed=31)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("SIMULATED")
    assert "These are not data." in text
    assert f"maskwright {__version__}" in text
    assert "--seed 31" in text
    assert "do not mean a stack" in text
    for picture in pictures:
        description = Image.open(picture).info["Description"]
        assert description.startswith(f"Simulated by maskwright {__version__}, seed 31, section ")


def test_an_unknown_name_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean membranes") as caught:
        write_sample("Membrane", tmp_path / "data")
    assert caught.value.code == "sample-unknown"
    assert not list(tmp_path.iterdir())


def test_numbers_that_make_no_sample_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    out = tmp_path / "data"
    with pytest.raises(ConfigError) as images:
        write_sample("membranes", out, images=0)
    assert images.value.code == "sample-images"
    with pytest.raises(ConfigError) as seed:
        write_sample("membranes", out, seed=-1)
    assert seed.value.code == "sample-seed"
    with pytest.raises(SizeError):
        write_sample("membranes", out, size_px=8)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "data"
    out.mkdir()
    write_sample("membranes", out, images=1, size_px=32)
    assert len(contents(out)) == 3


def test_an_earlier_sample_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "data"
    write_sample("membranes", out, images=2, size_px=32)
    before = contents(out)
    with pytest.raises(OutputError) as caught:
        write_sample("membranes", out, images=1, size_px=32)
    assert caught.value.code == "sample-exists"
    assert contents(out) == before
    write_sample("membranes", out, images=1, size_px=32, overwrite=True)
    assert len(contents(out)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "data"
    write_sample("membranes", out, images=1, size_px=32)
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="other files"):
        write_sample("membranes", out, images=1, size_px=32, overwrite=True)
    assert (out / "thesis.txt").read_text() == "precious"


def test_a_file_or_the_current_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("here")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError):
            write_sample("membranes", out, images=1, size_px=32, overwrite=True)
    assert (tmp_path / "file").read_text() == "here"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(OutputError, match="current folder"):
        write_sample("membranes", Path(), images=1, size_px=32)


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    with pytest.raises(OutputError) as caught:
        write_sample("membranes", tmp_path / ("n" * longest), images=1, size_px=32)
    assert caught.value.code == "sample-write"
    assert not list(tmp_path.iterdir())
