"""What this machine is and which number format is fastest on it, measured."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import torch

from maskwright.plan.hardware import MachineFacts

Layout = Literal["contiguous", "channels_last"]
Precision = Literal["float32", "bfloat16"]
Compiled = Literal["none", "code", "graphs"]
Option = TypeVar("Option", bound=Hashable)

_CLEARLY_SLOWER = 1.5
_COMPILED_WORDS = {"none": "", "code": ", compiled", "graphs": ", compiled, CUDA graphs"}
# Compiling takes half a minute or more, each time.
_MINUTES_TO_COMPILE = 15.0
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # numbers of glibc's malloc.h
_MEMORY_FILE, _LIMIT_FILE = "/proc/meminfo", "/sys/fs/cgroup/memory.max"
_FORMAT_FLAGS = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "fphp", "asimdhp"},
}


@dataclass(frozen=True)
class Numerics:
    """Memory order of the tensors, number format of the convolutions, and who wrote their code.

    Example:
        >>> str(Numerics("channels_last", "bfloat16", "code"))
        'channels_last bfloat16, compiled'
    """

    layout: Layout
    precision: Precision
    compiled: Compiled = "none"

    def __str__(self) -> str:
        return f"{self.layout} {self.precision}{_COMPILED_WORDS[self.compiled]}"


ALL_NUMERICS = tuple(
    Numerics(layout, precision)
    for precision in ("bfloat16", "float32")
    for layout in ("channels_last", "contiguous")
)


def candidates(layout: str, precision: str) -> list[Numerics]:
    """The numerics a configuration leaves open; ``auto`` leaves all.

    Example:
        >>> [str(n) for n in candidates("channels_last", "auto")]
        ['channels_last bfloat16', 'channels_last float32']
    """
    return [
        n
        for n in ALL_NUMERICS
        if layout in ("auto", n.layout) and precision in ("auto", n.precision)
    ]


def with_compiled(
    options: Sequence[Numerics], setting: str, *, accelerator: bool, minutes: float | None
) -> list[Numerics]:
    """The numerics to measure when the network may be compiled too.

    Args:
        options: Without compiling, the most promising first, see :func:`candidates`.
        setting: ``none``, ``code``, ``graphs`` or ``auto``, which compares on an accelerator where
            the time allows it.
        accelerator: Whether there is a GPU; graphs need one.
        minutes: Time budget; ``None`` for none.

    Returns:
        The same, or with compiled ones: compiled is the first option alone.

    Example:
        >>> options = candidates("channels_last", "auto")
        >>> [str(n) for n in with_compiled(options, "auto", accelerator=True, minutes=60)]
        ['channels_last bfloat16', 'channels_last float32', 'channels_last bfloat16, compiled',
         'channels_last bfloat16, compiled, CUDA graphs']
        >>> with_compiled(options, "auto", accelerator=False, minutes=60) == options
        True
    """
    compiled: list[Compiled] = ["code", "graphs"] if accelerator else ["code"]
    if setting in ("code", "graphs"):
        only: Compiled = "graphs" if setting == "graphs" and accelerator else "code"
        return [replace(option, compiled=only) for option in options]
    short = minutes is not None and minutes < _MINUTES_TO_COMPILE
    if setting == "none" or not accelerator or short:
        return list(options)
    return [*options, *(replace(options[0], compiled=way) for way in compiled)]


def has_accelerator() -> bool:
    """Whether there is a GPU that PyTorch can use."""
    return torch.cuda.is_available()


def training_device() -> torch.device:
    """The GPU of this process where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def repeatable(wanted: bool) -> Iterator[None]:
    """Use only operations that give the same bytes each time, for the length of a block.

    Args:
        wanted: Whether to.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def fastest(
    options: Sequence[Option],
    run: Callable[[Option], Callable[[], None]],
    rounds: int = 3,
    *,
    limit_s: float = math.inf,
) -> tuple[Option, Mapping[str, float]]:
    """Time a few steps with each option and take the fastest.

    The options take turns, so that a machine that slows down for a moment slows all of them;
    one that is clearly slower after a round is dropped.

    Args:
        options: What to compare, such as :class:`Numerics`; a single one is returned unmeasured.
        run: Prepares an option and returns its step; the first step is not counted.
        rounds: Counted steps of each option; the fastest counts, since noise only slows.
        limit_s: Time after which no further round begins; without any the first steps count.

    Returns:
        The fastest option, and seconds a step for each that was measured.
    """
    if len(options) == 1:
        return options[0], {}
    begun = time.perf_counter()
    steps = {option: run(option) for option in options}
    first: dict[Option, float] = {}
    for option, step in steps.items():
        start = time.perf_counter()
        step()
        first[option] = time.perf_counter() - start
    seconds = dict.fromkeys(options, math.inf)
    for _ in range(rounds):
        if time.perf_counter() - begun > limit_s:
            break
        limit = _CLEARLY_SLOWER * min(seconds.values())
        for option in options:
            if seconds[option] <= limit or math.isinf(limit):
                start = time.perf_counter()
                steps[option]()
                seconds[option] = min(seconds[option], time.perf_counter() - start)
    if math.isinf(min(seconds.values())):
        seconds = first
    best = min(seconds, key=seconds.__getitem__)
    return best, {str(option): value for option, value in seconds.items()}


def reuse_memory() -> bool:
    """Ask the C library to keep large blocks of memory for the next step.

    By default glibc gives every tensor above 32 MB back to the system and gets it again, page by
    page, in the next step; a tenth of a training step went there.

    Returns:
        Whether the library could be asked; where it could not, nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def use_threads(count: int) -> None:
    """Compute with so many threads in this process, in PyTorch and what is opened later.

    Args:
        count: Threads.
    """
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch.set_num_threads(count)


def describe_machine() -> dict[str, str]:
    """Facts of this machine for the report: processor, cores, memory, system, PyTorch."""
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "pytorch": torch.__version__,
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory"] = f"{size / 2**30:.0f} GiB"
    if torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts


def machine_facts() -> MachineFacts:
    """What a plan needs to know of this machine before anything is measured.

    Example:
        >>> machine_facts().cores >= 1
        True
    """
    accelerator, memory_bytes = "", _free_bytes()
    if torch.cuda.is_available():
        accelerator, memory_bytes = torch.cuda.get_device_name(), torch.cuda.mem_get_info()[0]
    return MachineFacts(
        processor=_processor_name(),
        cores=_cores(),
        memory_bytes=memory_bytes,
        accelerator=accelerator,
        native=_native_formats(),
    )


def peak_bytes() -> int:
    """The most memory this process ever used, that of the accelerator where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _free_bytes() -> int | None:
    """Memory that is free, and no more than a container allows."""
    found = []
    for path, name in ((_MEMORY_FILE, "MemAvailable:"), (_LIMIT_FILE, "")):
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        numbers = [line.removeprefix(name).split() for line in lines if line.startswith(name)]
        if numbers and numbers[0][0].isdecimal():
            found.append(int(numbers[0][0]) * (1024 if name else 1))
    return min(found, default=None)


def _native_formats() -> tuple[str, ...]:
    """Number formats of two bytes for which there are units, where the system tells."""
    if torch.cuda.is_available():
        return ("bfloat16", "float16") if torch.cuda.is_bf16_supported() else ("float16",)
    flags: set[str] = set()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    flags = set(line.split(":", 1)[1].split())
                    break
    except OSError:
        return ()
    return tuple(name for name, marks in _FORMAT_FLAGS.items() if flags & marks)


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
