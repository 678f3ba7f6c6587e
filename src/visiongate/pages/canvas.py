"""Small figures as PNG, independent of the user's matplotlib settings, with the same bytes on each run."""

import io
import unicodedata
from collections.abc import Callable
from functools import cache

import numpy as np
from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from PIL import Image

DPI = 150
# In inches: 600 pixels, for high-resolution screens of phones.
WIDTH = 4.0
# A palette makes the file small, and a plot has few colors.
MAX_COLORS = 96
# Part of matplotlib.
FONT = "DejaVu Sans"
MAX_NAME_LENGTH = 16

# Okabe and Ito, Color Universal Design, 2008: distinguishable with any color vision.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = "osD^vXP"
FAINT, GRID, INK = "#8a94a3", "#e3e7ee", "#1c2430"
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.family": FONT,
    "font.size": 10,
    "grid.color": GRID,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    # A dollar in a class name is not the start of a formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


def render(height: float, draw: Callable[[Figure], None]) -> bytes:
    """Return a figure as a PNG, `WIDTH` inches wide, on a white background.

    Args:
        height: In inches.
        draw: Draws on the figure.
    """
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    return _encode(Image.fromarray(np.ascontiguousarray(pixels)))


def render_pyplot(plot: Callable[[], Figure]) -> bytes:
    """Make a PNG of a figure that a library draws with pyplot, such as Optuna.

    Args:
        plot: Draws and returns the figure.
    """
    with style.context(["default", STYLE]):
        plt.switch_backend("agg")
        figure = plot()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
        plt.close(figure)
    return _encode(Image.open(buffer).convert("RGB"))


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.quantize(MAX_COLORS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def short_name(name: str, number: int) -> str:
    """Return a class's name for a figure: a long one shortened, and its number if the font lacks a character.

    Args:
        name: Name of the class.
        number: Position of the class, from 0.
    """
    text = " ".join(
        "".join(
            " " if unicodedata.category(character)[0] in "CZ" else character for character in name
        ).split()
    )
    if not text or any(ord(character) not in _font_characters() for character in text):
        return f"#{number}"
    half = MAX_NAME_LENGTH // 2
    return text if len(text) <= MAX_NAME_LENGTH else f"{text[: half - 1]}…{text[-half:]}"


@cache
def _font_characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())
