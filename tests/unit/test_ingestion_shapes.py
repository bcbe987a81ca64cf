"""Files as people's programs write them: what is in them for readers is read, and nothing else."""

from __future__ import annotations

import io
import zipfile

import pytest

from common.errors import UnreadableDocumentError, UnsupportedContentError
from services.ingestion.adapters.extraction import extract
from services.ingestion.adapters.markdown import with_marked_headings, without_front_matter, without_images
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


def test_tabs_and_hyphens_of_a_word_file_part_words():
    data = changed(docx("Cuota:@399 Wi~Fi"), "word/document.xml", "@", "</w:t><w:tab/><w:t>")
    data = changed(data, "word/document.xml", "~", "</w:t><w:noBreakHyphen/><w:t>")
    assert extract(data, DOCX).text.strip() == "Cuota: 399 Wi-Fi"


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
