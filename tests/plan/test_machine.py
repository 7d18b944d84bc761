"""Choosing the number format by measuring."""

from __future__ import annotations

from collections import Counter

import torch

from maskwright.plan.machine import (
    ALL_NUMERICS,
    Numerics,
    candidates,
    describe_machine,
    fastest,
    repeatable,
    reuse_memory,
    with_compiled,
)


def test_auto_leaves_all_and_a_choice_leaves_one() -> None:
    assert set(candidates("auto", "auto")) == set(ALL_NUMERICS)
    assert candidates("contiguous", "float32") == [Numerics("contiguous", "float32")]
    assert len(candidates("auto", "bfloat16")) == 2


def test_code_is_measured_on_an_accelerator_where_time_allows_it() -> None:
    formats = candidates("auto", "auto")
    choices = with_compiled(formats, "auto", accelerator=True, minutes=None)
    assert choices[: len(formats)] == formats
    assert [n.compiled for n in choices[len(formats) :]] == ["code", "graphs"]
    assert {(n.layout, n.precision) for n in choices[len(formats) :]} == {
        (formats[0].layout, formats[0].precision)
    }
    for accelerator, minutes in ((False, None), (True, 2.0)):
        assert with_compiled(formats, "auto", accelerator=accelerator, minutes=minutes) == formats


def test_a_choice_of_code_holds_for_every_format_and_graphs_need_an_accelerator() -> None:
    formats = candidates("auto", "float32")
    for accelerator, expected in ((True, "graphs"), (False, "code")):
        choices = with_compiled(formats, "graphs", accelerator=accelerator, minutes=None)
        assert {n.compiled for n in choices} == {expected}
    assert with_compiled(formats, "none", accelerator=True, minutes=None) == formats


def test_repeatable_operations_hold_for_the_block_alone() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with repeatable(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() is before
    with repeatable(False):
        assert torch.are_deterministic_algorithms_enabled() is before


def test_a_single_option_is_not_measured() -> None:
    def never(_: Numerics) -> object:
        raise AssertionError("measured")

    option = Numerics("contiguous", "float32")
    assert fastest([option], never) == (option, {})  # type: ignore[arg-type]


def test_the_option_that_does_least_work_wins_and_slow_ones_are_dropped() -> None:
    work = {option: 400_000 * 3**i for i, option in enumerate(reversed(ALL_NUMERICS))}
    calls: Counter[Numerics] = Counter()

    def run(option: Numerics) -> object:
        def step() -> None:
            calls[option] += 1
            sum(range(work[option]))

        return step

    best, seconds = fastest(ALL_NUMERICS, run)  # type: ignore[arg-type]
    assert best == ALL_NUMERICS[-1]
    assert set(seconds) == {str(option) for option in ALL_NUMERICS}
    assert calls[ALL_NUMERICS[0]] == 2  # a warm-up and one round, 27 times as slow
    assert calls[best] == 4


def test_memory_is_reused_where_the_library_can_be_asked() -> None:
    import platform

    assert reuse_memory() is (platform.libc_ver()[0] == "glibc")


def test_the_machine_is_described_in_words() -> None:
    facts = describe_machine()
    assert {"system", "processor", "cores", "pytorch", "python"} <= set(facts)
    assert all(isinstance(value, str) for value in facts.values())
