"""Ctrl-C and termination: asked once, training saves and stops; asked twice, it stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked to stop, and with which signal."""

    def __init__(self) -> None:
        self.signal_number: int | None = None


@contextmanager
def stop_requests(*, lasting: bool = False) -> Iterator[StopRequest]:
    """Note the first SIGINT or SIGTERM instead of dying of it.

    After the first signal the previous handlers are back, so a second one acts at once. In a
    thread that is not the main one nothing is caught, since only the main one may.

    Args:
        lasting: Note further signals too instead of dying of them: torchrun hands on the Ctrl-C
            that its processes got from the terminal already, and kills those that do not end.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        if not lasting:
            restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
