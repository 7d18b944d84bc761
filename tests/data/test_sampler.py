"""Training patches: any step again, rare classes seen, edges mirrored."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.data.intensity import measure
from maskwright.data.sampler import PatchSampler, Prefetch, Source


def _source(name: str, size: tuple[int, int], rare: tuple[int, int] | None) -> Source:
    generator = np.random.default_rng(len(name))
    image = generator.integers(0, 255, (1, *size)).astype(np.uint8)
    classes = np.zeros(size, np.uint8)
    if rare is not None:
        classes[rare] = 1
    return Source(name, image, classes, measure(image, 1))


def _sampler(sources: list[Source], **changes: object) -> PatchSampler:
    arguments: dict[str, object] = {
        "channels": 1, "classes": 2, "batch": 4, "patch_px": 32, "border_px": 0,
        "foreground_share": 0.5, "seed": 0,
    }  # fmt: skip
    return PatchSampler(sources, **(arguments | changes))


def test_a_step_is_always_the_same_batch_whatever_was_drawn_before() -> None:
    sources = [_source("a", (90, 70), (5, 5)), _source("bb", (64, 64), None)]
    first, second = _sampler(sources), _sampler(sources)
    second.draw(3)
    for step in (7, 0, 7):
        a, b = first.draw(step), second.draw(step)
        np.testing.assert_array_equal(a.image_BCS, b.image_BCS)
        np.testing.assert_array_equal(a.truth_BS, b.truth_BS)
        assert a.names == b.names


def test_prefetched_batches_are_the_drawn_ones_in_any_order() -> None:
    sampler = _sampler([_source("a", (90, 70), (5, 5))])
    with Prefetch(sampler) as batches:
        for step in (0, 1, 2, 9, 10, 4):
            np.testing.assert_array_equal(
                batches.take(step).image_BCS, sampler.draw(step).image_BCS
            )


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_of_several_processes_are_the_rows_of_the_whole_batch(parts: int) -> None:
    sources = [_source("a", (90, 70), (5, 5)), _source("bb", (64, 64), None)]
    whole = _sampler(sources)
    cut = [_sampler(sources, part=(number, parts)) for number in range(parts)]
    for step in (0, 5):
        drawn = [sampler.draw(step) for sampler in cut]
        rows = np.concatenate([patches.image_BCS for patches in drawn])
        np.testing.assert_array_equal(rows, whole.draw(step).image_BCS)
        assert tuple(n for patches in drawn for n in patches.names) == whole.draw(step).names


def test_a_single_pixel_of_a_rare_class_is_in_a_quarter_of_the_patches() -> None:
    sampler = _sampler([_source("a", (800, 800), (400, 300))], foreground_share=0.5)
    seen = [patch.any() for step in range(50) for patch in sampler.draw(step).truth_BS]
    # Half of the patches follow a class, half of those the rare one.
    assert np.mean(seen) == pytest.approx(0.25, abs=0.1)


def test_without_foreground_share_patches_lie_anywhere() -> None:
    sampler = _sampler([_source("a", (800, 800), (400, 300))], foreground_share=0.0)
    seen = [patch.any() for step in range(50) for patch in sampler.draw(step).truth_BS]
    assert np.mean(seen) < 0.05


def test_patches_are_normalised_windows_of_their_image() -> None:
    source = _source("a", (40, 40), (3, 3))
    batch = _sampler([source], patch_px=16).draw(0)
    normal = (source.image_CYX[0] - source.image_CYX.mean()) / source.image_CYX.std()
    windows = np.lib.stride_tricks.sliding_window_view(normal, (16, 16)).reshape(-1, 16, 16)
    for patch in batch.image_BCS[:, 0]:
        assert np.isclose(windows, patch, atol=1e-4).all((1, 2)).any()


@pytest.mark.parametrize("size", [(10, 90), (5, 5), (31, 32)])
def test_images_smaller_than_a_patch_are_mirrored(size: tuple[int, int]) -> None:
    batch = _sampler([_source("a", size, (1, 1))]).draw(0)
    assert batch.image_BCS.shape == (4, 1, 32, 32)
    assert batch.truth_BS.shape == (4, 32, 32)
    assert np.isfinite(batch.image_BCS).all()


def test_an_unpadded_networks_patch_predicts_the_inside_of_the_image_and_mirrors_around() -> None:
    source = _source("a", (40, 40), (20, 20))
    sampler = _sampler([source], patch_px=44, border_px=8, foreground_share=1.0)
    padded = np.pad(source.classes_YX, 8, mode="reflect")
    for step in range(5):
        for truth in sampler.draw(step).truth_BS:
            windows = np.lib.stride_tricks.sliding_window_view(padded, (44, 44))
            assert (windows.reshape(-1, 44, 44) == truth).all((1, 2)).any()


def _volume(
    name: str, shape: tuple[int, int, int], rare: tuple[int, int, int], spacing_mm: float = 1.0
) -> Source:
    image = np.random.default_rng(len(name)).normal(900, 40, (1, *shape)).astype(np.float32)
    classes = np.zeros(shape, np.uint8)
    classes[rare] = 1
    return Source(name, image, classes, measure(image, 1), (3.0, spacing_mm, spacing_mm))


def test_patches_of_volumes_are_normalised_windows_of_the_size_of_each_axis() -> None:
    source = _volume("a", (12, 20, 18), (6, 9, 9))
    batch = _sampler([source], patch_px=(8, 16, 12)).draw(0)
    assert batch.image_BCS.shape == (4, 1, 8, 16, 12)
    assert batch.truth_BS.shape == (4, 8, 16, 12)
    normal = (source.image_CYX[0] - source.image_CYX.mean()) / source.image_CYX.std()
    windows = np.lib.stride_tricks.sliding_window_view(normal, (8, 16, 12)).reshape(-1, 8, 16, 12)
    for patch in batch.image_BCS[:, 0]:
        assert np.isclose(windows, patch, atol=1e-3).all((1, 2, 3)).any()


def test_small_volumes_are_mirrored_and_truth_follows_the_image() -> None:
    source = _volume("a", (5, 30, 9), (2, 20, 4))
    same = Source("a", source.classes_YX[None], source.classes_YX, measure(source.image_CYX, 1))
    batch = _sampler([same], patch_px=(16, 16, 16), foreground_share=1.0).draw(1)
    assert batch.truth_BS.shape == (4, 16, 16, 16)
    for image, truth in zip(batch.image_BCS[:, 0], batch.truth_BS, strict=True):
        assert np.array_equal(image > image.min(), truth == 1) or not truth.any()


def test_a_rare_class_of_volumes_is_in_a_quarter_of_the_patches() -> None:
    sources = [_volume("a", (60, 60, 60), (50, 5, 30)), _volume("bb", (64, 40, 40), (0, 0, 0))]
    sampler = _sampler(sources, patch_px=16)
    seen = [patch.any() for step in range(50) for patch in sampler.draw(step).truth_BS]
    assert np.mean(seen) == pytest.approx(0.27, abs=0.1)


def test_a_volume_step_is_the_same_whatever_was_drawn_before_and_in_a_thread() -> None:
    sources = [_volume("a", (20, 40, 30), (5, 5, 5)), _volume("bb", (32, 32, 32), (1, 2, 3))]
    first = _sampler(sources, patch_px=(16, 24, 16), border_px=(0, 4, 2))
    second = _sampler(sources, patch_px=(16, 24, 16), border_px=(0, 4, 2))
    with Prefetch(second) as batches:
        for step in (4, 0, 5, 4):
            a, b = first.draw(step), batches.take(step)
            np.testing.assert_array_equal(a.image_BCS, b.image_BCS)
            np.testing.assert_array_equal(a.truth_BS, b.truth_BS)
            assert a.image_BCS.shape == (4, 1, 16, 24, 16)


def test_patches_know_the_usual_spacing_of_the_data_set() -> None:
    volumes = [
        _volume("a" * n, (9, 9, 9), (1, 1, 1), mm) for n, mm in ((1, 0.5), (2, 0.5), (3, 2.0))
    ]
    assert _sampler(volumes, patch_px=8).draw(0).spacing_mm == (3.0, 0.5, 0.5)
    assert _sampler([_source("a", (40, 40), (3, 3))]).draw(0).spacing_mm is None


def test_positions_are_drawn_alike_in_blocks_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from maskwright.data import sampler as module

    classes = (np.random.default_rng(0).random((70, 30, 40)) > 0.7).astype(np.uint8)
    classes[3, 4, 5:9] = 3
    whole = module._class_positions(classes, 5, 1)
    assert [len(found) for found in whole] == [4096, 4096, 0, 4, 0]
    for label, found in enumerate(whole):
        assert (classes[tuple(found.T)] == label).all()
        assert len(np.unique(found, axis=0)) == len(found)
    monkeypatch.setattr(module, "_BLOCK_PX", 5000)
    for a, b in zip(whole, module._class_positions(classes, 5, 1), strict=True):
        assert np.array_equal(a, b)
