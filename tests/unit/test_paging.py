"""Page tokens."""

from __future__ import annotations

import pytest

from common.errors import InvalidArgumentError
from common.paging import from_page_token, to_page_token


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
