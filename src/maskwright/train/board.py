"""Progress as TensorBoard shows it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError
from maskwright.progress import Event


class Board:
    """A listener that writes curves and pictures for TensorBoard.

    Args:
        folder: Where its files go.

    Raises:
        ConfigError: ``tensorboard-missing`` when the package is not installed.

    Example:
        A context manager whose object is a listener::

            with Board(Path("runs/cells/tensorboard")) as board:
                train(data, out, events=Events([board]))
    """

    def __init__(self, folder: Path) -> None:
        check_board()
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))
        self._pictures: dict[str, NDArray[np.uint8]] = {}

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def picture(self, name: str, panels_YX3: NDArray[np.uint8]) -> None:
        """Take a picture for the validation that is told next.

        Args:
            name: The image.
            panels_YX3: Image, truth, prediction and errors side by side.
        """
        self._pictures[name] = panels_YX3

    def __call__(self, event: Event) -> None:
        """Write what one event says."""
        if event["kind"] == "step":
            for name in ("loss", "dice", "rate", "waited_s"):
                self._writer.add_scalar(f"training/{name}", event[name], event["step"])
        elif event["kind"] == "validation":
            self._validation(event)

    def _validation(self, event: Event) -> None:
        step = event["step"]
        self._writer.add_scalar("validation/mean Dice", event["mean_dice"], step)
        for name, dice in event["dice"].items():
            self._writer.add_scalar(f"validation/Dice of {name}", dice, step)
        for name, panels_YX3 in self._pictures.items():
            self._writer.add_image(name, panels_YX3, step, dataformats="HWC")
        self._pictures.clear()
        self._writer.flush()


def check_board() -> None:
    """Refuse to begin where TensorBoard's package is not installed.

    Raises:
        ConfigError: ``tensorboard-missing``.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard-missing",
            "--tensorboard",
            expected="the package tensorboard",
            found="none",
            remedy="install it with `pip install 'maskwright[tensorboard]'`",
        )
