"""PDFs drawn by hand: lines of text, and tables with the lines around their cells."""

from __future__ import annotations

from collections.abc import Sequence

Rows = Sequence[Sequence[str]]

_HEIGHT = 792
_ROW = 18
_FONT = 10
_LEFT = 72


class Page:
    """A page that is drawn from the top down, 612 by 792 points."""

    def __init__(self, rotated: int = 0) -> None:
        self.rotated = rotated
        self.drawn: list[str] = []
        self.y = _HEIGHT - 72

    def text(self, *lines: str) -> Page:
        """Writes lines."""
        for line in lines:
            self._write(_LEFT, self.y, line)
            self.y -= _ROW
        return self

    def table(self, rows: Rows, width: int = 110, merged: Sequence[tuple[int, int]] = ()) -> Page:
        """Draws a table; an empty text in `merged`, a row and a column, has no line to the cell left of it."""
        top, columns = self.y + _ROW - 5, len(rows[0])
        for i in range(len(rows) + 1):
            self._line(_LEFT, top - i * _ROW, _LEFT + columns * width, top - i * _ROW)
        for i, row in enumerate(rows):
            for j, cell in enumerate(row):
                if (i, j) not in merged:
                    self._line(_LEFT + j * width, top - i * _ROW, _LEFT + j * width, top - (i + 1) * _ROW)
                if cell:
                    self._write(_LEFT + j * width + 4, self.y, cell)
            self._line(_LEFT + columns * width, top - i * _ROW, _LEFT + columns * width, top - (i + 1) * _ROW)
            self.y -= _ROW
        self.y -= _ROW
        return self

    def picture(self) -> Page:
        """Shows a picture of one black point, as large as a page."""
        self.drawn.append("q 500 0 0 700 50 50 cm BI /W 1 /H 1 /CS /G /BPC 8 /F /AHx ID 00> EI Q")
        return self

    def _line(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self.drawn.append(f"0.5 w {x0} {y0} m {x1} {y1} l S")

    def _write(self, x: float, y: float, text: str) -> None:
        escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        self.drawn.append(f"BT /F1 {_FONT} Tf {x} {y} Td ({escaped}) Tj ET")


def drawn_pdf(*pages: Page, title: str = "", trailer: str = "", more: Sequence[bytes] = ()) -> bytes:
    """Returns a PDF of these pages. `more` are objects after those of the pages, which `trailer` may name."""
    kids = " ".join(f"{5 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Title (%s) >>" % title.encode("cp1252"),
    ]
    for i, page in enumerate(pages):
        stream = "\n".join(page.drawn).encode("cp1252")
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Rotate %d /Resources << /Font << /F1 3 0 R >> >>"
            b" /Contents %d 0 R >>" % (page.rotated, 6 + 2 * i),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    return assembled([*objects, *more], f"/Info 4 0 R {trailer}")


def assembled(objects: Sequence[bytes], trailer: str = "") -> bytes:
    """Returns a PDF of numbered objects, the first of which is its catalogue."""
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer.encode(), start)
    return bytes(out)
