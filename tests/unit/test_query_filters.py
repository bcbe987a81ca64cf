"""Metadata filters."""

from __future__ import annotations

import pytest

from common.errors import InvalidArgumentError
from services.query.domain.filters import compile_filter

PASSAGE = {
    "title": "Planes",
    "tags": ["ventas", "fibra"],
    "year": 2025.0,
    "source": "https://example.org",
    "draft": False,
    "document_id": "planes.md",
}


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({"title": "Planes"}, True),
        ({"title": "planes"}, False),
        ({"tags": "fibra"}, True),
        ({"tags": "móvil"}, False),
        ({"year": 2025}, True),
        ({"draft": False}, True),
        ({"draft": True}, False),
        ({"draft": 0}, False),
        ({"draft": {"in": [0, 1]}}, False),
        ({"draft": {"in": [False]}}, True),
        ({"tags": {"in": []}}, False),
        ({"missing": "x"}, False),
        ({"document_id": "planes.md"}, True),
        ({"title": {"in": ["Otro", "Planes"]}}, True),
        ({"title": {"in": []}}, False),
        ({"tags": {"in": ["x", "ventas"]}}, True),
        ({"missing": {"in": ["x"]}}, False),
        ({"year": {"gt": 2024}}, True),
        ({"year": {"gt": 2025}}, False),
        ({"year": {"gte": 2025}}, True),
        ({"year": {"gte": 2025.5}}, False),
        ({"year": {"lt": 2026}}, True),
        ({"year": {"lt": 2025}}, False),
        ({"year": {"lte": 2025}}, True),
        ({"year": {"lte": 2024}}, False),
        ({"year": {"gte": 2024, "lt": 2026}}, True),
        ({"year": {"gte": 2024, "lt": 2025}}, False),
        ({"title": {"gte": "P", "lt": "Q"}}, True),
        ({"title": {"gt": 5}}, False),
        ({"year": {"gt": "2024"}}, False),
        ({"draft": {"lt": 5}}, False),
        ({"missing": {"gt": 1}}, False),
        ({"source": {"exists": True}}, True),
        ({"source": {"exists": False}}, False),
        ({"missing": {"exists": False}}, True),
        ({"tags": {"exists": True}}, True),
        ({"title": "Planes", "year": {"lt": 2000}}, False),
        ({}, True),
    ],
)
def test_conditions(conditions, matches):
    assert compile_filter(conditions)(PASSAGE) is matches


def test_every_element_of_a_list_is_looked_at():
    assert compile_filter({"years": {"gt": 2020}})({"years": [1999.0, 2024.0]})


@pytest.mark.parametrize(
    ("operator", "operand"),
    [("in", "x"), ("exists", "yes"), ("exists", 1.0), ("gt", True), ("gte", [1.0]), ("lt", None), ("lte", {"a": 1.0})],
)
def test_an_operand_of_the_wrong_type_is_named(operator, operand):
    with pytest.raises(InvalidArgumentError) as refused:
        compile_filter({"year": {operator: operand}})
    [violation] = refused.value.details["violations"]
    assert violation["field"] == "filter.year"
    assert f"'{operator}'" in violation["description"]


def test_a_condition_without_an_operator_is_refused_and_does_not_match_everything():
    with pytest.raises(InvalidArgumentError) as refused:
        compile_filter({"year": {}})
    [violation] = refused.value.details["violations"]
    assert violation["field"] == "filter.year"
    assert "exists" in violation["description"]


def test_an_unknown_operator_is_named_with_the_known_ones():
    with pytest.raises(InvalidArgumentError) as refused:
        compile_filter({"year": {"$gt": 1}})
    description = refused.value.details["violations"][0]["description"]
    assert "'$gt'" in description
    assert "gte" in description
