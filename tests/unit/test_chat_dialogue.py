"""What a message means in its conversation."""

from __future__ import annotations

import pytest

from services.query.domain.dialogue import asks_for_person, cited_positions, search_text


@pytest.mark.parametrize(
    "message",
    [
        "Quiero hablar con una persona",
        "quiero hablar con un agente humano por favor",
        "¿Puedo hablar con alguien? Con un asesor, por favor. Quiero hablar con un asesor",
        "Comuníqueme con un asesor",
        "comuniqueme con un representante",
        "Comunícame con el supervisor",
        "Pásame con un humano",
        "Páseme a una operadora",
        "Me pasa con un ejecutivo?",
        "Transfiérame con un agente, no sirve de nada esto",
        "Póngame con una persona real",
        "Necesito un agente",
        "Necesito que me atienda una persona",
        "prefiero que me atienda un humano",
        "QUIERO UN HUMANO",
        "contácteme con un asesor",
        "I want to talk to a human",
        "can I speak with a real person?",
        "Speak to an agent!",
        "Please connect me to a representative",
        "transfer me to your supervisor",
        "put me through to an operator",
        "I need a human",
        "I'd like to talk to someone real",
        "get me a person",
        "Let me speak\nto a human",
        "Can I speak to someone?",
        "comuni\u0301queme con un asesor",
    ],
)
def test_asking_for_a_person(message: str):
    assert asks_for_person(message)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "¿Cuánto cuesta el plan?",
        "¿Puedo pasar la factura a nombre de otra persona?",
        "Quiero un plan para una sola persona",
        "Quiero cambiar de operador",
        "Necesito cambiar el titular a otra persona física",
        "¿Cuántas personas pueden usar la red?",
        "¿Qué hace un agente de ventas?",
        "Mi agente de seguros me dijo que llamara",
        "Quiero saber si el operador cobra por persona",
        "¿Qué pasa si la operadora se equivoca?",
        "Ayer hablé con un asesor y me prometió un descuento",
        "Me pasaron con un agente que no sabía nada",
        "Quiero transferir mi línea a otra persona",
        "Necesito un agente de viajes",
        "I talked to an agent yesterday",
        "Una persona me llamó ayer",
        "How many people can use it?",
        "I want a plan for one person",
        "Can I put the contract in another person's name?",
        "I get an error from the user agent",
        "I need to change the operator of my line",
        "What does the human resources team do?",
        "I want to know the operator's price",
    ],
)
def test_a_harmless_sentence(message: str):
    assert not asks_for_person(message)


PREVIOUS = "¿Cuánto cuesta el plan Penca?"


@pytest.mark.parametrize(
    "message", ["¿Y el otro?", "¿y con televisión, cuánto sería al mes?", "¿Eso incluye el módem y la instalación?", "precio?"]
)
def test_a_follow_up_is_searched_with_what_it_follows(message: str):
    assert search_text(message, [PREVIOUS]) == f"{PREVIOUS}\n{message}"


@pytest.mark.parametrize("message", ["And what about the one with television?", "Does it include the modem and the router?"])
def test_a_follow_up_in_english(message: str):
    assert search_text(message, [PREVIOUS]).startswith(PREVIOUS)


def test_a_follow_up_to_a_follow_up_is_searched_with_what_both_are_about():
    asked = ["¿Dónde está la tienda?", PREVIOUS, "¿Y con televisión?"]
    assert search_text("¿Eso incluye la instalación en casa?", asked) == "\n".join(
        [*asked[1:], "¿Eso incluye la instalación en casa?"]
    )


def test_three_messages_are_the_most_that_are_searched_together():
    asked = [PREVIOUS, "¿Y con televisión?", "¿Y sin ella?", "¿Y eso?"]
    assert search_text("¿Y lo mismo en casa?", asked) == "¿Y sin ella?\n¿Y eso?\n¿Y lo mismo en casa?"


def test_a_short_question_leans_on_the_one_before_and_no_further():
    assert search_text("¿Precio?", ["¿Dónde está la tienda?", "¿Horario del sábado?"]) == "¿Horario del sábado?\n¿Precio?"


def test_a_question_of_its_own_is_searched_alone():
    message = "¿Cómo devuelvo el módem después de cancelar el contrato?"
    assert search_text(message, [PREVIOUS]) == message


def test_the_first_message_is_searched_alone():
    assert search_text("¿Y el otro?", []) == "¿Y el otro?"


@pytest.mark.parametrize(
    ("answer", "positions"),
    [
        ("Sin señal [2]. Reinicie [1][2].", [0, 1]),
        ("Como la unen algunos modelos [1, 3] o [2,9].", [0, 1, 2]),
        ("Nada [0] [4] [9] [999] [1000].", []),
        ("El artículo [3] (véase [x] y [ 1 ]).", [2]),
        ("", []),
        ("[-1] [1.5] []", []),
    ],
)
def test_only_numbers_of_passages_are_citations(answer: str, positions: list[int]):
    assert cited_positions(answer, 3) == positions


def test_without_passages_nothing_is_cited():
    assert cited_positions("Según [1].", 0) == []
