"""Small pictures whose bytes depend on nothing but what they show: no user's settings, no window, no version."""

import io
import unicodedata
from collections.abc import Callable
from functools import cache

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from PIL import Image

DPI = 150
WIDTH = 4.0  # inches: 600 pixels, which a phone shows at about half
TONES = 96  # of the palette; a plot has few colors, and pays for more
FONT = "DejaVu Sans"  # comes with matplotlib
LONGEST_NAME = 16  # characters

# Okabe, M., Ito, K. (2008), Color universal design: told apart whatever the color vision.
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
    "text.parse_math": False,  # names of classes are text, dollars and all
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


def render(height: float, draw: Callable[[Figure], None]) -> bytes:
    """Make a PNG, `WIDTH` inches wide, on white ground.

    Args:
        height: In inches.
        draw: Fills the figure.
    """
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    small = Image.fromarray(np.ascontiguousarray(pixels)).quantize(TONES, dither=Image.Dither.NONE)
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def short_name(name: str, number: int) -> str:
    """Spell a class's name in a picture: shortened in the middle where it is long, its number where the font lacks a letter.

    Args:
        name: Any text.
        number: Of the class, from 0.
    """
    text = " ".join("".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in name).split())
    if not text or any(ord(sign) not in _letters() for sign in text):
        return f"#{number}"
    half = LONGEST_NAME // 2
    return text if len(text) <= LONGEST_NAME else f"{text[: half - 1]}…{text[-half:]}"


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())
