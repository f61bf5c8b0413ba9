"""Sets a draft on pages: a PDF with selectable text, the pictures, and the warning on every page.

The fonts come with it, for Latin, Greek, Cyrillic, Han, Kana and Hangul. A letter of another script, or one that
is written from the right, would be wrong or in the wrong place, so it stands as U+FFFD, and the page says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib.resources import files
from io import BytesIO
from itertools import groupby
from unicodedata import bidirectional
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepInFrame, KeepTogether, Paragraph, SimpleDocTemplate

WRONG_LETTER = "\N{REPLACEMENT CHARACTER}"
"""Stands for a letter that the page cannot write."""

_LETTERS_MISSING = f"A letter that this page cannot write stands as {WRONG_LETTER}; the text report has it."
LATIN, _EASTERN = "DejaVuSans", "DroidSansFallback"
_FROM_THE_RIGHT = ("R", "AL", "AN")

_PAGE_WIDTH, _PAGE_HEIGHT = A4  # points, 1/72 inch
_MARGIN, _HEAD, _FOOT = 42.0, 78.0, 48.0
_TEXT_WIDTH = _PAGE_WIDTH - 2 * _MARGIN - 12  # reportlab's frame has 6 points of padding at each side
_PICTURE_HEIGHT_MAX = 480.0
_PAPER, _INK = HexColor("#101010"), HexColor("#ffd166")

_BODY = ParagraphStyle("body", fontName=LATIN, fontSize=9, leading=12.5, spaceAfter=4)
_HEADING = ParagraphStyle("heading", parent=_BODY, fontSize=12, leading=16, spaceBefore=10, keepWithNext=1)
_NAME = ParagraphStyle("name", parent=_BODY, textColor=HexColor("#555555"), keepWithNext=1, spaceAfter=1)
_SMALL = ParagraphStyle("small", parent=_BODY, fontSize=7, leading=9, spaceAfter=0)
_WARNING = ParagraphStyle("warning", parent=_BODY, fontSize=12, leading=15, textColor=_INK, spaceAfter=0)


@dataclass(frozen=True, slots=True)
class Section:
    """One heading and what stands under it: (name, words) pairs; equal names that follow are told once."""

    heading: str
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class PagePicture:
    """One picture, (rows, columns, 3) uint8 RGB, and the words below it."""

    pixels: NDArray[np.uint8]
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """What stands on the pages.

    Attributes:
        warning: at the top of every page.
        patient: lines that say whose study it is, on every page.
        maker: at the foot of every page.
        parts: in the order of the pages.
        now: aware; the PDF's Creation Date.
    """

    warning: str
    patient: tuple[str, ...]
    maker: str
    parts: tuple[Section | PagePicture, ...]
    now: datetime


def pdf_of(draft: Draft) -> bytes:
    """Gives the PDF of a draft; the same draft, the same bytes."""
    flow: list[Flowable] = []
    for part in draft.parts:
        flow += _section(part) if isinstance(part, Section) else [_picture(part)]
    if any(WRONG_LETTER in _markup(words) for words in _words(draft)):
        flow.append(Paragraph(_markup(_LETTERS_MISSING), _BODY))
    with BytesIO() as file:
        document = SimpleDocTemplate(
            file,
            pagesize=A4,
            leftMargin=_MARGIN,
            rightMargin=_MARGIN,
            topMargin=_HEAD,
            bottomMargin=_FOOT,
            title=f"{draft.warning} - chest radiograph",
            author="preread",
            lang="en",
            invariant=1,  # no clock and no random ID
            pageCompression=1,
        )
        around = partial(_draw_around, draft)
        document.build(flow, onFirstPage=around, onLaterPages=around)
        return file.getvalue()


def _words(draft: Draft) -> Iterator[str]:
    yield from (draft.warning, draft.maker, *draft.patient)
    for part in draft.parts:
        if isinstance(part, PagePicture):
            yield part.words
        else:
            yield from (part.heading, *(words for item in part.items for words in item))


def _section(section: Section) -> list[Flowable]:
    flow: list[Flowable] = [Paragraph(_markup(section.heading), _HEADING)]
    has_names = len({name for name, _ in section.items}) > 1
    for name, items in groupby(section.items, key=lambda item: item[0]):
        if has_names:
            flow.append(Paragraph(_markup(name), _NAME))
        flow += [Paragraph(_markup(words), _BODY) for _, words in items]
    return flow


def _picture(picture: PagePicture) -> Flowable:
    rows, columns = picture.pixels.shape[:2]
    scale = min(_TEXT_WIDTH / columns, _PICTURE_HEIGHT_MAX / rows)
    file = BytesIO()
    Picture.fromarray(picture.pixels).save(file, "PNG")
    image = Image(file, width=columns * scale, height=rows * scale, hAlign="LEFT")
    return KeepTogether([image, Paragraph(_markup(picture.words), _SMALL)])


def _draw_around(draft: Draft, canvas: Canvas, document: SimpleDocTemplate) -> None:
    """Draws what is on every page: the warning, who the patient is, who made it, the page's number."""
    canvas.setDateFormatter(lambda *_: f"D:{draft.now:%Y%m%d%H%M%S}{_offset(draft.now)}")
    canvas.setFillColor(_PAPER)
    canvas.rect(0, _PAGE_HEIGHT - 34, _PAGE_WIDTH, 34, stroke=0, fill=1)
    _draw_lines(canvas, [draft.warning], _WARNING, _PAGE_HEIGHT - 28, 20)
    _draw_lines(canvas, draft.patient, _SMALL, _PAGE_HEIGHT - 78, 40)
    foot = f"{draft.maker} Page {document.page}."
    _draw_lines(canvas, [foot], _SMALL, 14, 30)


def _draw_lines(
    canvas: Canvas, lines: Sequence[str], style: ParagraphStyle, bottom: float, height: float
) -> None:
    """Writes lines from the top of a strip as wide as the text, smaller if they need more room."""
    strip = KeepInFrame(_TEXT_WIDTH, height, [Paragraph(_markup(line), style) for line in lines])
    _, used = strip.wrapOn(canvas, _TEXT_WIDTH, height)
    strip.drawOn(canvas, _MARGIN + 6, bottom + height - used)


def _offset(now: datetime) -> str:
    zone = now.strftime("%z")
    return f"{zone[:3]}'{zone[3:5]}'"


def _markup(words: str) -> str:
    """Gives words as reportlab's markup: escaped, each run of letters in a font that has them."""
    lines = words.replace("\r\n", "\n").split("\n")
    return "<br/>".join(
        "".join(_run(font, "".join(run)) for font, run in groupby(line, font_of)) for line in lines
    )


def _run(font: str | None, run: str) -> str:
    if font is None:
        return WRONG_LETTER * len(run)
    return escape(run) if font == LATIN else f'<font name="{font}">{escape(run)}</font>'


@cache
def font_of(letter: str) -> str | None:
    """Names the font that writes a letter, None if none does or if it is written from the right."""
    if bidirectional(letter) in _FROM_THE_RIGHT:
        return None
    return next((name for name, font in _fonts().items() if ord(letter) in font.face.charToGlyph), None)


@cache
def _fonts() -> dict[str, TTFont]:
    fonts = {}
    for name in (LATIN, _EASTERN):
        with files(__package__).joinpath("fonts", f"{name}.ttf").open("rb") as file:
            fonts[name] = TTFont(name, BytesIO(file.read()))
        registerFont(fonts[name])
    return fonts
