"""A page of words as a picture, for systems that show nothing but images."""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import as_file, files
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from agent.outputs.page import LATIN, WRONG_LETTER, font_of

WIDTH_PX, HEIGHT_PX = 1024, 768
_MARGIN_PX = 40
_PAPER, _INK = "#101010", "#ffd166"
_SIZE_PX_MAX, _SIZE_PX_MIN = 36, 12


def notice(paragraphs: Sequence[str]) -> NDArray[np.uint8]:
    """Writes paragraphs as large as fits, (HEIGHT_PX, WIDTH_PX, 3) uint8 RGB.

    A letter that no font of ours has stands as U+FFFD. What does not even fit in the smallest letters is cut off.
    """
    room_px = HEIGHT_PX - 2 * _MARGIN_PX
    for size_px in range(_SIZE_PX_MAX, _SIZE_PX_MIN - 1, -2):
        lines = [line for words in paragraphs for line in (*_lines(words, size_px), "")]
        if len(lines) * _leading_px(size_px) <= room_px:
            break
    picture = Picture.new("RGB", (WIDTH_PX, HEIGHT_PX), _PAPER)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines[: room_px // _leading_px(size_px)]):
        left = float(_MARGIN_PX)
        for name, words in _runs(line):
            pen.text((left, _MARGIN_PX + number * _leading_px(size_px)), words, _INK, _font(name, size_px))
            left += pen.textlength(words, _font(name, size_px))
    return np.asarray(picture)


def _lines(words: str, size_px: int) -> Iterator[str]:
    """Breaks a paragraph at spaces, and a word that is wider than the page, or of a script without spaces, anywhere."""
    line = ""
    for word in words.split():
        grown = f"{line} {word}" if line else word
        if _width_px(grown, size_px) <= WIDTH_PX - 2 * _MARGIN_PX:
            line = grown
            continue
        if line:
            yield line
        line = ""
        for letter in word:
            if _width_px(line + letter, size_px) > WIDTH_PX - 2 * _MARGIN_PX:
                yield line
                line = ""
            line += letter
    yield line


def _width_px(line: str, size_px: int) -> float:
    return sum(_font(name, size_px).getlength(words) for name, words in _runs(line))


def _runs(line: str) -> Iterator[tuple[str, str]]:
    """(font, words) of each run of letters that one font has."""
    for name, letters in groupby(line, font_of):
        run = "".join(letters)
        yield (LATIN, WRONG_LETTER * len(run)) if name is None else (name, run)


def _leading_px(size_px: int) -> int:
    return size_px * 3 // 2


@cache
def _font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    with as_file(files(__package__).joinpath("fonts", f"{name}.ttf")) as path:
        return ImageFont.truetype(path, size_px)
