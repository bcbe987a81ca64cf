"""Files as people's programs write them: what is in them for readers is read, and nothing else."""

from __future__ import annotations

import io
import zipfile

import pytest

from common.errors import UnreadableDocumentError, UnsupportedContentError
from services.ingestion.adapters.extraction import extract
from services.ingestion.adapters.markdown import with_marked_headings, without_escapes, without_front_matter, without_images
from services.ingestion.domain.formats import CSV, DOCX, HTML, JSON, MARKDOWN, PPTX, XLSX, content_type_of, settled_type
from tests.fakes.files import docx, pptx, xlsx


def changed(data: bytes, name: str, old: str, new: str, **more: str) -> bytes:
    """An office file with a part changed, and others added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(out, "w") as made:
        for entry in given.namelist():
            text = given.read(entry).decode()
            assert entry != name or old in text
            made.writestr(entry, text.replace(old, new) if entry == name else text)
        for entry, text in more.items():
            made.writestr(entry, text)
    return out.getvalue()


def test_front_matter_gives_the_title_and_is_not_text():
    extracted = extract('---\ntitle: "Guía de bajas"\ntags: [a]\n---\n\nTexto.\n\n## Mudanza\n\nSí.\n'.encode(), MARKDOWN)
    assert extracted.title == "Guía de bajas"
    assert extracted.text.startswith("Texto.")


@pytest.mark.parametrize("text", ["---\n\nUna línea.\n\n---\n\nOtra.", "--- no", "texto\n---\ntitle: x\n---\n"])
def test_lines_across_a_text_are_no_front_matter(text):
    assert without_front_matter(text) == (text, "")


def test_underlined_headings_are_headings():
    assert with_marked_headings("Guía\n====\n\nTexto.\n\nMódem\n---\nMás.") == "# Guía\n\nTexto.\n\n## Módem\nMás."


@pytest.mark.parametrize(
    "text", ["- uno\n---\n", "| a | b |\n|---|---|\n", "uno\ndos\n---\n", "# A\n---\n", "> x\n---\n", "a\n- b"]
)
def test_other_lines_above_a_line_are_no_headings(text):
    assert with_marked_headings(text) == text


def test_an_image_leaves_what_it_shows():
    page = '<p>Vea <img src="data:image/png;base64,AAAA" alt="las luces"> del módem.</p>'
    assert extract(page.encode(), HTML).text.strip() == "Vea las luces del módem."
    assert without_images('![a](x_(1).png "t")![](y.png)') == "a"


def test_a_csv_for_a_spreadsheet_program():
    data = '\ufeffsep=;\r\nplan;nota\r\n"Penca";"dice ""hola""; y más"\r\n'.encode()
    assert extract(data, CSV).text.splitlines() == ["| plan | nota |", "| --- | --- |", '| Penca | dice "hola"; y más |']


@pytest.mark.parametrize(
    "data", [b'{"plan": "Se\\u00f1al"}\n\n{"plan": "Penca"}\n', b'[{"plan": "Se\\u00f1al"},\n{"plan": "Penca"}]']
)
def test_records_of_json_are_a_line_each(data):
    assert extract(data, JSON).text == '- {"plan": "Señal"}\n- {"plan": "Penca"}'


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson"])
def test_json_lines_are_known_by_their_ending(name):
    assert content_type_of("", name) == JSON


def test_json_lines_of_which_one_is_broken_are_refused():
    with pytest.raises(UnreadableDocumentError):
        extract(b'{"a": 1}\n{"a": }\n', JSON)


@pytest.mark.parametrize(
    ("element", "said"),
    [
        ("<w:tab/>", " "),
        ("<w:cr/>", " "),
        ('<w:ptab w:relativeTo="margin" w:alignment="right"/>', " "),
        ("<w:br/>", " "),
        ("<w:noBreakHyphen/>", "-"),
    ],
)
def test_what_parts_words_of_a_word_file_parts_them(element, said):
    data = changed(docx("Cuota@399"), "word/document.xml", "@", f"</w:t>{element}<w:t>")
    assert extract(data, DOCX).text.strip() == f"Cuota{said}399"


def test_what_xml_escapes_is_in_the_text_of_a_word_file():
    data = docx("AT&amp;T: 3 &lt; 5 &gt; 2, &quot;s&#237;&quot;, d&apos;Or, &#x26;, &#38;lt;", heading="R&amp;D")
    extracted = extract(data, DOCX)
    assert extracted.text.strip() == '## R&D\n\nAT&T: 3 < 5 > 2, "sí", d\'Or, &, &lt;'
    assert extracted.title == "R&D"


def test_a_table_of_a_word_file_has_no_escapes():
    cells = "".join(
        f"<w:tc><w:p><w:r><w:rPr><w:b/></w:rPr><w:t>{cell}</w:t></w:r></w:p></w:tc>" for cell in ("Plan_A", "2*3", "x|y")
    )
    data = changed(
        docx("TABLA"), "word/document.xml", "<w:p><w:r><w:t>TABLA</w:t></w:r></w:p>", f"<w:tbl><w:tr>{cells}</w:tr></w:tbl>"
    )
    header = extract(data, DOCX).text.strip().splitlines()[0]
    assert header.replace("**", "") == "| Plan_A | 2*3 | x\\|y |"


def test_punctuation_of_a_word_file_is_read_as_it_was_written():
    data = docx(
        "1. Uno, a_b c*d [nota] ~aprox~ $5",
        "- guion",
        "+34 600",
        "C:\\_dir\\x.txt",
        "\\\\server\\share",
        "https://x.mx/a_b?c=1&amp;d=2",
    )
    assert extract(data, DOCX).text.split("\n\n") == [
        "1. Uno, a_b c*d [nota] ~aprox~ $5",
        "- guion",
        "+34 600",
        "C:\\_dir\\x.txt",
        "\\\\server\\share",
        "https://x.mx/a_b?c=1&d=2\n",
    ]


def test_punctuation_of_slides_and_sheets_is_read_as_it_was_written():
    assert extract(pptx(("T&amp;T", "1. a_b *c* &lt;d&gt;")), PPTX).text.strip() == "## T&T\n\n1. a_b *c* <d>"
    assert extract(xlsx({"a_b (1)": [["x_y", "AT&amp;T *"]]}), XLSX).text.startswith("## a_b (1)\n\n| x_y | AT&T * |")


def test_the_title_of_a_web_page_is_read_as_it_is_shown_and_its_drawings_say_nothing():
    page = "<html><head><title>Guía &amp; más</title></head><body><p>uno <svg x='0'><title>x</title></svg>dos</p></body></html>"
    extracted = extract(page.encode(), HTML)
    assert extracted.title == "Guía & más"
    assert extracted.text.strip() == "uno dos"


def test_punctuation_of_a_web_page_and_of_data_is_read_as_it_was_written():
    page = b"<p>C:\\_tmp\\*.log</p><pre>a\\.b\\_c</pre><table><tr><th>a_b</th><th>c|d</th></tr><tr><td>2*3</table>"
    text = extract(page, HTML).text
    assert text.startswith("C:\\_tmp\\*.log\n\n```\na\\.b\\_c\n```\n\n| a_b | c\\|d |")
    assert "2*3" in text
    assert "| C:\\_tmp\\*.log | a\\|b |" in extract(b"ruta,x\nC:\\_tmp\\*.log,a|b\n", CSV).text
    assert extract(b'{"x_y": "2*3 <b> C:\\\\_tmp"}', JSON).text.strip() == "x_y: 2*3 <b> C:\\_tmp"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("\\# no heading, \\#3", "\\# no heading, #3"),
        ("1\\. uno\n 2\\) dos", "1. uno\n 2) dos"),
        ("```\na\\_b\n```\nc\\_d `e\\_f`", "```\na\\_b\n```\nc_d `e\\_f`"),
        ("a \\| b \\\\ c \\d", "a \\| b \\ c \\d"),
    ],
)
def test_escapes_are_removed_where_that_changes_nothing_else(text, read):
    assert without_escapes(text) == read


def test_a_hidden_sheet_is_not_read_and_that_is_told():
    data = xlsx({"Cuotas": [["Plan"], ["Penca"]], "Márgenes": [["Costo"], ["12"]], "Zonas": [["Norte"]]})
    data = changed(data, "xl/workbook.xml", 'name="Márgenes"', 'name="Márgenes" state="hidden"')
    extracted = extract(data, XLSX)
    assert "Penca" in extracted.text
    assert "Costo" not in extracted.text
    assert extracted.text[extracted.page_starts[2] :].startswith("## Zonas")
    assert extracted.warnings == ("The sheet 'Márgenes' is hidden and was not read.",)


def test_what_is_said_with_a_slide_is_read_with_it():
    note = "ppt/notesSlides/notesSlide1.xml"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/notesSlide"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    shape = '<p:sp><p:nvSpPr><p:cNvPr id="2" name="n"/><p:cNvSpPr/><p:nvPr><p:ph type="body" idx="1"/></p:nvPr></p:nvSpPr>'
    main, drawing = (f"http://schemas.openxmlformats.org/{part}/2006/main" for part in ("presentationml", "drawingml"))
    text = "<p:spPr/><p:txBody><a:bodyPr/><a:p><a:r><a:t>Ofrezca el repetidor.</a:t></a:r></a:p></p:txBody></p:sp>"
    data = changed(
        pptx(("Ventas", "Saludo."), ("Cierre", "Despedida.")),
        "ppt/presentation.xml",
        "",
        "",
        **{
            "ppt/slides/_rels/slide1.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{kind}" '
            'Target="../notesSlides/notesSlide1.xml"/></Relationships>',
            note: f'<p:notes xmlns:p="{main}" xmlns:a="{drawing}"><p:cSld><p:spTree>{shape}{text}</p:spTree></p:cSld>'
            "</p:notes>",
        },
    )
    extracted = extract(data, PPTX)
    first, second = extracted.text[: extracted.page_starts[1]], extracted.text[extracted.page_starts[1] :]
    assert first.split("\n\n")[:3] == ["## Ventas", "Saludo.", "Ofrezca el repetidor."]
    assert "repetidor" not in second


@pytest.mark.parametrize("content_type", ["", "text/plain"])
def test_rich_text_is_refused_for_what_it_is(content_type):
    with pytest.raises(UnsupportedContentError):
        settled_type(content_type, "nota.rtf", b"{\\rtf1 hola}")


def test_an_office_file_with_a_password_is_refused_and_said_so():
    with pytest.raises(UnreadableDocumentError, match="password"):
        settled_type(DOCX, "a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64))
