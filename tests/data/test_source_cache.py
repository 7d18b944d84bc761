"""Images that exceed the memory they may take are read from files, and give the same patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskwright.data.intensity import measure
from maskwright.data.sampler import PatchSampler, Source
from maskwright.data.source_cache import source_cache


def _sources() -> list[Source]:
    generator = np.random.default_rng(0)
    sources = []
    for name in ("a", "b", "c"):
        image = generator.integers(0, 60000, (1, 64, 80)).astype(np.uint16)
        classes = (image[0] > 30000).astype(np.uint8)
        objects = classes.astype(np.int32)
        sources.append(Source(name, image, classes, measure(image, 1), objects_YX=objects))
    return sources


def _sampler(sources: list[Source]) -> PatchSampler:
    return PatchSampler(sources, channels=1, classes=2, batch=6, patch_px=32, border_px=0,
                        foreground_share=0.5, seed=0)  # fmt: skip


def test_the_first_images_stay_in_memory_and_the_others_lie_in_files(tmp_path: Path) -> None:
    sources = _sources()
    size = 64 * 80 * (2 + 1 + 4)
    with source_cache(2 * size, tmp_path / "images") as cache:
        kept = [cache.keep(source) for source in sources]
        assert kept[0] is sources[0]
        assert kept[1] is sources[1]
        assert isinstance(kept[2].image_CYX, np.memmap)
        assert isinstance(kept[2].classes_YX, np.memmap)
        assert kept[2].blend_YX is None
        assert cache.written == size


def test_patches_from_files_are_those_from_memory(tmp_path: Path) -> None:
    sources = _sources()
    with source_cache(0, tmp_path / "images") as cache:
        mapped = _sampler([cache.keep(source) for source in sources])
        plain = _sampler(sources)
        for step in range(5):
            found, expected = mapped.draw(step), plain.draw(step)
            np.testing.assert_array_equal(found.image_BCS, expected.image_BCS)
            np.testing.assert_array_equal(found.truth_BS, expected.truth_BS)
            assert found.names == expected.names


def test_files_are_gone_afterwards_and_so_are_those_of_a_process_that_was_killed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "0.npy").write_bytes(b"left behind")
    with source_cache(0, folder) as cache:
        kept = cache.keep(_sources()[0])
        assert sorted(path.name for path in folder.iterdir()) == ["0.npy", "1.npy", "2.npy"]
        del kept
    assert not folder.exists()
