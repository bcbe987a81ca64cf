"""PDF: pages, and tables as tables."""

from __future__ import annotations

import pytest

from common.errors import UnreadableDocumentError
from services.ingestion.adapters.chunking import chunk
from services.ingestion.adapters.extraction import extract
from services.ingestion.adapters.pdf import document
from services.ingestion.domain.formats import PDF
from services.ingestion.domain.texts import Extracted
from tests.fakes.pdfs import Page, Rows, assembled, drawn_pdf

PRICES: Rows = [["Plan", "Año", "Cuota"], ["Penca", "2026", "$399"], ["Señal | Plus", "2027", "$613"]]
PRICES_TOLD = """| Plan | Año | Cuota |
| --- | --- | --- |
| Penca | 2026 | $399 |
| Señal \\| Plus | 2027 | $613 |"""


def read(*pages: Page, title: str = "") -> Extracted:
    return extract(drawn_pdf(*pages, title=title), PDF)


def pages_of(extracted: Extracted) -> list[str]:
    ends = [*extracted.page_starts[1:], len(extracted.text)]
    return [extracted.text[start:end].strip() for start, end in zip(extracted.page_starts, ends, strict=True)]


def test_a_table_stands_where_it_stood_and_nowhere_else():
    text = read(Page().text("Cuotas vigentes.").table(PRICES).text("Incluyen el módem.")).text
    assert text.strip() == f"Cuotas vigentes.\n\n{PRICES_TOLD}\n\nIncluyen el módem."


def test_two_tables_of_a_page():
    zones = [["Zona", "Días"], ["Norte", "3"]]
    text = read(Page().text("Uno.").table(PRICES).text("Dos.").table(zones)).text
    assert text.strip() == f"Uno.\n\n{PRICES_TOLD}\n\nDos.\n\n| Zona | Días |\n| --- | --- |\n| Norte | 3 |"


def test_a_table_that_goes_on_on_the_next_page_has_its_header_there_too():
    rows = [["Clave", "Falla"], *([f"E{i}", f"Falla {i}"] for i in range(60))]
    first, second = Page().text("Códigos.").table(rows[:34]), Page().table(rows[34:]).text("Fin.")
    one, other = pages_of(read(first, second))
    assert one.startswith("Códigos.\n\n| Clave | Falla |\n| --- | --- |\n| E0 |")
    assert other.startswith("| Clave | Falla |\n| --- | --- |\n| E33 | Falla 33 |")
    assert other.endswith("Fin.")
    assert sum(page.count("| Falla") for page in (one, other)) == 60 + 2


def test_a_table_that_repeats_its_header_by_itself_has_it_once_a_page():
    rows = [["Clave", "Falla"], *([f"E{i}", f"Falla {i}"] for i in range(60))]
    _, other = pages_of(read(Page().table(rows[:35]), Page().table([rows[0], *rows[35:]])))
    assert other.count("| Clave | Falla |") == 1


def test_another_table_on_the_next_page_keeps_its_own_header():
    rows = [["Clave", "Falla"], *([f"E{i}", f"Falla {i}"] for i in range(34))]
    _, other = pages_of(read(Page().table(rows), Page().table(PRICES)))
    assert other == PRICES_TOLD


def test_each_part_of_a_table_is_cited_with_its_page_under_its_header():
    rows = [["Clave", "Falla"], *([f"E{i}", f"Falla del equipo número {i}"] for i in range(60))]
    passages = chunk(read(Page().table(rows[:34]), Page().table(rows[34:])), 120)
    assert len(passages) > 4
    assert all(passage.text.startswith("| Clave | Falla |\n| --- | --- |\n| E") for passage in passages)
    assert {passage.page for passage in passages if "| E33 |" in passage.text} == {2}
    assert {passage.page for passage in passages if "| E5 |" in passage.text} == {1}


def test_what_runs_over_the_side_of_its_table_stays_in_its_cell():
    rows = [["Clave", "Falla"], ["E1", "No llega señal al equipo del domicilio"], ["E2", "Otra"]]
    text = read(Page().table(rows)).text
    assert text.splitlines()[2:] == ["| E1 | No llega señal al equipo del domicilio |", "| E2 | Otra |", ""]


def test_a_merged_title_stands_above_its_table():
    rows = [["Tarifas de 2026", "", ""], *PRICES]
    text = read(Page().table(rows, merged=[(0, 1), (0, 2)])).text
    assert text.strip() == f"Tarifas de 2026\n\n{PRICES_TOLD}"


def test_a_cell_that_spans_columns_is_told_once():
    rows = [["Plan", "Cuota", ""], ["Penca", "399", "4788"], ["Biznaga", "613", "7356"]]
    first, *_ = read(Page().table(rows, merged=[(0, 2)])).text.splitlines()
    assert first == "| Plan | Cuota |  |"


def test_lists_side_by_side_between_two_lines_are_rows():
    tall = Page()
    tall.drawn = _tall_row(["Enero", "Febrero"], ["10", "20"], ["3", "4"])
    assert read(tall).text.splitlines()[:4] == [
        "| Mes | Altas | Bajas |",
        "| --- | --- | --- |",
        "| Enero | 10 | 3 |",
        "| Febrero | 20 | 4 |",
    ]


def _tall_row(*columns: list[str]) -> list[str]:
    """A header row, and one row of cells with several lines each."""
    page = Page()
    for y in (700, 682, 646):
        page._line(72, y, 402, y)
    for x in (72, 182, 292, 402):
        page._line(x, 700, x, 646)
    for j, (name, texts) in enumerate(zip(("Mes", "Altas", "Bajas"), columns, strict=True)):
        page._write(76 + j * 110, 687, name)
        for i, text in enumerate(texts):
            page._write(76 + j * 110, 669 - i * 15, text)
    return page.drawn


@pytest.mark.parametrize(
    "rows", [[["Aviso", ""]], [["Sola"], ["Columna"]], [["", ""], ["", "x"]]], ids=["box", "column", "form"]
)
def test_boxes_and_forms_are_no_tables(rows):
    text = read(Page().text("Antes.").table(rows, merged=[(0, 1)] if len(rows) == 1 else [])).text
    assert "|" not in text
    assert text.split() == ["Antes.", *(cell for row in rows for cell in row if cell)]


def test_paragraphs_in_columns_with_lines_between_them_are_text():
    page = Page()
    long = "El técnico revisa la señal óptica del domicilio antes de cambiar el módem"
    page._line(300, 720, 300, 400)
    page._line(72, 560, 540, 560)
    for x in (72, 306):
        for i in range(16):
            page._write(x, 700 - i * 18, long[:40])
    text = read(page).text
    assert "|" not in text
    assert text.count("El técnico revisa") == 32


def test_a_page_without_tables_reads_as_before():
    extracted = read(Page().text("La luz roja avisa:", "no hay señal en", "el domicilio."), Page().text("Segunda página."))
    assert pages_of(extracted) == ["La luz roja avisa:\nno hay señal en el domicilio.", "Segunda página."]


def test_a_page_that_lies_on_its_side_is_read_where_it_is_seen():
    """What is drawn sideways on a page that is turned is upright when it is looked at."""
    page = Page().table(PRICES)
    page.drawn = ["q 0 1 -1 0 612 0 cm", *page.drawn, "Q"]
    page.rotated = 90
    assert PRICES_TOLD in read(page).text


def test_a_drawing_of_very_many_lines_is_not_searched_for_tables(monkeypatch):
    monkeypatch.setattr(document, "_MOST_OBJECTS_OF_PAGE", 5)
    text = read(Page().text("Antes.").table(PRICES)).text
    assert "|  |" not in text
    assert "---" not in text
    assert "Penca" in text


def test_only_so_many_lines_of_a_file_are_looked_at(monkeypatch):
    monkeypatch.setattr(document, "_MOST_OBJECTS", 40)
    one, other = pages_of(read(Page().table(PRICES), Page().table(PRICES)))
    assert one == PRICES_TOLD
    assert "---" not in other
    assert "Penca" in other


@pytest.mark.parametrize("title", ["(anonymous)", "Untitled", ""])
def test_a_title_that_a_program_made_up_is_none(title):
    assert read(Page().text("x"), title=title).title == ""


def test_a_title_loses_the_name_of_the_program():
    assert read(Page().text("x"), title="Microsoft Word - Guía de señal").title == "Guía de señal"


def test_a_scan_is_refused_and_said_so():
    with pytest.raises(UnreadableDocumentError, match=r"no text on its 2 pages.*OCR"):
        read(Page().picture(), Page().picture())


def test_scanned_pages_among_others_are_told():
    extracted = read(Page().text("Portada"), Page().picture(), Page())
    assert extracted.warnings == ("1 of 3 pages show pictures and hold no text: 2. Text in pictures needs OCR first.",)
    assert read(Page().text("Portada"), Page()).warnings == ()


def test_no_more_pages_are_read_than_may_be():
    pages = [Page().text("palabra " * 10) for _ in range(20)]
    assert len(document.read_pdf(drawn_pdf(*pages), 100).pages) == 2


@pytest.mark.parametrize(
    "data",
    [
        assembled([b"<< /Type /Catalog >>"]),
        assembled([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 9 >>"]),
    ],
    ids=["no pages", "false count"],
)
def test_a_file_without_pages_is_damaged(data):
    with pytest.raises(UnreadableDocumentError):
        extract(data, PDF)
