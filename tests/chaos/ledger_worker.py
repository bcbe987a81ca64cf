"""A server process of test_ledger_under_fire: makes the calls of a file and prints the number of each once it is durable.

Run: python ledger_worker.py WORK.json OUTBOX_DIR
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from common.errors import MallaError
from common.tracking import Accounting
from tests.fakes.ledger import Setup, answer, caller

LIMITS = {"llm_tokens_per_day": 1_000_000_000}
SETTINGS = {"ledger_timeout_s": 0.5, "budget_lease_s": 3.0}
STREAMS = 10


async def call(accounting: Accounting, number: int, key: str, tokens: int) -> None:
    """Makes one call as a server does: refused while the budget cannot be asked, never once it has begun."""
    while True:
        try:
            held = await accounting.reserve(caller(), key=key, token_type="llm", tokens=2500)
            break
        except MallaError:
            await asyncio.sleep(0.1)
    await accounting.commit(held, [answer(key, tokens)], caller())
    print(number, flush=True)


async def main(told: dict[str, Any], outbox: Path) -> None:
    setup = Setup(told["uri"], outbox, told["name"], LIMITS, SETTINGS)
    rows = iter(told["rows"])

    async def stream(accounting: Accounting) -> None:
        for row in rows:
            await call(accounting, *row)

    async with setup.server("worker") as accounting:
        await asyncio.gather(*(stream(accounting) for _ in range(STREAMS)))


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))
