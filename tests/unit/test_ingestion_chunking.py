"""Passages: their length, their place, what they are about."""

from __future__ import annotations

from itertools import pairwise

import pytest

from common.settings import REPOSITORY
from services.ingestion.adapters.chunking import chunk
from services.ingestion.adapters.tokenizer import load_tokenizer
from services.ingestion.domain.records import Extracted, Passage

SENTENCE = "El técnico revisa la señal óptica del domicilio antes de cambiar el módem. "
DOCUMENT = f"""Antes de todo: léame 🙂.

# Instalación

{SENTENCE * 3}

## Módem

{SENTENCE * 20}

## Luces

La luz roja indica falla.

# Facturas ##

Se pagan el día 5.
"""


def tokens(text: str) -> int:
    return len(load_tokenizer().encode(text, add_special_tokens=False).ids)


def passages(text: str, most_tokens: int = 60, page_starts: tuple[int, ...] = (), overlap_tokens: int = 0) -> list[Passage]:
    return chunk(Extracted(text, page_starts=page_starts), most_tokens, overlap_tokens)


def test_no_passage_is_longer_than_allowed():
    cut = passages(DOCUMENT)
    assert len(cut) > 5
    assert max(tokens(passage.text) for passage in cut) <= 60


def test_a_text_without_any_place_to_cut_is_cut_all_the_same():
    cut = passages("a1b2" * 400)
    assert max(tokens(passage.text) for passage in cut) <= 60
    assert "".join(passage.text for passage in cut) == "a1b2" * 400


def test_offsets_lead_back_to_the_text():
    for passage in passages(DOCUMENT):
        assert DOCUMENT[passage.start_offset : passage.end_offset].strip() == passage.text.strip()


def test_passages_come_in_order_and_do_not_overlap():
    cut = passages(DOCUMENT)
    assert all(one.end_offset <= other.start_offset for one, other in pairwise(cut))


def test_nothing_but_headings_and_white_space_is_lost():
    covered = set().union(*(range(p.start_offset, p.end_offset) for p in passages(DOCUMENT)))
    left = "".join(character for i, character in enumerate(DOCUMENT) if i not in covered)
    assert left.split() == ["#", "Instalación", "##", "Módem", "##", "Luces", "#", "Facturas", "##"]


def test_each_passage_knows_the_headings_above_it():
    headings = list(dict.fromkeys(passage.heading for passage in passages(DOCUMENT)))
    assert headings == ["", "Instalación", "Instalación › Módem", "Instalación › Luces", "Facturas"]


def test_a_passage_never_crosses_a_heading():
    both = passages("# A\n\none\n\n# B\n\ntwo\n")
    assert [(passage.heading, passage.text) for passage in both] == [("A", "one"), ("B", "two")]


@pytest.mark.parametrize(
    ("text", "heading", "found"), [("# Solo un título", "", "Solo un título"), ("# Uno\n## Dos", "Uno", "Dos")]
)
def test_a_document_of_headings_is_still_found(text, heading, found):
    [passage] = passages(text)
    assert (passage.heading, passage.text) == (heading, found)


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_nothing_has_no_passages(text):
    assert passages(text) == []


def test_pages_are_counted_from_one():
    pages = ["# A\n\nPrimera página.\n\n", "# B\n\nSegunda.\n\n", "# C\n\nTercera.\n\n"]
    starts = (0, len(pages[0]), len(pages[0] + pages[1]))
    cut = passages("".join(pages), page_starts=starts)
    assert [(passage.text, passage.page) for passage in cut] == [("Primera página.", 1), ("Segunda.", 2), ("Tercera.", 3)]


def test_a_format_without_pages_has_no_page():
    assert {passage.page for passage in passages(DOCUMENT)} == {None}


def test_a_sample_of_the_manual_is_cut_within_its_bound():
    text = (REPOSITORY / "samples/nopal-fibra/es/planes-y-precios.md").read_text()
    cut = passages(text, 220)
    assert max(tokens(passage.text) for passage in cut) <= 220
    assert all(text[passage.start_offset : passage.end_offset].strip() == passage.text.strip() for passage in cut)


def test_a_heading_with_nothing_below_it_is_found_by_its_own_words():
    passages = chunk(Extracted("# Manual\n\n## Garantía de dos años\n\n## Plazos\n\nTarda 48 horas.\n\n## Sin recargos"), 100)
    assert [(passage.heading, passage.text) for passage in passages] == [
        ("Manual", "Garantía de dos años"),
        ("Manual › Plazos", "Tarda 48 horas."),
        ("Manual", "Sin recargos"),
    ]


CODE = """# Guía

Para instalar:

```bash
# instala el paquete
apt install malla

# arranca
malla up
```

Después reinicie.

## Dudas

Llame.
"""


@pytest.mark.parametrize("fence", ["```", "~~~", "`````"])
def test_a_comment_in_code_is_no_heading(fence):
    cut = passages(CODE.replace("```", fence))
    assert {passage.heading for passage in cut} == {"Guía", "Guía › Dudas"}
    assert "# instala el paquete\napt install malla" in cut[0].text


def test_a_fence_that_is_never_closed_hides_no_headings():
    assert [passage.heading for passage in passages(CODE.replace("malla up\n```", "malla up"))][-1].endswith("Dudas")


def test_a_heading_underlined_is_one():
    text = "Manual\n======\n\nUno.\n\nLuces\n-----\n\nDos.\n\n### Roja\n\nTres.\n\nSin nada\n---\n"
    assert [(passage.heading, passage.text.strip()) for passage in passages(text)] == [
        ("Manual", "Uno."),
        ("Manual › Luces", "Dos."),
        ("Manual › Luces › Roja", "Tres."),
        ("Manual", "Sin nada"),
    ]


@pytest.mark.parametrize(
    "text",
    ["---\ntitle: Guía\n---\n\nUno.", "Uno\ndos\n---\n\nTres.", "Uno.\n\n---\n\nDos.", "| a | b |\n| --- | --- |\n| 1 | 2 |"],
)
def test_a_rule_a_preface_and_a_table_are_no_headings(text):
    assert {passage.heading for passage in passages(text)} == {""}


HEADER = "| Plan | Velocidad |\n| --- | --- |\n"


def table(rows: int) -> str:
    return HEADER + "".join(f"| Plan número {i} | {i}00 Mb por segundo |\n" for i in range(rows))


def test_a_table_that_fits_is_kept_whole():
    text = f"# Planes\n\n{SENTENCE * 3}\n\n{table(4)}\n{SENTENCE * 2}"
    cut = passages(text, 80)
    assert [passage.text.strip() for passage in cut if "|" in passage.text] == [table(4).strip()]
    assert max(tokens(passage.text) for passage in cut) <= 80
    assert SENTENCE.strip() in cut[0].text
    assert cut[-1].text.strip() == (SENTENCE * 2).strip()


def test_a_long_table_is_cut_at_its_rows_under_its_header():
    text = f"# Planes\n\nAntes.\n\n{table(40)}\nDespués."
    pieces = [passage for passage in passages(text) if "|" in passage.text]
    assert len(pieces) > 5
    assert max(tokens(passage.text) for passage in pieces) <= 60
    assert all(passage.text.startswith(HEADER) for passage in pieces)
    assert {passage.heading for passage in pieces} == {"Planes"}
    rows = [line for passage in pieces for line in passage.text.removeprefix(HEADER).splitlines()]
    assert rows == table(40).removeprefix(HEADER).splitlines()
    assert all(passage.text.endswith(text[passage.start_offset : passage.end_offset]) for passage in pieces)


def test_a_row_longer_than_a_passage_is_cut_all_the_same():
    text = HEADER + "| corto | 1 |\n| " + SENTENCE * 20 + " | 2 |\n| otro | 3 |\n"
    cut = passages(text)
    assert max(tokens(passage.text) for passage in cut) <= 60
    covered = set().union(*(range(p.start_offset, p.end_offset) for p in cut))
    assert not "".join(character for i, character in enumerate(text) if i not in covered).strip("| -\n")


def test_a_header_that_leaves_no_room_is_not_repeated():
    text = "| " + " | ".join(f"columna número {i}" for i in range(20)) + " |\n|" + " --- |" * 20 + "\n| valor |\n" * 3
    assert max(tokens(passage.text) for passage in passages(text)) <= 60


def test_a_passage_begins_with_the_last_sentences_of_the_one_before():
    sentences = [f"La luz número {i} indica que el módem tiene la señal {i}." for i in range(30)]
    text = " ".join(sentences) + "\n\n# Otra\n\n" + " ".join(sentences)
    cut = passages(text, 100, overlap_tokens=30)
    assert max(tokens(passage.text) for passage in cut) <= 101  # joining two pieces may cost a token
    for one, other in pairwise(cut):
        if one.heading != other.heading:
            assert other.start_offset >= one.end_offset
            continue
        shared = text[other.start_offset : one.end_offset].strip()
        assert shared in text
        assert shared.endswith(".") and shared.startswith("La luz")
        assert tokens(shared) <= 30
    assert all(text[p.start_offset : p.end_offset].strip() == p.text.strip() for p in cut)


def test_no_overlap_reaches_into_a_table():
    text = f"{SENTENCE * 6}\n\n{table(20)}\n{SENTENCE * 6}"
    cut = passages(text, 80, overlap_tokens=30)
    mixed = [passage.text for passage in cut if "|" in passage.text and "técnico" in passage.text]
    assert mixed == []


def test_one_endless_line_is_cut_in_time_that_grows_with_its_length():
    cut = passages("palabra " * 30_000, 220)
    assert sum(len(passage.text.split()) for passage in cut) == 30_000
    assert max(tokens(passage.text) for passage in cut) <= 220
