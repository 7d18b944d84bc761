"""Charts as PNG pictures on white, for slides and manuscripts."""

from __future__ import annotations

import io
import math
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from maskwright.report.chart import SOLID, TEXT_PX, Chart, Dots, Line, Points, Rect, Text

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

RGB = tuple[int, int, int]

# Drawn larger, then averaged: Pillow draws hard edges only.
SUPERSAMPLING = 2
# Pillow's own font knows little beyond ASCII, so a common font of the system comes first.
FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf")
_PLAIN = str.maketrans({"–": "-", "−": "-", "×": "x", "µ": "u", "μ": "u", "…": "...", "’": "'"})
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def to_png(chart: Chart, *, scale: int = 3) -> bytes:
    """The chart as a PNG file on white.

    Args:
        chart: What to draw.
        scale: Pixels for each unit of the frame.

    Returns:
        The bytes of the file.

    Example:
        >>> to_png(Chart("a", "A", "Nothing.", 80, 20, (Text(4, 16, "text"),)))[1:4]
        b'PNG'
    """
    from PIL import Image, ImageDraw

    factor = scale * SUPERSAMPLING
    size = math.ceil(chart.width) * factor, math.ceil(chart.height) * factor
    canvas = Image.new("RGB", size, "white")
    # In this mode a fill may be translucent, as columns over grid lines are.
    draw = ImageDraw.Draw(canvas, "RGBA")
    font, is_plain = _font(TEXT_PX * factor)
    for mark in chart.marks:
        colour = _rgb(SOLID[mark.colour])
        match mark:
            case Line():
                # Joints overlap, and would show if the line itself were translucent.
                colour = _on_white(colour, mark.opacity)
                width = max(1, round(mark.width * factor))
                for piece in _pieces(mark.points, mark.dash):
                    draw.line(_scaled(piece, factor), fill=colour, width=width, joint="curve")
            case Dots():
                _discs(draw, mark, factor, (*colour, round(255 * mark.opacity)))
            case Rect():
                corner = mark.x + mark.width, mark.y + mark.height
                fill = (*colour, round(255 * mark.opacity))
                draw.rectangle(_scaled(((mark.x, mark.y), corner), factor), fill=fill)
            case Text():
                text = plain(mark.text) if is_plain else mark.text
                place = mark.x * factor, mark.y * factor
                draw.text(place, text, font=font, fill=colour, anchor=_ANCHORS[mark.anchor])
    buffer = io.BytesIO()
    canvas.reduce(SUPERSAMPLING).save(buffer, "PNG", optimize=True, dpi=(scale * 96, scale * 96))
    return buffer.getvalue()


def plain(text: str) -> str:
    """The text in ASCII, for a font that knows no more.

    Example:
        >>> plain("6–12 µm, Zellkörper 核")
        '6-12 um, Zellkorper ?'
    """
    folded = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    bare = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return bare.encode("ascii", "replace").decode()


def _font(size: float) -> tuple[Any, bool]:
    """A font, and whether it knows ASCII only."""
    from PIL import ImageFont

    for name in FONTS:
        try:
            return ImageFont.truetype(name, size), False
        except OSError:
            continue
    return ImageFont.load_default(size), True


def _rgb(colour: str) -> RGB:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _on_white(colour: RGB, opacity: float) -> RGB:
    red, green, blue = (round(255 + (part - 255) * opacity) for part in colour)
    return red, green, blue


def _scaled(points: Points, factor: int) -> list[tuple[float, float]]:
    return [(x * factor, y * factor) for x, y in points]


def _discs(draw: ImageDraw, dots: Dots, factor: int, fill: tuple[int, int, int, int]) -> None:
    for x, y in dots.points:
        low, high = (x - dots.radius, y - dots.radius), (x + dots.radius, y + dots.radius)
        draw.ellipse(_scaled((low, high), factor), fill=fill)


def _pieces(points: Points, dash: tuple[float, ...]) -> list[Points]:
    """The drawn parts of a line."""
    if len(points) < 2:
        return []
    if not dash:
        return [points]
    pieces: list[Points] = []
    piece = [points[0]]
    number, left = 0, dash[0]
    for (x0, y0), (x1, y1) in pairwise(points):
        length, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while length - done > left:
            done += left
            corner = x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length
            if number % 2 == 0:
                pieces.append((*piece, corner))
            piece = [corner]
            number += 1
            left = dash[number % len(dash)]
        left -= length - done
        piece.append((x1, y1))
    if number % 2 == 0 and len(piece) > 1:
        pieces.append(tuple(piece))
    return pieces
