"""What is on a page of a PDF, by pdfium: its text, its characters with their places, its straight lines."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pypdfium2
import pypdfium2.raw as pdfium

from services.ingestion.adapters.pdf.grid import Line

# pdfium's sign for a hyphen at the end of a line whose word goes on in the next.
_LEFT_OUT = dict.fromkeys((0, 0x02, 0xFFFE))
# Points: what is thinner is a line, and what leans more is none.
_THIN = 3.0
_STRAIGHT = 1.0
_WHITE = 250
_DEEPEST_FORM = 8
_SIDES = 4
_MOST_LOOKED_AT_FOR_IMAGES = 1000

Matrix = tuple[float, float, float, float, float, float]
Point = tuple[float, float]
_SAME: Matrix = (1, 0, 0, 1, 0, 0)


class Character(NamedTuple):
    """A character, and where it stands on its line, in points from the bottom left; None for white space."""

    text: str
    place: Point | None


@dataclass
class Lines:
    """The horizontal and vertical lines of a page.

    Attributes:
        looked_at: What reading them took, in drawn objects.
    """

    across: list[Line] = field(default_factory=list)
    down: list[Line] = field(default_factory=list)
    looked_at: int = 0


def text_of(page: pypdfium2.PdfPage) -> str:
    """Returns the text of a page, line by line."""
    text_page = page.get_textpage()
    try:
        return str(text_page.get_text_range(errors="replace")).translate(_LEFT_OUT)
    finally:
        text_page.close()


def characters_of(page: pypdfium2.PdfPage) -> Iterator[Character]:
    """Yields the characters of a page, in the order of its text."""
    upright = _upright(page)
    text_page = page.get_textpage()
    raw, x, y = text_page.raw, ctypes.c_double(), ctypes.c_double()
    try:
        for i in range(text_page.count_chars()):
            code = pdfium.FPDFText_GetUnicode(raw, i)
            if code in _LEFT_OUT:
                continue
            text = chr(code)
            placed = not text.isspace() and pdfium.FPDFText_GetCharOrigin(raw, i, x, y)
            yield Character(text, upright((x.value, y.value)) if placed else None)
    finally:
        text_page.close()


def lines_of(page: pypdfium2.PdfPage, most_objects: int) -> Lines:
    """Returns the straight lines and the sides of rectangles on a page; none of a page that is drawn of more objects."""
    gathered = _Gathered(most_objects, _upright(page))
    count = min(pdfium.FPDFPage_CountObjects(page.raw), most_objects + 1)
    gathered.add((pdfium.FPDFPage_GetObject(page.raw, i) for i in range(count)), _SAME)
    lines = gathered.lines
    return lines if lines.looked_at <= most_objects else Lines(looked_at=lines.looked_at)


def has_images(page: pypdfium2.PdfPage) -> bool:
    """Returns whether there are pictures on a page."""
    count = min(pdfium.FPDFPage_CountObjects(page.raw), _MOST_LOOKED_AT_FOR_IMAGES)
    kinds = (pdfium.FPDFPageObj_GetType(pdfium.FPDFPage_GetObject(page.raw, i)) for i in range(count))
    return any(kind in {pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM} for kind in kinds)


def height_of(page: pypdfium2.PdfPage) -> float:
    """Returns the height of a page as it is read, in points."""
    return float(page.get_height())


def _upright(page: pypdfium2.PdfPage) -> Callable[[Point], Point]:
    """Returns what turns a point of the page's own space to where it is when the page is read."""
    left, bottom, right, top = page.get_mediabox()
    turned: dict[int, Callable[[Point], Point]] = {
        90: lambda at: (at[1] - bottom, right - at[0]),
        180: lambda at: (right - at[0], top - at[1]),
        270: lambda at: (top - at[1], at[0] - left),
    }
    return turned.get(page.get_rotation(), lambda at: (at[0] - left, at[1] - bottom))


class _Gathered:
    """The lines of drawn objects, and of those inside them."""

    def __init__(self, most_objects: int, upright: Callable[[Point], Point]) -> None:
        self.lines = Lines()
        self._most = most_objects
        self._upright = upright

    def add(self, objects: Iterable[Any], outer: Matrix, depth: int = 0) -> None:
        for drawn in objects:
            self.lines.looked_at += 1
            if self.lines.looked_at > self._most:
                return
            kind = pdfium.FPDFPageObj_GetType(drawn)
            if kind == pdfium.FPDF_PAGEOBJ_PATH and _is_seen(drawn):
                self._add_path(drawn, _within(_matrix(drawn), outer))
            elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _DEEPEST_FORM:
                inside = range(max(0, pdfium.FPDFFormObj_CountObjects(drawn)))
                parts = (pdfium.FPDFFormObj_GetObject(drawn, i) for i in inside)
                self.add(parts, _within(_matrix(drawn), outer), depth + 1)

    def _add_path(self, path: Any, matrix: Matrix) -> None:
        count = pdfium.FPDFPath_CountSegments(path)
        self.lines.looked_at += count // _SIDES  # a path of many pieces costs as much as many rectangles
        if self.lines.looked_at > self._most:
            return
        x, y = ctypes.c_float(), ctypes.c_float()
        begin = last = None
        for i in range(count):
            segment = pdfium.FPDFPath_GetPathSegment(path, i)
            if not pdfium.FPDFPathSegment_GetPoint(segment, x, y):
                continue
            at, kind = self._upright(_moved(matrix, (x.value, y.value))), pdfium.FPDFPathSegment_GetType(segment)
            if kind == pdfium.FPDF_SEGMENT_MOVETO:
                begin = at
            elif kind == pdfium.FPDF_SEGMENT_LINETO and last is not None:
                _add(last, at, self.lines)
            if begin is not None and pdfium.FPDFPathSegment_GetClose(segment):
                _add(at, begin, self.lines)
            last = at


def _add(one: Point, other: Point, lines: Lines) -> None:
    (x0, x1), (y0, y1) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    if y1 - y0 <= _STRAIGHT and x1 - x0 > _THIN:
        lines.across.append(Line((y0 + y1) / 2, x0, x1))
    elif x1 - x0 <= _STRAIGHT and y1 - y0 > _THIN:
        lines.down.append(Line((x0 + x1) / 2, y0, y1))


def _is_seen(path: Any) -> bool:
    """Returns whether a path is stroked, or filled with something that is not the white of the paper."""
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    if not pdfium.FPDFPath_GetDrawMode(path, fill, stroke):
        return False
    if stroke.value or not fill.value:
        return bool(stroke.value)
    *rgb, alpha = colour = [ctypes.c_uint() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetFillColor(path, *colour):
        return True
    return alpha.value > 0 and min(part.value for part in rgb) < _WHITE


def _matrix(drawn: Any) -> Matrix:
    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(drawn, matrix):
        return _SAME
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def _within(inner: Matrix, outer: Matrix) -> Matrix:
    if outer == _SAME:
        return inner
    a, b, c, d, e, f = inner
    g, h, i, j, k, m = outer
    return a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m


def _moved(matrix: Matrix, at: Point) -> Point:
    a, b, c, d, e, f = matrix
    return a * at[0] + c * at[1] + e, b * at[0] + d * at[1] + f
