"""Cutting statements, telling languages."""

from __future__ import annotations

import pytest

from services.query.domain.language import language_of
from services.query.domain.quoting import statements


def said(*passages: str) -> list[tuple[int, str]]:
    return [(statement.passage, statement.text) for statement in statements(list(passages))]


def test_sentences_end_where_sentences_end():
    text = "La velocidad es de 1.5 Mbps. ¿Cuánto cuesta? Cuesta $349 al mes, según el Sr. López."
    assert [text for _, text in said(text)][:2] == ["La velocidad es de 1.5 Mbps.", "¿Cuánto cuesta?"]


def test_lines_of_a_paragraph_are_one_text():
    assert said("El módem se reinicia\nsolo una vez.") == [(0, "El módem se reinicia solo una vez.")]


def test_list_items_are_statements_without_their_marks():
    text = "Pasos para el cliente:\n- Apague el **módem**.\n* Espere `diez` segundos\n1. Vuelva a encenderlo\n2) Llame al 900"
    assert [text for _, text in said(text)] == [
        "Pasos para el cliente:",
        "Apague el módem.",
        "Espere diez segundos",
        "Vuelva a encenderlo",
        "Llame al 900",
    ]


def test_table_rows_carry_their_headers():
    table = "| Plan | Precio |\n|---|---:|\n| Brote | $349 |\n| Penca | $499 |\n"
    assert [text for _, text in said(table)] == ["Plan: Brote; Precio: $349", "Plan: Penca; Precio: $499"]


def test_an_empty_cell_says_nothing():
    assert said("| Plan | Nota |\n|---|---|\n| Brote de fibra |  |") == [(0, "Plan: Brote de fibra")]


def test_a_second_table_has_headers_of_its_own():
    text = "| Uno | Dos |\n|---|---|\n| primero | segundo |\n\nEntre las dos tablas.\n\n| Tres | Cuatro |\n|---|---|\n| x | y |"
    assert said(text)[-1] == (0, "Tres: x; Cuatro: y")


def test_a_table_right_below_another_has_headers_of_its_own():
    text = "| Uno | Dos |\n|---|---|\n| primero | segundo |\n\n| Tres | Cuatro |\n|---|---|\n| tercero | cuarto |"
    assert [text for _, text in said(text)] == ["Uno: primero; Dos: segundo", "Tres: tercero; Cuatro: cuarto"]


def test_headings_are_not_quoted():
    assert said("# Planes de fibra\nEl plan cuesta poco.") == [(0, "El plan cuesta poco.")]


def test_a_statement_is_quoted_once_from_the_best_passage():
    assert said("El plan cuesta poco.", "EL PLAN CUESTA POCO. Otra cosa distinta.") == [
        (0, "El plan cuesta poco."),
        (1, "Otra cosa distinta."),
    ]


@pytest.mark.parametrize("passage", ["", "   ", "Sí.", "|---|---|"])
def test_too_little_says_nothing(passage):
    assert said(passage) == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("¿Cuánto cuesta el plan Penca?", "es"),
        ("cuanto cuesta el plan", "es"),
        ("How do I return the router?", "en"),
        ("What is the price of Fibra Tuna?", "en"),
        ("señal", "es"),
    ],
)
def test_questions_tell_their_language(text, language):
    assert language_of(text, "en" if language == "es" else "es") == language


def test_nothing_to_tell_by_takes_the_collections_language():
    assert language_of("modem Agave 6", "es") == "es"
    assert language_of("modem Agave 6", "en") == "en"
    assert language_of("modem Agave 6", "fr") == "en"  # answers are in Spanish or English
