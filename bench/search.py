"""Search in process on vectors that lie like e5's: p50, recall of the ten best, filters, changes, snapshot and restart.

Run: python bench/search.py [PASSAGES ...]      10,000 and 100,000 where none are given

Peers in the same run: FAISS's exact float32 index and numpy. The searches run in one thread beside nothing else, as one search
in the query server does. Restart to ready is a new process, from its first instruction to its first hybrid answer, once with
the snapshot and once with the record alone (in memory: a database adds its own time).
Asked for at 100,000 passages: p50 of 5 ms at recall 0.98, ready in 10 s.
"""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from common.context import Context
from common.models import SearchMode
from common.settings import REPOSITORY
from common.store import ChangeRecord, ChunkRecord, CollectionRecord
from services.query.adapters.faiss_index import FaissIndex
from services.query.adapters.snapshots import FolderSnapshots
from services.query.domain.collection_index import CollectionIndex, Search
from services.query.usecases.follow import FollowCollections

Vectors = NDArray[np.float32]
DIMENSIONS = 384
CHUNKS_A_DOCUMENT = 10
WORDS = 80
VOCABULARY = 50_000
QUESTIONS = 300
K = 10
CANDIDATES = 100
MODEL = "e5-like"


def vectors(count: int, noise: np.random.Generator) -> Vectors:
    """Returns (count, 384) unit rows: all near one direction (mean cosine 0.77), in topics, most of it in 64 dimensions."""
    basis = noise.standard_normal((64, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    topics = (noise.standard_normal((max(20, count // 200), 64)) * np.arange(1, 65) ** -0.5) @ basis
    own = (noise.standard_normal((count, 64)) * np.arange(1, 65) ** -0.3) @ basis
    of_topic = unit(topics)[noise.integers(0, len(topics), count)]
    common = unit(noise.standard_normal((1, DIMENSIONS)))
    rest = unit(noise.standard_normal((count, DIMENSIONS)))
    return unit(0.87 * common + 0.33 * of_topic + 0.22 * unit(own) + 0.25 * rest)


def unit(rows: NDArray[np.floating]) -> Vectors:
    """Returns the rows with length 1."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Record:
    """The record in memory: documents of ten chunks, one change each."""

    def __init__(self, rows: Vectors, noise: np.random.Generator) -> None:
        self.row = CollectionRecord(_id="bench", tenant_id="bench", collection_id="bench", language="es", created_at=1)
        self.row.seq = len(rows) // CHUNKS_A_DOCUMENT
        self._rows = rows.astype("<f4")
        # Zipf's and Mandelbrot's law: the commonest word is every twentieth.
        often = 1 / (np.arange(VOCABULARY) + 2.7)
        self._words = noise.choice(VOCABULARY, (len(rows), WORDS), p=often / often.sum()).astype(np.int32)

    async def changes_after(self, _tenant_id: str, _uid: str, seq: int) -> list[ChangeRecord]:
        """As the port says."""
        numbers = range(seq + 1, self.row.seq + 1)
        return [ChangeRecord(seq=n, document_id=str(n), version=1, chunks=CHUNKS_A_DOCUMENT) for n in numbers]

    async def change(self, tenant_id: str, uid: str, seq: int) -> ChangeRecord | None:
        """As the port says."""
        return next(iter(await self.changes_after(tenant_id, uid, seq - 1)), None)

    async def chunks_of(
        self, _tenant_id: str, _uid: str, versions: dict[str, int], _model: str
    ) -> dict[str, list[ChunkRecord]]:
        """As the port says."""
        return {name: self.document(name) for name in versions}

    def document(self, name: str) -> list[ChunkRecord]:
        """Returns a document's chunks."""
        first = (int(name) - 1) * CHUNKS_A_DOCUMENT
        return [
            ChunkRecord(
                chunk_id=f"{name}:1:{n}",
                document_id=name,
                version=1,
                ordinal=n,
                text=self.text(first + n),
                vector=self._rows[first + n].tobytes(),
                model=MODEL,
                metadata={"title": f"Documento {name}", "percent": int(name) % 100},
            )
            for n in range(CHUNKS_A_DOCUMENT)
        ]

    def text(self, row: int) -> str:
        """Returns a chunk's text."""
        return " ".join(f"palabra{word}" for word in self._words[row])


def p50_p99(call: Callable[[int], object]) -> tuple[float, float]:
    """Returns milliseconds of one call, over all questions."""
    for question in range(10):
        call(question)
    times = []
    for question in range(QUESTIONS):
        began = time.perf_counter()
        call(question)
        times.append(1000 * (time.perf_counter() - began))
    return float(np.percentile(times, 50)), float(np.percentile(times, 99))


def recall(found: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> float:
    """Returns the mean share of the exact ten best that were found."""
    return float(np.mean([len(set(own[:K]) & set(best[:K])) / len(best[:K]) for own, best in zip(found, exact, strict=True)]))


def line(name: str, times: tuple[float, float], recalled: float | None = None, more: str = "") -> None:
    """Prints a row of the table."""
    shown = "" if recalled is None else f"{recalled:.4f}"
    print(f"{name:<44}{times[0]:>9.2f}{times[1]:>9.2f}{shown:>9}  {more}", flush=True)


def dense(rows: Vectors, asked: Vectors) -> FaissIndex:
    """Prints the rows about vectors alone; returns the index."""
    count = len(rows)
    exact = faiss.IndexFlatIP(DIMENSIONS)
    exact.add(rows)
    best = exact.search(asked, CANDIDATES)[1]
    line("peer: FAISS exact float32", p50_p99(lambda n: exact.search(asked[n : n + 1], CANDIDATES)), 1.0, size(rows.nbytes))
    line("peer: numpy", p50_p99(lambda n: np.argpartition(-(rows @ asked[n]), CANDIDATES)[:CANDIDATES]), 1.0)
    for name, kind in (("half floats", faiss.ScalarQuantizer.QT_fp16), ("eight bits", faiss.ScalarQuantizer.QT_8bit)):
        codes = faiss.IndexScalarQuantizer(DIMENSIONS, kind, faiss.METRIC_INNER_PRODUCT)
        codes.train(rows[:20_000])
        codes.add(rows)
        times = p50_p99(lambda n, codes=codes: codes.search(asked[n : n + 1], CANDIDATES))
        line(
            f"all compared, {name}",
            times,
            recall(codes.search(asked, K)[1].tolist(), best.tolist()),
            size(codes.sa_code_size() * count),
        )
    began = time.perf_counter()
    index = FaissIndex(DIMENSIONS)
    index.stage(np.arange(count), rows, [])()
    if index.outgrown:
        index = index.beside(nullcontext)
    made = f"{size(index.size_bytes)}, {index._lists or 'no'} lists, made in {time.perf_counter() - began:.1f} s"
    found = [list(index.search(row, CANDIDATES, None)) for row in asked]
    line("ours", p50_p99(lambda n: index.search(asked[n], CANDIDATES, None)), recall(found, best.tolist()), made)
    for percent in (0.1, 1, 10, 60):
        among = np.flatnonzero(np.random.default_rng(1).random(count) < percent / 100)
        wanted = among[np.argsort(-(asked @ rows[among].T), axis=1)[:, :K]]
        kept = [list(index.search(row, CANDIDATES, among)) for row in asked]
        times = p50_p99(lambda n, among=among: index.search(asked[n], CANDIDATES, among))
        line(f"ours, a filter lets {percent:g}% through", times, recall(kept, wanted.tolist()))
    changes(index, rows)
    return index


def changes(index: FaissIndex, rows: Vectors) -> None:
    """Prints how long searches wait for changes: a document of ten chunks is replaced each time."""
    fresh = len(rows) + np.arange(10 * (QUESTIONS + 10)).reshape(-1, 10)
    commits = []

    def change(n: int) -> None:
        commit = index.stage(fresh[n], rows[n * 10 : n * 10 + 10], np.arange(n * 10, n * 10 + 10))
        began = time.perf_counter()
        commit()
        commits.append(1000 * (time.perf_counter() - began))

    p50_p99(change)
    line("ours, ten vectors replaced by ten", (float(np.percentile(commits, 50)), float(np.percentile(commits, 99))))


def size(count: int) -> str:
    """Returns bytes for people."""
    return f"{count / 1e6:.0f} MB"


def whole(index: CollectionIndex, asked: Vectors, record: Record) -> None:
    """Prints the rows about searches of a collection, words and passages included."""
    questions = [" ".join(record.text(n * 7 % record.row.seq).split()[:12]) for n in range(QUESTIONS)]
    for mode in SearchMode:
        times = p50_p99(lambda n, mode=mode: index.search(Search(questions[n], mode, K, CANDIDATES, asked[n], MODEL)))
        line(f"a collection, {mode.value.lower()}", times)
    some = lambda metadata: metadata["percent"] == 7  # noqa: E731
    times = p50_p99(lambda n: index.search(Search(questions[n], SearchMode.HYBRID, K, CANDIDATES, asked[n], MODEL, some)))
    line("a collection, hybrid, a filter lets 1% through", times)


async def follow(record: Record, folder: Path | None) -> tuple[CollectionIndex, FollowCollections]:
    """Brings the index into memory as the server does."""
    snapshots = FolderSnapshots(folder or Path(tempfile.mkdtemp(prefix="malla-bench-")))
    following = FollowCollections(record, FaissIndex, snapshots.make_lexical, timeout_s=3600, snapshots=snapshots)  # type: ignore[arg-type]
    return await following.at_least(record.row, 0, Context()), following


def ready(pickled: Path, snapshots: Path) -> float:
    """Returns the seconds a new process took, save for unpickling the record, which stands for the database."""
    command = [sys.executable, str(Path(__file__)), "--ready", str(pickled), str(snapshots)]
    began = time.perf_counter()
    ran = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return time.perf_counter() - began - float(ran.stdout)


def be_ready(pickled: Path, snapshots: Path) -> None:
    """The new process."""
    began = time.perf_counter()
    record: Record = pickle.loads(pickled.read_bytes())
    unpickling_s = time.perf_counter() - began
    index, _ = asyncio.run(follow(record, snapshots))
    row = np.frombuffer(record.document("1")[0].vector, dtype="<f4")
    hits = index.search(Search(record.text(0), SearchMode.HYBRID, K, CANDIDATES, row, MODEL))
    assert hits.candidates[0].chunk.chunk_id == "1:1:0"
    print(unpickling_s)


def measure(count: int, folder: Path) -> None:
    """Prints one table."""
    noise = np.random.default_rng(7)
    rows = vectors(count, noise)
    towards = unit(noise.standard_normal((QUESTIONS, DIMENSIONS)))
    asked = unit(rows[noise.choice(count, QUESTIONS, replace=False)] + 0.5 * towards)
    print(f"\n{count:,} passages of {DIMENSIONS} dimensions{'':>14}{'p50 ms':>9}{'p99 ms':>9}{'recall':>9}")
    dense(rows, asked)
    record = Record(rows, noise)
    (folder / "record").write_bytes(pickle.dumps(record))
    began = time.perf_counter()
    index, following = asyncio.run(follow(record, folder / "snapshots"))
    built_s = time.perf_counter() - began
    began = time.perf_counter()
    index.fit()
    fitted_s = time.perf_counter() - began
    whole(index, asked, record)
    began = time.perf_counter()
    asyncio.run(following.keep(following.resident[0]))
    kept_s = time.perf_counter() - began
    on_disk = sum(path.stat().st_size for path in folder.glob("snapshots/*/snapshot-*/**/*"))
    print(f"in memory {size(index.size_bytes)}, snapshot of {size(on_disk)} written in {kept_s:.1f} s")
    print(f"made from the record in {built_s:.1f} s, lists made beside it in {fitted_s:.1f} s")
    print(f"restart to ready from the snapshot   {ready(folder / 'record', folder / 'snapshots'):.1f} s")
    if count <= 100_000:
        print(f"restart to ready from the record     {ready(folder / 'record', folder / 'none'):.1f} s")


def main() -> None:
    """Measures each number of passages."""
    if sys.argv[1:2] == ["--ready"]:
        be_ready(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    faiss.omp_set_num_threads(1)
    for count in [int(number.replace(",", "")) for number in sys.argv[1:]] or [10_000, 100_000]:
        with tempfile.TemporaryDirectory() as folder:
            measure(count, Path(folder))


if __name__ == "__main__":
    main()
