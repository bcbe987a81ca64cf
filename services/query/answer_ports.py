"""Where the first answer to an idempotency key is kept."""

from __future__ import annotations

from typing import Protocol

from common.models import Done


class FirstAnswers(Protocol):
    """The first answer of each key, and who is making it. Every method sees one tenant's keys only. Times are milliseconds.

    Every method raises UnavailableError when the record cannot be reached.
    """

    async def claim(self, tenant_id: str, key: str, owner: str, now_ms: int, until_ms: int) -> bool:
        """Gives the right to answer to `owner` until `until_ms`; False while another has it or an answer is there."""
        ...

    async def renew(self, tenant_id: str, key: str, owner: str, until_ms: int) -> bool:
        """Makes the right of `owner` last longer; False where another has it."""
        ...

    async def find(self, tenant_id: str, key: str, now_ms: int) -> Done | None:
        """Returns the first answer."""
        ...

    async def keep(self, tenant_id: str, key: str, owner: str, done: Done, until_ms: int) -> bool:
        """Keeps the answer of `owner` until `until_ms`; False, and keeps nothing, where another has the right."""
        ...

    async def release(self, tenant_id: str, key: str, owner: str) -> None:
        """Ends the right of `owner`, who has no answer."""
        ...
