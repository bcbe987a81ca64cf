"""Which HTTP statuses a method answers with when it fails: what its comment says, and what the edge adds for every method."""

from __future__ import annotations

import re
from collections.abc import Iterator

from common.errors import Code
from services.gateway.openapi.contract import Contract, Method

STATUS_OF = {
    Code.INVALID_ARGUMENT: "400",
    Code.FAILED_PRECONDITION: "400",
    Code.OUT_OF_RANGE: "400",
    Code.UNAUTHENTICATED: "401",
    Code.PERMISSION_DENIED: "403",
    Code.NOT_FOUND: "404",
    Code.ABORTED: "409",
    Code.ALREADY_EXISTS: "409",
    Code.RESOURCE_EXHAUSTED: "429",
    Code.INTERNAL: "500",
    Code.UNKNOWN: "500",
    Code.DATA_LOSS: "500",
    Code.UNIMPLEMENTED: "501",
    Code.UNAVAILABLE: "503",
    Code.DEADLINE_EXCEEDED: "504",
}
"""As the transcoder maps them (google/rpc/code.proto)."""

# What the edge and any server may say of any call, whatever the method.
_ALWAYS = ("400", "401", "403", "408", "429", "431", "500", "502", "503", "504")
_OF_OPEN_ROUTES = ("400", "408", "431", "500")
_OF_BODIES = ("413",)

_SENTENCE_END = re.compile(r"(?<=\.)\s+")
_FAILS = re.compile(r"^Returns |[Ff]ails ")
_CODE = re.compile(rf"\b({'|'.join(Code)})\b")
_AS = re.compile(r"[Ff]ails as (?:\w+\.)?(\w+) does")
_LOOSE_END = re.compile(r"(?:[,;.]|\s|\band\b|\bwith\b)+$")


class Statuses:
    """Reads the comments of methods."""

    def __init__(self, contract: Contract) -> None:
        self._methods = {method.name: method for method in contract.methods}

    def of(self, method: Method, *, with_body: bool) -> dict[str, str]:
        """Returns the statuses in order, each with what the comments say of it; empty where they say nothing."""
        said = self._said(method)
        expected = {*_ALWAYS, *(_OF_BODIES if with_body else ()), *said}
        return {status: "; ".join(said.get(status, ())) for status in sorted(expected)}

    def _said(self, method: Method) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for code, text in self._reasons(method, frozenset()):
            reason = f"`{code}` {text}".rstrip()
            if reason not in (reasons := found.setdefault(STATUS_OF[code], [])):
                reasons.append(reason)
        return found

    def _reasons(self, method: Method, seen: frozenset[str]) -> Iterator[tuple[Code, str]]:
        """A comment may say that a method fails as another does: then what is said of that one is meant too."""
        if method.name in seen:
            return
        for sentence in _SENTENCE_END.split(method.description):
            if not _FAILS.search(sentence):
                continue
            for other in _AS.findall(sentence):
                yield from self._reasons(self._methods[other], seen | {method.name})
            yield from _codes(sentence)


def open_statuses(*more: str) -> dict[str, str]:
    """Returns the statuses of a route that needs no token."""
    return dict.fromkeys(sorted({*_OF_OPEN_ROUTES, *more}), "")


def _codes(sentence: str) -> Iterator[tuple[Code, str]]:
    """Cuts "Returns NOT_FOUND for an unknown agent, ABORTED when …" at its codes."""
    found = [*_CODE.finditer(sentence)]
    ends = [*(match.start() for match in found), len(sentence)][1:]
    for match, end in zip(found, ends, strict=bool(found)):
        yield Code(match.group()), _LOOSE_END.sub("", sentence[match.end() : end]).strip()
