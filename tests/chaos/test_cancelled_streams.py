"""A thousand visitors leave in the middle of their answers: each answer is in the ledger once."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.store import Store
from tests.fakes.accounting import accounted
from tests.fakes.chat_bench import chatting
from tests.integration.conftest import mongodb_uri, store, store_settings
from tests.integration.test_usage_counted import cancelled_at_random, check_cancelled

__all__ = ["mongodb_uri", "store", "store_settings"]

STREAMS = 1000


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_a_thousand_streams_cancelled_at_random_points(store: Store, tmp_path: Path) -> None:  # the fixture
    async with accounted(store, tmp_path) as accounting, chatting(store, accounting=accounting) as bench:
        await bench.agent()
        await cancelled_at_random(bench, STREAMS, at_once=50)
        estimated = await check_cancelled(bench, accounting, STREAMS)
        print(f"{STREAMS} streams: {estimated[True]} cut short, {estimated[False]} whole; one answer row each")
