"""What is done to the intensities of a channel: settings, frozen and validated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from maskwright.network_config import Section

IntensityWay = Literal["z-score", "window", "percentile"]


class ChannelIntensity(Section):
    """How the values of one channel become numbers around 0, as training found it.

    ::

        z-score       (v − mean) / std      of the image
        window        v clipped to low … high, then (v − mean) / std; mean and std are those of the
                      training set, or of the clipped image where they are not given
        percentile    v clipped to the image's own 0.5 and 99.5 percentile, then z-score

    Args:
        way: One of these.
        low: Smallest value of a window, in the unit of the image.
        high: Largest value.
        mean: Mean of the training set.
        std: Standard deviation of the training set.

    Example:
        >>> ChannelIntensity(way="window", low=-1000, high=400).mean is None
        True
    """

    way: IntensityWay = "z-score"
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: Annotated[float, Field(gt=0)] | None = None

    @pydantic.model_validator(mode="after")
    def _whole(self) -> ChannelIntensity:
        """A window has both ends, and mean and deviation or neither."""
        ends, shape = (self.low, self.high), (self.mean, self.std)
        if self.way == "window":
            if self.low is None or self.high is None or not self.low < self.high:
                raise ValueError("a window with low below high")
        elif ends != (None, None):
            raise ValueError("low and high with the way window only")
        if (self.mean is None) != (self.std is None) or (
            self.way != "window" and shape != (None, None)
        ):
            raise ValueError("mean and std together, with the way window only")
        return self


def listed_numbers(value: Any) -> Any:
    """Numbers as a person types them, ``-1000,400`` or ``(2, 0.7, 0.7)``, as a list.

    Example:
        >>> listed_numbers("(-1000, 400)"), listed_numbers("none"), listed_numbers([1, 2])
        (['-1000', '400'], 'none', [1, 2])
    """
    if not isinstance(value, str) or "," not in value:
        return value
    return [part.strip() for part in value.strip().strip("()[]").split(",") if part.strip()]
