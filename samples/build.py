"""Build the PDF and DOCX files of the sample knowledge base.

The PDF and DOCX are built from the Markdown in ``sources/`` so that they can be
reviewed as text: a change to a binary file cannot be read in a diff, a change to
its source can. The sources stay outside ``nopal-fibra/`` so that ingesting that
folder never ingests a document twice.

A source is named ``<language>-<name>.<format>.md`` and becomes
``nopal-fibra/<language>/<name>.<format>``. Only the Markdown the sources use is
understood: headings, paragraphs, bold, lists and tables. Dates are fixed, so the
same sources and library versions give the same bytes.

Usage: ``pip install python-docx reportlab`` and then ``python samples/build.py``.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from docx import Document
from docx.document import Document as DocxDocument
from docx.text.paragraph import Paragraph as DocxParagraph
from reportlab.lib import colors
from reportlab.lib.pagesizes import A5
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    Paragraph,
    SimpleDocTemplate,
    Table,
    TableStyle,
)

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "sources"
TARGET = HERE / "nopal-fibra"
AUTHOR = "Nopal Fibra"
FIXED_DATE = datetime(2024, 1, 1, tzinfo=UTC)
GREEN = colors.HexColor("#2f6b3a")
PALE = colors.HexColor("#e6f0e6")


@dataclass(frozen=True)
class Block:
    """One piece of a document.

    ``kind`` is "heading", "paragraph", "bullet", "number" or "table". ``level`` is
    the depth of a heading, or the number of a numbered item. ``rows`` is filled for
    tables and ``text`` for everything else.
    """

    kind: str
    text: str = ""
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()


def parse(markdown: str) -> list[Block]:
    """Split Markdown into blocks; every paragraph of a source is a single line."""
    blocks: list[Block] = []
    rows: list[tuple[str, ...]] = []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
            continue
        if rows:
            blocks.append(Block("table", rows=(rows[0], *rows[2:])))
            rows = []
        if line.strip():
            blocks.append(parse_line(line.strip()))
    return blocks


def parse_line(line: str) -> Block:
    """Turn one non-table line into a block."""
    if match := re.match(r"(#{1,6}) (.+)", line):
        return Block("heading", match[2], level=len(match[1]))
    if line.startswith("- "):
        return Block("bullet", line[2:])
    if match := re.match(r"(\d+)\. (.+)", line):
        return Block("number", match[2], level=int(match[1]))
    return Block("paragraph", line)


def title_of(blocks: list[Block]) -> str:
    """Return the text of the first heading."""
    return next(block.text for block in blocks if block.kind == "heading")


def check_encodable(text: str, name: str) -> None:
    """Fail early on a character that the standard PDF fonts cannot draw."""
    missing = sorted({char for char in text if not char.encode("cp1252", "ignore")})
    if missing:
        raise ValueError(f"{name}: not in the standard PDF fonts: {' '.join(missing)}")


# PDF


class WholeParagraph(Paragraph):
    """A paragraph that moves to the next page rather than being split.

    Split, it would have the footer in the middle of a sentence once extracted.
    """

    def split(self, _width: float, _height: float) -> list[Flowable]:
        """Offer no way to split the paragraph."""
        return []


def pdf_styles() -> dict[str, ParagraphStyle]:
    """Return the styles used in the PDF, by block kind."""
    base = getSampleStyleSheet()["Normal"]
    body = ParagraphStyle("body", base, fontSize=9.5, leading=13, spaceAfter=5)
    item = ParagraphStyle("item", body, leftIndent=14, bulletIndent=3, spaceAfter=2)
    cell = ParagraphStyle("cell", body, fontSize=8, leading=10, spaceAfter=0)
    styles = {"paragraph": body, "bullet": item, "number": item, "cell": cell}
    for level, size in ((1, 16), (2, 12.5), (3, 10.5)):
        styles[f"heading{level}"] = ParagraphStyle(
            f"heading{level}",
            body,
            fontName="Helvetica-Bold",
            fontSize=size,
            leading=size * 1.25,
            spaceBefore=8,
            textColor=GREEN,
            keepWithNext=1,
        )
    return styles


def pdf_markup(text: str) -> str:
    """Turn Markdown bold into the markup that reportlab reads."""
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))


def column_widths(rows: tuple[tuple[str, ...], ...], style: ParagraphStyle, width: float) -> list[float]:
    """Give each column room for its longest word, then share out what is left."""
    padding = 14
    columns = list(zip(*rows, strict=True))
    least = [
        padding + max(stringWidth(word, style.fontName, style.fontSize) for word in " ".join(column).split())
        for column in columns
    ]
    weights = [max(len(cell) for cell in column) for column in columns]
    spare = max(0.0, width - sum(least))
    return [low + spare * weight / sum(weights) for low, weight in zip(least, weights, strict=True)]


def pdf_table(block: Block, style: ParagraphStyle, width: float) -> Table:
    """Lay out a table whose first row is repeated on every page it reaches."""
    widths = column_widths(block.rows, style, width)
    cells = [[Paragraph(pdf_markup(cell), style) for cell in row] for row in block.rows]
    look = TableStyle(
        [
            ("GRID", (0, 0), (-1, -1), 0.4, colors.grey),
            ("BACKGROUND", (0, 0), (-1, 0), PALE),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ]
    )
    return Table(cells, widths, style=look, repeatRows=1, spaceBefore=3, spaceAfter=7)


def pdf_flowable(block: Block, styles: dict[str, ParagraphStyle], width: float) -> Flowable:
    """Turn one block into something reportlab can lay out."""
    if block.kind == "table":
        return pdf_table(block, styles["cell"], width)
    text = pdf_markup(block.text)
    if block.kind == "heading":
        return Paragraph(text, styles[f"heading{min(block.level, 3)}"])
    bullet = {"bullet": "\u2022", "number": f"{block.level}."}.get(block.kind)
    return WholeParagraph(text, styles[block.kind], bulletText=bullet)


def pdf_footer(canvas: Canvas, document: SimpleDocTemplate) -> None:
    """Draw the page number."""
    canvas.setFont("Helvetica", 8)
    canvas.drawCentredString(A5[0] / 2, 9 * mm, f"{AUTHOR} \u00b7 {document.page}")


def build_pdf(blocks: list[Block]) -> bytes:
    """Return the PDF as bytes; ``invariant`` fixes its dates and its identifier."""
    out = io.BytesIO()
    margin = 16 * mm
    document = SimpleDocTemplate(
        out,
        pagesize=A5,
        leftMargin=margin,
        rightMargin=margin,
        topMargin=margin,
        bottomMargin=margin,
        title=title_of(blocks),
        author=AUTHOR,
        invariant=1,
    )
    styles = pdf_styles()
    story: list[Flowable] = [pdf_flowable(block, styles, document.width - 12) for block in blocks]
    document.build(story, onFirstPage=pdf_footer, onLaterPages=pdf_footer)
    return out.getvalue()


# DOCX


def docx_runs(paragraph: DocxParagraph, text: str) -> None:
    """Add text to a paragraph, in bold where the Markdown is bold."""
    for index, part in enumerate(text.split("**")):
        if part:
            paragraph.add_run(part).bold = index % 2 == 1 or None


def docx_table(document: DocxDocument, block: Block) -> None:
    """Add a table with a bold first row."""
    table = document.add_table(len(block.rows), len(block.rows[0]), style="Table Grid")
    for number, row in enumerate(block.rows):
        for cell, text in zip(table.rows[number].cells, row, strict=True):
            docx_runs(cell.paragraphs[0], f"**{text}**" if number == 0 else text)
    document.add_paragraph()


def docx_add(document: DocxDocument, block: Block) -> None:
    """Add one block; numbers are written out so that every list starts at one."""
    if block.kind == "table":
        docx_table(document, block)
    elif block.kind == "heading":
        document.add_heading(block.text, block.level)
    elif block.kind == "bullet":
        docx_runs(document.add_paragraph(style="List Bullet"), block.text)
    elif block.kind == "number":
        docx_runs(document.add_paragraph(), f"{block.level}. {block.text}")
    else:
        docx_runs(document.add_paragraph(), block.text)


def docx_properties(document: DocxDocument, title: str, language: str) -> None:
    """Fill the properties, which would otherwise carry today's date."""
    properties = document.core_properties
    properties.title, properties.author, properties.language = title, AUTHOR, language
    properties.comments = ""
    properties.created = properties.modified = FIXED_DATE


def fix_zip_dates(data: bytes) -> bytes:
    """Rewrite a zip file with one fixed date for each member."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            member = zipfile.ZipInfo(name, FIXED_DATE.timetuple()[:6])
            member.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(member, old.read(name))
    return out.getvalue()


def build_docx(blocks: list[Block], language: str) -> bytes:
    """Return the Word document as bytes."""
    document = Document()
    docx_properties(document, title_of(blocks), language)
    for block in blocks:
        docx_add(document, block)
    out = io.BytesIO()
    document.save(out)
    return fix_zip_dates(out.getvalue())


def build(source: Path) -> Path:
    """Build one document from its source and return the path written."""
    language, name = source.stem.split("-", 1)
    text = source.read_text(encoding="utf-8")
    target = TARGET / language / name
    if target.suffix == ".pdf":
        check_encodable(text, source.name)
        data = build_pdf(parse(text))
    elif target.suffix == ".docx":
        data = build_docx(parse(text), language)
    else:
        raise ValueError(f"{source.name}: expected a .pdf.md or .docx.md source")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def main() -> None:
    """Build every document that has a source."""
    for source in sorted(SOURCES.glob("*.md")):
        target = build(source)
        print(f"{target.relative_to(HERE)}  {target.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
