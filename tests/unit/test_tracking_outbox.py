"""The outbox: durable lines, torn tails, files of dead servers."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.tracking._outbox import Outbox


def row(name: str, **values: object) -> dict[str, object]:
    return {"_id": name, "tokens": 1, **values}


async def rows(outbox: Outbox) -> list[object]:
    found, offset = [], 0
    while offset < outbox.size:
        some, offset = await outbox.read(offset)
        found += [each["_id"] for each in some]
    return found


async def test_rows_come_back_in_order_and_once(tmp_path: Path) -> None:
    outbox = Outbox.create(tmp_path, "query")
    assert await outbox.append([row("a", text="línea\nuna"), row("b"), row("a", tokens=9)]) == {"a"}
    assert await outbox.append([row("b", tokens=9), row("c")]) == {"b"}
    assert await rows(outbox) == ["a", "b", "c"]
    assert await outbox.find("a") == row("a", text="línea\nuna")
    assert await outbox.find("z") is None
    size = outbox.size
    await outbox.append([row("d")])
    assert not await outbox.clear(size)
    assert await outbox.clear(outbox.size)
    assert outbox.size == 0
    assert await outbox.find("a") is None
    outbox.close()
    assert Outbox.adopt(tmp_path) == []
    assert not outbox.path.exists()


async def test_many_rows_are_read_in_parts(tmp_path: Path) -> None:
    outbox = Outbox.create(tmp_path, "query")
    names = [f"k{number}" for number in range(450)]
    await outbox.append([row(name) for name in names])
    assert await rows(outbox) == names
    outbox.close()


async def test_a_file_of_a_living_server_is_left_alone(tmp_path: Path) -> None:
    outbox = Outbox.create(tmp_path, "query")
    await outbox.append([row("a")])
    assert Outbox.adopt(tmp_path) == []
    outbox.close()
    adopted = Outbox.adopt(tmp_path)
    assert [await rows(each) for each in adopted] == [["a"]]
    assert Outbox.adopt(tmp_path) == []
    for each in adopted:
        assert await each.clear(each.size)
        each.close()
    assert Outbox.adopt(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 5, 20])
async def test_a_torn_tail_is_noticed_and_the_rest_is_there(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox.create(tmp_path, "query")
    await outbox.append([row("a")])
    await outbox.append([row("b")])
    outbox.close()
    os.truncate(outbox.path, outbox.size - cut)
    (adopted,) = Outbox.adopt(tmp_path)
    with caplog.at_level(logging.ERROR):
        assert await rows(adopted) == ["a"]
    assert "damaged" in caplog.text
    adopted.close()


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"tokens":1', b'"tokens":7', 1))


async def test_a_changed_line_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox.create(tmp_path, "query")
    await outbox.append([row("a")])
    await outbox.append([row("b")])
    outbox.close()
    change(outbox.path)
    (adopted,) = Outbox.adopt(tmp_path)
    assert await rows(adopted) == ["b"]
    assert "damaged" in caplog.text
    adopted.close()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from common.tracking._outbox import Outbox

async def main():
    outbox = Outbox.create(Path(sys.argv[1]), "query")
    for number in range(20):
        await outbox.append([{"_id": f"k{number}"}])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_a_killed_server_wrote_is_adopted(tmp_path: Path) -> None:
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (adopted,) = Outbox.adopt(tmp_path)
    assert await rows(adopted) == [f"k{number}" for number in range(20)]
    adopted.close()


async def test_half_a_line_does_not_stand_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox.create(tmp_path, "query")
    await outbox.append([row("a")])
    write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) > 10:
            return write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            await outbox.append([row("b")])
    await outbox.append([row("c")])
    assert await rows(outbox) == ["a", "c"]
    outbox.close()


async def test_a_row_that_comes_while_a_cancelled_caller_empties_the_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox.create(tmp_path, "query")
    await outbox.append([row("old")])
    truncate, begun, go_on = outbox._truncate, threading.Event(), threading.Event()

    def slowly(size: int) -> None:
        begun.set()
        assert go_on.wait(10)
        truncate(size)

    monkeypatch.setattr(outbox, "_truncate", slowly)
    clearing = asyncio.create_task(outbox.clear(outbox.size))
    assert await asyncio.to_thread(begun.wait, 10)
    clearing.cancel()
    await asyncio.sleep(0)
    adding = asyncio.create_task(outbox.append([row("new")]))
    await asyncio.sleep(0)
    go_on.set()
    await adding
    with pytest.raises(asyncio.CancelledError):
        await clearing
    assert await rows(outbox) == ["new"]
    outbox.close()


def test_what_cannot_be_opened_keeps_no_other_from_being_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.outbox").mkdir()
    Outbox.create(tmp_path, "b").close()
    (tmp_path / "b.outbox").touch()
    (adopted,) = Outbox.adopt(tmp_path)
    assert adopted.path.name == "b.outbox"
    assert "a.outbox" in caplog.text
    adopted.close()
