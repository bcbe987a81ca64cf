"""What an HTTP status or an error body of a provider means."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any

from common.llm.errors import (
    ContextTooLongError,
    LlmError,
    LlmKeyRejectedError,
    LlmRateLimitedError,
    LlmRequestRefusedError,
    LlmUnavailableError,
    ModelNotFoundError,
)

_LONGEST_RETRY_AFTER_S = 24 * 3600.0
_USED_UP = (402, 429)
# 498: Groq's own, for a tier without capacity at present.
_BUSY = (408, 409, 498)
_NOT_FOUND = ("model_not_found", "model_decommissioned", "model_not_active")
_TOO_LONG = ("context_length_exceeded", "exceed_context_size_error", "request_too_large", "context_window_exceeded")
_TOO_LONG_WORDS = re.compile(
    r"context (length|size|window)|maximum context|reduce the length|too many tokens|prompt is too long"
)


def failure_of(status: int, body: Any, headers: Mapping[str, str], *, provider: str, model: str) -> LlmError:
    """Returns the error an HTTP answer stands for. The body is read for its codes and quoted nowhere."""
    codes, words = _said(body)
    where = {"provider": provider, "model": model}
    wait_s = retry_after_s(headers)
    if status == 413 or (400 <= status < 500 and _is_too_long(codes, words)):
        return ContextTooLongError(**where)
    if status == 404 or any(code in codes for code in _NOT_FOUND):
        return ModelNotFoundError(**where)
    if status in (401, 403):
        return LlmKeyRejectedError(**where)
    if status in _USED_UP:
        return LlmRateLimitedError(**where, retry_after_s=wait_s)
    if status >= 500 or status in _BUSY:
        return LlmUnavailableError(f"failed with HTTP {status}", **where, retry_after_s=wait_s)
    return LlmRequestRefusedError(**where, status=status)


def reported_failure(body: Any, *, provider: str, model: str) -> LlmError:
    """Returns the error an event inside a stream stands for."""
    status = body.get("code") or body.get("status_code") if isinstance(body, Mapping) else None
    if isinstance(status, int) and 400 <= status < 600:
        return failure_of(status, {"error": body}, {}, provider=provider, model=model)
    if _is_too_long(*_said({"error": body})):
        return ContextTooLongError(provider=provider, model=model)
    return LlmUnavailableError("reported a failure inside the answer", provider=provider, model=model)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Returns how long the provider asks to wait (RFC 9110, 10.2.3; retry-after-ms first), None where it does not say."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait_s = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if 0 <= wait_s <= _LONGEST_RETRY_AFTER_S:
            return wait_s
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    if date is None:
        return None
    try:
        until = email.utils.mktime_tz(date)
    except (ValueError, OverflowError):  # it reads as a date, and no calendar has it
        return None
    return min(max(0.0, until - time.time()), _LONGEST_RETRY_AFTER_S)


def _said(body: Any) -> tuple[set[str], str]:
    """Returns the codes and the words of an error body, in lower case."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(error, Mapping):
        return set(), str(error or "").lower()
    codes = {str(error.get(name)).lower() for name in ("code", "type") if error.get(name)}
    return codes, str(error.get("message") or "").lower()


def _is_too_long(codes: set[str], words: str) -> bool:
    return any(code in codes for code in _TOO_LONG) or bool(_TOO_LONG_WORDS.search(words))
