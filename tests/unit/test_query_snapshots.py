"""Snapshots: written whole, loaded when whole, made anew from the record when anything about them is wrong."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from common.models import SearchMode
from services.query.adapters import snapshots as adapter
from tests.fakes.indexes import CountingRecord, Server

ALL = ["a:1:0", "a:1:1", "b:2:0", "c:1:0"]
MODES = list(SearchMode)


class Bench:
    """A record with three documents, a folder, and the servers that were started on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.servers = folder, []
        self.record = CountingRecord()
        self.collection = self.record.create()
        self.record.publish(self.collection, "a", 1, "luz roja", "luz\u2028verde", metadata={"title": "Luces", "year": 2024.0})
        self.record.publish(self.collection, "b", 1, "luz vieja")
        self.record.publish(self.collection, "b", 2, "luz nueva", heading="Módem", page=3, start_offset=4, end_offset=9)
        self.record.publish(self.collection, "c", 1, "luz azul")

    def start(self, **more) -> Server:
        self.servers.append(Server(self.record, self.folder, **more))
        self.record.read.clear()
        return self.servers[-1]

    async def snapshot(self) -> Path:
        """Has one server write a snapshot and end; returns its folder."""
        server = self.start()
        assert await server.found() == ALL
        await server.save()
        await server.stop()
        return self.whole()[0]

    def whole(self) -> list[Path]:
        return sorted(self.folder.glob("*/snapshot-*"))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "indexes")
    yield bench
    for server in bench.servers:
        await server.stop()


@pytest.mark.parametrize("mode", MODES)
async def test_a_start_loads_the_snapshot_and_replays_the_rest(bench: Bench, mode: SearchMode):
    await bench.snapshot()
    bench.record.publish(bench.collection, "d", 1, "luz blanca")
    bench.record.delete(bench.collection, "c", 2)
    server = bench.start()
    assert await server.found(mode=mode) == [*ALL[:-1], "d:1:0"]
    assert bench.record.read == ["d"]


async def test_a_passage_comes_back_as_it_was(bench: Bench):
    await bench.snapshot()
    server = bench.start()
    await server.found()
    [followed] = server.follow.resident
    assert followed.index is not None
    for document_id, version in (("a", 1), ("b", 2)):
        chunks = (await bench.record.chunks_of("acme", bench.collection.uid, {document_id: version}))[document_id]
        loaded = followed.index.neighbours(chunks[0], 1)
        assert [one.model_dump(exclude={"vector"}) for one in loaded] == [one.model_dump(exclude={"vector"}) for one in chunks]


async def test_a_restored_index_takes_changes_and_is_kept_again(bench: Bench):
    first = await bench.snapshot()
    second = bench.start()
    bench.record.publish(bench.collection, "a", 2, "luz nueva")
    assert await second.found() == ["a:2:0", "b:2:0", "c:1:0"]
    await second.save()
    [replaced] = bench.whole()
    assert replaced.name > first.name
    third = bench.start()
    assert await third.found() == ["a:2:0", "b:2:0", "c:1:0"]
    assert bench.record.read == []


async def test_what_changes_later_does_not_reach_a_snapshot(bench: Bench):
    """Its files may be the very ones that the index goes on with."""
    snapshot = await bench.snapshot()
    written = {path: path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}
    server = bench.start()
    for version in range(2, 22):
        bench.record.publish(bench.collection, "a", version, f"luz {version}")
        assert await server.found() == [f"a:{version}:0", "b:2:0", "c:1:0"]
    assert {path: path.read_bytes() for path in snapshot.rglob("*") if path.is_file()} == written


async def test_a_disk_that_cannot_share_files_gets_copies(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def unable(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", unable)
    snapshot = await bench.snapshot()
    assert {path.stat().st_nlink for path in snapshot.rglob("*") if path.is_file()} == {1}
    assert await bench.start().found() == ALL
    assert bench.record.read == []


async def test_a_change_does_not_wait_while_a_snapshot_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    server = bench.start()
    await server.found()
    writing, go_on, lines = threading.Event(), threading.Event(), adapter.Documents.lines

    def slow(documents: adapter.Documents) -> Iterator[bytes]:
        writing.set()
        assert go_on.wait(30)
        return lines(documents)

    monkeypatch.setattr(adapter.Documents, "lines", slow)
    saving = asyncio.create_task(server.save())
    await asyncio.to_thread(writing.wait, 30)
    bench.record.publish(bench.collection, "d", 1, "luz blanca")
    assert await server.found() == [*ALL, "d:1:0"]
    go_on.set()
    await saving
    again = bench.start()
    assert await again.found() == [*ALL, "d:1:0"]
    assert bench.record.read == ["d"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    bit = random.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("harm", [truncate, flip, empty, longer, Path.unlink])
async def test_harm_to_any_file_is_noticed_and_the_index_made_anew(bench: Bench, harm: Callable[[Path], None], tmp_path: Path):
    snapshot = await bench.snapshot()
    names = [path.relative_to(snapshot) for path in snapshot.rglob("*") if path.is_file()]
    assert {name.name for name in names} >= {"manifest.json", "documents.jsonl", "vectors-0.faiss", "meta.json"}
    spare = tmp_path / "spare"
    shutil.copytree(snapshot, spare)
    for name in names:
        if not (snapshot / name).stat().st_size and harm is not longer:
            continue
        harm(snapshot / name)
        server = bench.start()
        assert await server.found() == ALL, name
        assert bench.record.read == ["a", "b", "c"], name
        assert not snapshot.exists(), name
        await server.stop()
        shutil.copytree(spare, snapshot)
    server = bench.start()
    assert await server.found() == ALL
    assert bench.record.read == []


def rewritten(**changes: object) -> Callable[[Path], None]:
    def rewrite(snapshot: Path) -> None:
        manifest = adapter.Manifest.read(snapshot / "manifest.json")
        adapter.Manifest(**{**manifest.__dict__, **changes}).write(snapshot / "manifest.json")

    return rewrite


@pytest.mark.parametrize(
    "wrong",
    [
        rewritten(format="0, text 1"),
        rewritten(tenant_id="rival"),
        rewritten(uid="another"),
        rewritten(language="en"),
        rewritten(passages=3),
        rewritten(seq=9),  # ahead of the log
        rewritten(seq=0),
        rewritten(mark="of another record"),
        rewritten(vectors={}),
    ],
    ids=lambda wrong: str(wrong.__closure__[0].cell_contents),
)
async def test_a_whole_snapshot_of_something_else_is_made_anew(bench: Bench, wrong: Callable[[Path], None]):
    wrong(await bench.snapshot())
    server = bench.start()
    assert await server.found() == ALL
    assert bench.record.read == ["a", "b", "c"]
    await server.save()
    again = bench.start()
    assert await again.found() == ALL
    assert bench.record.read == []


async def test_a_record_restored_from_a_backup_is_not_mixed_with_later_snapshots(bench: Bench):
    await bench.snapshot()
    restored = Bench(bench.folder)
    restored.record._changes[restored.collection.uid].pop()
    restored.record.publish(restored.collection, "other", 1, "luz ajena")
    server = restored.start()
    assert await server.found() == ["a:1:0", "a:1:1", "b:2:0", "other:1:0"]
    await server.stop()


async def test_a_crash_in_the_middle_of_writing_leaves_the_last_whole_one(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    snapshot = await bench.snapshot()
    server = bench.start()
    bench.record.publish(bench.collection, "d", 1, "luz blanca")
    await server.found()

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapter, "_to_disk", full)
    await server.save()
    monkeypatch.undo()
    assert [path.name for path in snapshot.parent.iterdir()] == [snapshot.name]
    again = bench.start()
    assert await again.found() == [*ALL, "d:1:0"]
    assert bench.record.read == ["d"]
    await server.save()  # there is room again
    assert snapshot not in bench.whole()


async def test_servers_share_a_folder_and_the_newest_snapshot_stays(bench: Bench):
    behind, ahead = bench.start(), bench.start()
    await behind.found()
    bench.record.publish(bench.collection, "d", 1, "luz blanca")
    await ahead.found()
    await ahead.save()
    [newest] = bench.whole()
    await behind.save()
    assert bench.whole() == [newest]
    late = bench.start()
    assert await late.found() == [*ALL, "d:1:0"]
    assert await behind.found() == await ahead.found() == [*ALL, "d:1:0"]


async def test_a_snapshot_that_another_server_replaces_while_it_is_read_is_read_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    await bench.snapshot()
    other, server = bench.start(), bench.start()
    bench.record.publish(bench.collection, "d", 1, "luz blanca")
    await other.found()
    read = adapter.Manifest.read

    def replaced_meanwhile(path: Path) -> adapter.Manifest:
        monkeypatch.undo()
        manifest = read(path)
        other.snapshots.save(bench.collection, other.follow.resident[0].index)
        return manifest

    monkeypatch.setattr(adapter.Manifest, "read", replaced_meanwhile)
    bench.record.read.clear()
    assert server.snapshots.load(bench.collection).seq == 5


async def test_tenants_with_one_collections_name_have_places_of_their_own(bench: Bench):
    await bench.snapshot()
    theirs = bench.record.create(tenant="../rival/" + "x" * 300)
    server = bench.start()
    assert server.snapshots.load(theirs) is None
    assert all(path.parent == bench.folder for path in bench.folder.iterdir())


async def test_folders_of_dead_servers_are_removed_and_those_of_living_ones_kept(bench: Bench):
    living = bench.start()
    await living.found()
    dead = bench.folder / "work" / "dead"
    (dead / "index").mkdir(parents=True)
    (dead / "index" / "meta.json").write_text("{}")
    bench.start()
    assert not dead.exists()
    assert await living.found() == ALL
    bench.record.publish(bench.collection, "d", 1, "luz blanca")
    assert await living.found() == [*ALL, "d:1:0"]


async def test_what_is_kept_is_told_without_loading_it(bench: Bench):
    snapshot = await bench.snapshot()
    server = bench.start()
    [kept] = server.snapshots.kept()
    assert (kept.tenant_id, kept.collection_id, kept.uid, kept.seq) == ("acme", "manual", bench.collection.uid, 4)
    assert kept.size_bytes == server.snapshots.size_of(bench.collection) > 0
    text = (snapshot / "manifest.json").read_bytes().partition(b"\n")[2]
    assert json.loads(text)["vectors"] == {"fake-words": "vectors-0.faiss"}
    flip(snapshot / "manifest.json")
    assert server.snapshots.kept() == []
