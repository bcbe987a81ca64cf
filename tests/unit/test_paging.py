"""Page tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from common.errors import InvalidArgumentError
from common.models import BaseModel
from common.paging import filled, from_page_token, to_page_token


@pytest.mark.parametrize("last_id", ["a", "manual-2", "ñandú/¿?", "x" * 300])
def test_a_token_leads_back_to_its_identifier(last_id: str):
    token = to_page_token(last_id)
    assert from_page_token(token) == last_id
    assert token.isascii()


def test_no_token_is_the_first_page():
    assert from_page_token("") == ""


@pytest.mark.parametrize("token", ["abc", "not a token", "%%%%", "ñ", "gIGC", "../..", "5"])
def test_a_foreign_token_is_refused(token: str):
    with pytest.raises(InvalidArgumentError) as refused:
        from_page_token(token)
    assert refused.value.details["violations"][0]["field"] == "page_token"


class Row(BaseModel):
    number: int
    text: str = ""


async def page(rows: list[Row], size: int) -> tuple[list[int], bool]:
    async def read(last: Row | None, count: int) -> AsyncIterator[Row]:
        assert 0 < count <= 100, "no more in memory than a trip brings"
        first = 0 if last is None else last.number
        for row in rows[first : first + count]:
            yield row

    found, is_more = await filled(read, size)
    return [row.number for row in found], is_more


@pytest.mark.parametrize("there", [0, 1, 49, 50, 51, 99, 100, 101, 250])
@pytest.mark.parametrize("size", [1, 50, 99, 100, 101, 1000])
async def test_a_page_holds_what_was_asked_for(there: int, size: int):
    rows = [Row(number=number) for number in range(1, there + 1)]
    assert await page(rows, size) == (list(range(1, min(there, size) + 1)), there > size)


async def test_a_page_is_no_larger_than_a_message_but_never_empty():
    rows = [Row(number=number, text="ñ" * 300_000) for number in range(1, 20)]
    numbers, is_more = await page(rows, 50)
    assert (numbers, is_more) == ([1, 2, 3, 4, 5], True)
    huge = [Row(number=1, text="x" * 5_000_000), Row(number=2)]
    assert await page(huge, 50) == ([1], True)
    assert await page(huge[:1], 50) == ([1], False)
