"""Tiny files of the binary formats, made by hand."""

from __future__ import annotations

import io
import zipfile
from email.message import EmailMessage

from tests.fakes.pdfs import assembled

_CONTENT_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
    'wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)
_OPEN_XML = "http://schemas.openxmlformats.org/"
_OFFICE = _OPEN_XML + "officeDocument/2006/relationships"
_PACKAGE = _OPEN_XML + "package/2006/"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def docx(*paragraphs: str, heading: str = "") -> bytes:
    """Returns a Word file."""
    style = f'<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>{heading}</w:t></w:r></w:p>' if heading else ""
    body = style + "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _CONTENT_TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>')
    return out.getvalue()


def pptx(*slides: tuple[str, ...]) -> bytes:
    """Returns a presentation; a slide is its title and its paragraphs."""
    main, drawing = _OPEN_XML + "presentationml/2006/main", _OPEN_XML + "drawingml/2006/main"
    numbers = range(1, len(slides) + 1)
    parts = {f"ppt/slides/slide{i}.xml": _slide(main, drawing, *slide) for i, slide in enumerate(slides, start=1)}
    ids = "".join(f'<p:sldId id="{255 + i}" r:id="rId{i}"/>' for i in numbers)
    head = f'<p:presentation xmlns:p="{main}" xmlns:r="{_OFFICE}"><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>'
    kind = "application/vnd.openxmlformats-officedocument.presentationml."
    return _package("ppt/presentation.xml", head, f"{kind}presentation.main+xml", "slide", f"{kind}slide+xml", parts)


def _slide(main: str, drawing: str, title: str, *paragraphs: str) -> str:
    def shape(number: int, kind: str, texts: tuple[str, ...]) -> str:
        lines = "".join(f"<a:p><a:r><a:t>{text}</a:t></a:r></a:p>" for text in texts)
        named = (
            f'<p:nvSpPr><p:cNvPr id="{number}" name="n{number}"/><p:cNvSpPr/><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>'
        )
        return f"<p:sp>{named}<p:spPr/><p:txBody><a:bodyPr/>{lines}</p:txBody></p:sp>"

    group = '<p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>'
    shapes = group + shape(2, "title", (title,)) + shape(3, "body", paragraphs)
    return f'<p:sld xmlns:p="{main}" xmlns:a="{drawing}"><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>'


def xlsx(sheets: dict[str, list[list[str | float]]]) -> bytes:
    """Returns a workbook."""
    main = _OPEN_XML + "spreadsheetml/2006/main"
    names = "".join(f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}"/>' for i, name in enumerate(sheets, start=1))
    head = f'<workbook xmlns="{main}" xmlns:r="{_OFFICE}"><sheets>{names}</sheets></workbook>'
    parts = {
        f"xl/worksheets/sheet{i}.xml": f'<worksheet xmlns="{main}"><sheetData>{_rows(rows)}</sheetData></worksheet>'
        for i, rows in enumerate(sheets.values(), start=1)
    }
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml."
    return _package("xl/workbook.xml", head, f"{kind}sheet.main+xml", "worksheet", f"{kind}worksheet+xml", parts)


def _rows(rows: list[list[str | float]]) -> str:
    def cell(column: int, row: int, value: str | float) -> str:
        where = f"{chr(ord('A') + column)}{row}"
        if isinstance(value, str):
            return f'<c r="{where}" t="inlineStr"><is><t>{value}</t></is></c>'
        return f'<c r="{where}"><v>{value}</v></c>'

    return "".join(
        f'<row r="{r}">{"".join(cell(c, r, value) for c, value in enumerate(row))}</row>' for r, row in enumerate(rows, start=1)
    )


def _package(main: str, head: str, main_type: str, relation: str, part_type: str, parts: dict[str, str]) -> bytes:
    folder, _, name = main.rpartition("/")
    overrides = [(main, main_type), *((part, part_type) for part in parts)]
    types = "".join(f'<Override PartName="/{part}" ContentType="{kind}"/>' for part, kind in overrides)
    rels = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    targets = [(relation, part.removeprefix(folder + "/")) for part in parts]
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}content-types">{rels}{types}</Types>',
        "_rels/.rels": _relations([("officeDocument", main)]),
        f"{folder}/_rels/{name}.rels": _relations(targets),
        main: head,
        **parts,
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return out.getvalue()


def _relations(targets: list[tuple[str, str]]) -> str:
    rows = (
        f'<Relationship Id="rId{i}" Type="{_OFFICE}/{kind}" Target="{to}"/>' for i, (kind, to) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{_PACKAGE}relationships">{"".join(rows)}</Relationships>'


def eml(subject: str, text: str) -> bytes:
    """Returns a mail in quoted-printable Latin-1, as many programs send it, with an HTML form beside the text."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ana@nopal.example", "soporte@nopal.example", subject
    mail.set_content(text, charset="iso-8859-1", cte="quoted-printable")
    mail.add_alternative(f"<p>{text}</p>", subtype="html")
    return mail.as_bytes()


def pdf(*pages: str) -> bytes:
    """Returns a PDF, one line a page."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(count))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for i, text in enumerate(pages):
        stream = b"BT /F1 12 Tf 72 720 Td (" + text.encode("cp1252") + b") Tj ET"
        resources = "/Resources << /Font << /F1 3 0 R >> >>"
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {resources} /Contents {5 + 2 * i} 0 R >>"
        objects += [page.encode(), b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)]
    return assembled(objects)
