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


REST = "El reembolso tarda cinco días hábiles, que se cuentan desde la solicitud del cliente o de quien lo represente."


@pytest.mark.parametrize(
    "title",
    ["POLÍTICA DE REEMBOLSOS\n\n", "POLÍTICA\nDE REEMBOLSOS\n", "1. CANCELACIONES Y PLAZOS\n", "Antes.\nPLAZOS DE PAGO:\n"],
)
def test_a_heading_in_capitals_is_not_quoted(title):
    assert said(title + REST) == [(0, REST)]


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("NO APAGUE EL MÓDEM.\n", ["NO APAGUE EL MÓDEM."]),
        ("NO LO MUEVA DURANTE LA CARGA\nNI LO APAGUE.\n", ["NO LO MUEVA DURANTE LA CARGA NI LO APAGUE."]),
        ("Durante la carga\nNO APAGUE EL MÓDEM\nni lo mueva. ", ["Durante la carga NO APAGUE EL MÓDEM ni lo mueva."]),
        ("TELÉFONO DE AYUDA 900 123\n\n", ["TELÉFONO DE AYUDA 900 123"]),
        ("HORARIO: DE OCHO A CINCO\n\n", ["HORARIO: DE OCHO A CINCO"]),
        ("- APAGUE EL MÓDEM\n- ESPERE UN MINUTO\n\n", ["APAGUE EL MÓDEM", "ESPERE UN MINUTO"]),
        ("1. APAGUE EL MÓDEM\n2. ESPERE UN MINUTO\n\n", ["APAGUE EL MÓDEM", "ESPERE UN MINUTO"]),
        ("| PLAN DE FIBRA | PRECIO |\n|---|---|\n| BROTE | CIEN |\n\n", ["PLAN DE FIBRA: BROTE; PRECIO: CIEN"]),
    ],
)
def test_what_says_something_in_capitals_is_quoted(text, quoted):
    assert [statement for _, statement in said(text + REST)] == [*quoted, REST]


def test_a_text_all_in_capitals_is_quoted():
    assert said("EL PAGO SE HACE EN LA SUCURSAL\n\nLA CUOTA VENCE EL VIERNES") == [
        (0, "EL PAGO SE HACE EN LA SUCURSAL"),
        (0, "LA CUOTA VENCE EL VIERNES"),
    ]


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
