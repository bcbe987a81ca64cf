"""Indexes that are small lie in memory, and move to disk when they are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.query.adapters import swift as swift_folders
from services.query.adapters import tantivy_index
from services.query.adapters.swift import bytes_in, swift_root
from services.query.adapters.tantivy_index import TantivyIndex
from services.query.ports import Text


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    disk, swift = tmp_path / "disk", tmp_path / "swift"
    disk.mkdir()
    swift.mkdir()
    return disk, swift


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(swift_folders, "_LEAST_FREE", 0)
    return monkeypatch


def text(words: str) -> Text:
    return Text(words=words, row=words.encode())


def add(index: TantivyIndex, **words: str) -> None:
    index.stage({int(name[1:]): text(value) for name, value in words.items()}, [])()


def test_a_small_index_is_in_memory_and_is_saved_from_there(folders, tmp_path):
    disk, swift = folders
    index = TantivyIndex("es", disk, swift)
    add(index, k1="la luz roja", k2="la factura")
    assert bytes_in(swift) > bytes_in(disk) == 0
    (saved := tmp_path / "saved").mkdir()
    index.save(saved)
    restored = TantivyIndex("es", saved)
    assert list(restored.search("luces rojas", 5, None)) == [1]


def test_an_index_that_outgrows_memory_moves_to_disk_and_searches_find_the_same(folders, room):
    disk, swift = folders
    index = TantivyIndex("es", disk, swift)
    add(index, k1="la luz roja", k2="la factura")
    found = index.search("luces rojas", 5, None)
    room.setattr(swift_folders, "MOST_BYTES", 10)
    commit = index.stage({3: text("otra luz roja")}, [])
    assert index.search("luces rojas", 5, None) == found  # searches see no change before the commit
    commit()
    assert sorted(index.search("luces rojas", 5, None)) == [1, 3]
    assert bytes_in(disk) > 0
    assert not swift.exists()
    assert index.rows([3]) == {3: b"otra luz roja"}


def test_an_index_that_is_there_already_begins_in_memory_where_it_is_small(folders, tmp_path, room):
    disk, swift = folders
    add(TantivyIndex("es", disk), k1="la luz roja")
    index = TantivyIndex("es", disk, swift)
    assert list(index.search("luz", 5, None)) == [1]
    assert bytes_in(swift) > 0
    room.setattr(swift_folders, "MOST_BYTES", 10)
    (other := tmp_path / "other").mkdir()
    assert list(TantivyIndex("es", disk, other).search("luz", 5, None)) == [1]
    assert bytes_in(other) == 0


def test_what_lies_in_memory_counts_as_memory(folders):
    disk, swift = folders
    index = TantivyIndex("es", disk, swift)
    add(index, k1="la luz roja")
    before = index.size_bytes
    add(index, **{f"k{n}": f"palabra{n} " * 50 for n in range(2, 200)})
    add(index, k900="otra")  # looks at what was written before
    assert index.size_bytes > before + 10_000


def test_a_folder_in_memory_is_used_only_where_it_is_ours_and_has_room(tmp_path, room):
    room.setattr(swift_folders, "_MEMORY", tmp_path)
    root = swift_root()
    assert root is not None and root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o777)  # anybody may have put something into it
    assert swift_root() is None
    root.rmdir()
    (tmp_path / "theirs").mkdir(mode=0o700)
    root.symlink_to(tmp_path / "theirs")
    assert swift_root() is None
    root.unlink()
    room.setattr(swift_folders, "_LEAST_FREE", 10**12)
    assert swift_root() is None
    room.setattr(swift_folders, "_MEMORY", tmp_path / f"none-{os.getpid()}")
    assert swift_root() is None


def test_an_index_of_many_commits_is_opened_anew_and_searches_find_the_same(folders, room):
    room.setattr(tantivy_index, "_COMMITS_OPEN", 3)
    disk, swift = folders
    index = TantivyIndex("es", disk, swift)
    first = index._index
    for number in range(1, 9):
        found = index.search("luces rojas", 5, None)
        commit = index.stage({number: text(f"la luz roja {number}")}, [number - 2] if number > 2 else [])
        assert index.search("luces rojas", 5, None) == found  # searches see no change before the commit
        commit()
        assert sorted(index.search("luces rojas", 5, None)) == [one for one in (number - 1, number) if one]
        assert index.rows([number]) == {number: f"la luz roja {number}".encode()}
    assert index._index is not first  # which remembers each file of each commit
