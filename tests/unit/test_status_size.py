"""A status travels in headers, which have a limit: what a failure quotes must not be what makes it unreadable."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from common.errors import InvalidArgumentError, MallaError, NotFoundError
from common.status import to_status

SOFT_LIMIT = 8 * 1024
"""GRPC_ARG_MAX_METADATA_SIZE: above it gRPC refuses some, above twice of it all."""


def headers_of(error: MallaError) -> int:
    status = to_status(error, {"request_id": "r" * 128})
    return len(quote(status.message)) + len(base64.b64encode(status.SerializeToString()))


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("collection", "a" * 200_000, "Create it."),
        NotFoundError("collection", "ñ" * 100_000, "Create it."),
        NotFoundError("collection", "\N{CLOUD}" * 100_000, "Create it."),
        InvalidArgumentError((f"texts[{number}]", "value length must be at least 1 characters") for number in range(256)),
        InvalidArgumentError([("a" * 100_000, "b" * 100_000)]),
    ],
    ids=["long", "long, two bytes each", "long, three bytes each", "many violations", "long violation"],
)
def test_a_failure_that_quotes_much_can_be_sent(error: MallaError) -> None:
    assert 500 < headers_of(error) < SOFT_LIMIT
    status = to_status(error, {"request_id": "r"})
    assert status.message.endswith("…")
    assert status.message[:-1] in error.message


def test_a_failure_of_usual_size_is_told_whole() -> None:
    error = InvalidArgumentError((f"texts[{number}]", "must not be empty") for number in range(10))
    status = to_status(error, {"request_id": "r"})
    assert status.message == error.message
    assert b"texts[9]" in status.SerializeToString()
