"""Snapshots of indexes in a folder, whole or not there.

Each is a folder of its own, written under another name, forced to the disk and then renamed, so several servers may share the
place: readers take the newest whole one, and the last writer wins. Every file has its checksum in the manifest, and the
manifest has its own: FAISS and tantivy trust what they read, so nothing is read before it was checked.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.store import CollectionRecord, now_ms
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.swift import swift_root
from services.query.adapters.tantivy_index import ANALYSIS_FORMAT, TantivyIndex, link_all
from services.query.domain.collection_index import TEXT_FORMAT, CollectionIndex, IndexContents
from services.query.domain.passages import Documents
from services.query.index_ports import Kept
from services.query.ports import VectorIndex

log = logging.getLogger("malla.query.snapshots")

FORMAT = f"3, text {TEXT_FORMAT}, analysis {ANALYSIS_FORMAT}, tantivy {version('tantivy')}"
"""What wrote a snapshot. One that was written by anything else is made anew from the record."""

_MANIFEST, _DOCUMENTS, _LEXICAL = "manifest.json", "documents.jsonl", "lexical"
_WHOLE, _UNFINISHED, _WORK = "snapshot-", "unfinished-", "work"
_ABANDONED_MS = 3_600_000
_PIECE_BYTES = 1 << 20
_ATTEMPTS = 3  # another server may replace the snapshot that is being read


class DamagedError(Exception):
    """A snapshot is not what was written, or not what is wanted."""


@dataclass(frozen=True)
class Manifest:
    """What a snapshot says of itself.

    Attributes:
        vectors: File by embedding model.
        files: [bytes, SHA-256] by path within the snapshot.
    """

    format: str
    tenant_id: str
    collection_id: str
    uid: str
    language: str
    seq: int
    mark: str
    model: str
    size_bytes: int
    passages: int
    vectors: dict[str, str]
    files: dict[str, list[Any]]

    def write(self, path: Path) -> None:
        """Writes it down, its checksum in the first line."""
        text = json.dumps(asdict(self), ensure_ascii=False).encode()
        path.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
        _to_disk(path)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises DamagedError, OSError."""
        checksum, _, text = path.read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != checksum:
            raise DamagedError("its manifest is damaged")
        row = json.loads(text)
        if row.get("format") != FORMAT:
            raise DamagedError(f"it was written as '{row.get('format')}', not as '{FORMAT}'")
        return cls(**row)


class FolderSnapshots:
    """Snapshots under one folder, for any number of servers.

    Args:
        root: Made where it is missing.
        load_vectors: Reads a file of vectors.
    """

    def __init__(self, root: Path, load_vectors: Callable[[Path], VectorIndex] = FaissIndex.load) -> None:
        self._root = root
        self._load_vectors = load_vectors
        self._work = _WorkFolder(root / _WORK)
        swift = swift_root()
        self._swift = None if swift is None else _WorkFolder(swift)

    def make_lexical(self, language: str) -> TantivyIndex:
        """Returns an empty index in a folder of this process."""
        return self._lexical(language, self._work.new())

    def save(self, collection: CollectionRecord, index: CollectionIndex) -> int:
        """Keeps what the index holds now, unless something newer is kept; returns its change number. Raises OSError."""
        place = self._place(collection.tenant_id, collection.uid)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        newest = next(_whole(place), None)
        if newest is not None and _seq_of(newest) > index.seq:
            return index.seq
        unfinished = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{now_ms()}-", dir=place))
        try:
            manifest = self._write(unfinished, collection, index)
            whole = place / f"{_WHOLE}{manifest.seq:016d}-{uuid.uuid4().hex}"
            unfinished.rename(whole)
            _to_disk(place)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        for other in _others(place, whole):
            shutil.rmtree(other, ignore_errors=True)
        return manifest.seq

    def _write(self, folder: Path, collection: CollectionRecord, index: CollectionIndex) -> Manifest:
        (folder / _LEXICAL).mkdir()
        with index.still() as contents:
            vectors = {model: f"vectors-{number}.faiss" for number, model in enumerate(contents.vectors)}
            for model, name in vectors.items():
                contents.vectors[model].save(folder / name)
            contents.lexical.save(folder / _LEXICAL)
            seq, mark, model, documents = contents.seq, contents.mark, contents.model, contents.documents.copy()
        with (folder / _DOCUMENTS).open("wb") as file:
            file.writelines(line + b"\n" for line in documents.lines())
        files = {str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)] for path in _files(folder)}
        for path in (*_files(folder), folder / _LEXICAL, folder):
            _to_disk(path)
        manifest = Manifest(
            format=FORMAT,
            tenant_id=collection.tenant_id,
            collection_id=collection.collection_id,
            uid=collection.uid,
            language=collection.language,
            seq=seq,
            mark=mark,
            model=model,
            size_bytes=index.size_bytes,
            passages=documents.passages,
            vectors=vectors,
            files=files,
        )
        manifest.write(folder / _MANIFEST)
        return manifest

    def load(self, collection: CollectionRecord) -> IndexContents | None:
        """Returns what is kept, or None; what is damaged or was written by other rules is removed."""
        place = self._place(collection.tenant_id, collection.uid)
        for _ in range(_ATTEMPTS):
            folder = next(_whole(place), None)
            if folder is None:
                return None
            try:
                return self._read(folder, collection)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the record has it all
                log.warning(
                    "A snapshot cannot be used and is made anew from the record",
                    extra={"collection": collection.collection_id, "why": str(error) or type(error).__name__},
                )
                shutil.rmtree(folder, ignore_errors=True)
        return None

    def _read(self, folder: Path, collection: CollectionRecord) -> IndexContents:
        manifest = Manifest.read(folder / _MANIFEST)
        owner = (manifest.tenant_id, manifest.uid, manifest.language)
        if owner != (collection.tenant_id, collection.uid, collection.language):
            raise DamagedError("it is another collection's")
        for name, (size, checksum) in manifest.files.items():
            path = folder / name
            if path.stat().st_size != size or _checksum(path) != checksum:
                raise DamagedError(f"{name} is damaged")
        with (folder / _DOCUMENTS).open("rb") as lines:
            documents = Documents.of_lines(lines)
        vectors = {model: self._load_vectors(folder / name) for model, name in manifest.vectors.items()}
        lexical = self._lexical(collection.language, self._work.copy_of(folder / _LEXICAL))
        counts = {documents.passages, len(lexical), sum(len(index) for index in vectors.values())}
        if counts != {manifest.passages}:
            raise DamagedError(f"its parts hold {sorted(counts)} passages, not {manifest.passages} each")
        return IndexContents(manifest.seq, manifest.mark, documents, vectors, lexical, manifest.model)

    def size_of(self, collection: CollectionRecord) -> int:
        """Returns about what an index would take in memory; 0 where none is kept."""
        manifest = self._manifest(self._place(collection.tenant_id, collection.uid))
        return 0 if manifest is None else manifest.size_bytes

    def forget(self, tenant_id: str, collection_uid: str) -> None:
        """Removes what is kept of a collection."""
        shutil.rmtree(self._place(tenant_id, collection_uid), ignore_errors=True)

    def kept(self) -> Sequence[Kept]:
        """Returns what is kept, the last one written first."""
        found = []
        for place in self._root.iterdir():
            manifest = self._manifest(place)
            if manifest is not None:
                kept = Kept(manifest.tenant_id, manifest.collection_id, manifest.uid, manifest.seq, manifest.size_bytes)
                found.append((place.stat().st_mtime, kept))
        return [kept for _, kept in sorted(found, key=lambda pair: -pair[0])]

    def close(self) -> None:
        """Removes what only this process needs. Indexes in its folders are of no use afterwards."""
        self._work.close()
        if self._swift is not None:
            self._swift.close()

    def _place(self, tenant_id: str, collection_uid: str) -> Path:
        # A hash: names of tenants may be longer than names of files, or no names of files at all.
        return self._root / hashlib.sha256(f"{tenant_id}\0{collection_uid}".encode()).hexdigest()[:40]

    def _manifest(self, place: Path) -> Manifest | None:
        for folder in _whole(place):
            try:
                return Manifest.read(folder / _MANIFEST)
            except (DamagedError, OSError, ValueError, TypeError):
                continue  # loading it will say so
        return None

    def _lexical(self, language: str, folder: Path) -> TantivyIndex:
        swift = None if self._swift is None else self._swift.new()
        index = TantivyIndex(language, folder, swift)
        for own in filter(None, (folder, swift)):
            weakref.finalize(index, shutil.rmtree, own, ignore_errors=True)
        return index


class _WorkFolder:
    """A folder of this process, which holds a lock in it as long as it lives; those of dead processes are removed."""

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for other in parent.iterdir():
            _remove_if_dead(other)
        self._folder = Path(tempfile.mkdtemp(dir=parent))
        self._lock = _locked(self._folder)

    def new(self) -> Path:
        """Returns an empty folder."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def copy_of(self, folder: Path) -> Path:
        """Returns a new folder with the files of an index in another."""
        copy = self.new()
        link_all(folder, copy)
        return copy

    def close(self) -> None:
        """Removes it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked(folder: Path) -> int | None:
    """Returns the descriptor that holds a folder's lock; None where another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_if_dead(folder: Path) -> None:
    try:
        lock = _locked(folder)
    except OSError:
        return  # gone meanwhile
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _whole(place: Path) -> Iterator[Path]:
    """Yields the snapshots of a collection, the newest first."""
    yield from sorted(place.glob(f"{_WHOLE}*"), key=_seq_of, reverse=True)


def _seq_of(snapshot: Path) -> int:
    number = snapshot.name.removeprefix(_WHOLE).partition("-")[0]
    return int(number) if number.isdecimal() else -1  # no name of ours: tried last, and found damaged


def _others(place: Path, newest: Path) -> Iterator[Path]:
    """Yields what a new snapshot makes superfluous, and what writers left behind long ago."""
    for path in place.iterdir():
        if path.name.startswith(_WHOLE) and _seq_of(path) <= _seq_of(newest) and path != newest:
            yield path
        elif path.name.startswith(_UNFINISHED):
            began_ms = int(path.name.removeprefix(_UNFINISHED).partition("-")[0])
            if now_ms() - began_ms > _ABANDONED_MS:
                yield path


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
