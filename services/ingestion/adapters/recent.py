"""Bytes that were just stored, remembered for the worker that reads them next: most often it is in the same process."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator

from common.errors import MallaError
from services.ingestion.ports import Blobs

_MOST_BYTES = 16 * 1024 * 1024
_CLAIM_EVERY_S = 0.5

log = logging.getLogger("malla.ingestion")


class RecentBlobs:
    """Blobs of the record; of those written here the last ones are also in memory, until they were read or are too many."""

    def __init__(self, blobs: Blobs, *, most_bytes: int = _MOST_BYTES) -> None:
        self._blobs = blobs
        self._most_bytes = most_bytes
        self._pieces: OrderedDict[tuple[str, str], list[bytes]] = OrderedDict()
        self._bytes = 0
        self._named: defaultdict[str, list[str]] = defaultdict(list)
        self._some_named = asyncio.Event()

    async def write(self, tenant_id: str, blob_id: str, number: int, piece: bytes) -> None:
        """Stores the piece `number` of a blob, which is unclaimed from its first piece on."""
        await self._blobs.write(tenant_id, blob_id, number, piece)
        pieces = self._pieces.get((tenant_id, blob_id), [])
        if len(pieces) != number:
            return  # its first pieces are not remembered any more
        self._pieces[tenant_id, blob_id] = [*pieces, piece]
        self._bytes += len(piece)
        while self._bytes > self._most_bytes:
            self._forget(*next(iter(self._pieces)))

    async def claim(self, tenant_id: str, *blob_ids: str) -> None:
        """Notes that jobs name these blobs; in the record some at a time, by `run`.

        What a crash keeps from being noted is found out by the next look for blobs that no job names.
        """
        self._named[tenant_id].extend(blob_ids)
        self._some_named.set()

    async def run(self) -> None:
        """Notes in the record what was claimed, until cancelled."""
        while True:
            await self._some_named.wait()
            await asyncio.sleep(_CLAIM_EVERY_S)
            self._some_named.clear()
            named, self._named = self._named, defaultdict(list)
            for tenant_id, blob_ids in named.items():
                try:
                    await self._blobs.claim(tenant_id, *blob_ids)
                except MallaError as error:
                    log.warning("uploads are not noted as complete, which is done later: %s", error.message)

    def unclaimed(self, before_ms: int) -> AsyncIterator[tuple[str, str]]:
        """Yields tenant and identifier of the blobs begun before a time that no job is known to name."""
        return self._blobs.unclaimed(before_ms)

    async def read(self, tenant_id: str, blob_id: str) -> bytes:
        """Returns a blob whole, all of whose pieces are stored. It is read once, as a rule, and then forgotten here."""
        pieces = self._forget(tenant_id, blob_id)
        return b"".join(pieces) if pieces else await self._blobs.read(tenant_id, blob_id)

    async def delete(self, tenant_id: str, blob_id: str) -> None:
        """Removes a blob, if there is one."""
        self._forget(tenant_id, blob_id)
        await self._blobs.delete(tenant_id, blob_id)

    def _forget(self, tenant_id: str, blob_id: str) -> list[bytes]:
        pieces = self._pieces.pop((tenant_id, blob_id), [])
        self._bytes -= sum(map(len, pieces))
        return pieces
