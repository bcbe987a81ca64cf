"""The embedded engine on onnxruntime, against the wheel's own loop: same tokens, nearly the same vectors; and its cache."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.context import Context
from common.e5 import ModelFile, open_model_file
from common.models import EmbeddingKind, EmbeddingPriority
from services.embedding.adapters.e5 import OnnxEngine, load, load_onnx_engine, tokens
from services.embedding.adapters.e5.check import CheckError, check, sample, unpacked
from services.embedding.adapters.e5.convert import REFERENCE, cache_path, cached_model
from services.embedding.adapters.embedded import EmbeddedEngine
from services.embedding.batcher import Batcher, Call
from services.embedding.bootstrap import load_engine
from services.embedding.lanes import Lanes
from services.embedding.ports import Engine, Matrix
from services.embedding.settings import EmbeddingSettings

QUERY, PASSAGE = EmbeddingKind.QUERY, EmbeddingKind.PASSAGE

QUESTIONS = [
    "¿Qué significa la luz roja del módem?",
    "¿Cuánto cuesta cambiar de domicilio?",
    "¿cuándo vence mi factura y dónde la pago",
    "¿Puedo conservar mi número si me cambio de compañía?",
    "cancelar contrato permanencia penalización",
    "How do I return the router?",
    "what is the roaming price per megabyte in Europe",
    "Is there a discount for people with disabilities?",
    "PIN bloqueado",
    "Why is my internet slow at night?",
]
PASSAGES = [
    "La luz roja fija indica que el módem no recibe señal óptica. Revise que el cable de fibra no esté doblado ni suelto.",
    "# Planes y precios\n\n| Plan | Megas | Precio |\n|---|---|---|\n| Básico | 100 | $389 |\n| Familiar | 300 | $549 |",
    "Para portar su número necesita el NIP que recibe por mensaje al marcar 051; la portabilidad tarda hasta 24 horas hábiles.",
    "El técnico llega en un horario de cuatro horas. Debe estar presente una persona mayor de edad con identificación oficial.",
    "Si cancela antes de los 12 meses, paga 25 % de las mensualidades restantes, salvo fallas de la empresa (art. 8).",
    "Bills are issued on the third day of each month and are due fifteen days later; late payment costs 50 pesos.",
    "Restart the router by unplugging it for thirty seconds. If the speed test stays under 80 % of your plan, call us.",
    "Never share the six-digit code that we send by text message: our agents will not ask for it, not even by phone.",
    "Garantía: los equipos en comodato se reponen sin costo por desgaste normal; golpes y humedad no están cubiertos.",
    "Press 1 for Spanish, 2 for English. Calls to 800 555 0199 are free from any phone in the country, 24 hours a day.",
]
ODD = [
    "",
    "   ",
    "termina en espacio ",
    "líneas\n\ny\ttabuladores  seguidos",
    "un\0nulo",
    "ＡＢＣ ﬁ ½ ① ﷺ",
    "e\u0301 compuesta, \u200bancho cero",
    "日本語のテキスト и кириллица עברית",
    "https://nopal.example/a?b=c&d=%20 — «cita» …",
]


@pytest.fixture(scope="module")
def loop() -> EmbeddedEngine:
    return EmbeddedEngine()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "not" / "there" / "yet"


@pytest.fixture(scope="module")
def engine(cache: Path) -> OnnxEngine:
    return load_onnx_engine(cache, 2)


@pytest.fixture(scope="module")
def file() -> ModelFile:
    return open_model_file()


class Converter:
    """Stands for the conversion and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, _: ModelFile) -> bytes:
        self.asked += 1
        return b"model %d" % self.asked


def test_vectors_are_those_of_the_loop(engine: OnnxEngine, loop: EmbeddedEngine):
    cosines = [
        float(ours @ theirs)
        for texts, kind in ((QUESTIONS, QUERY), (PASSAGES, PASSAGE))
        for ours, theirs in zip(engine.embed(texts, kind), loop.embed(texts, kind), strict=True)
    ]
    assert np.mean(cosines) >= 0.995
    assert min(cosines) >= 0.99


def test_vectors_are_normalised_float32(engine: OnnxEngine):
    vectors = engine.embed(PASSAGES, PASSAGE)
    assert vectors.shape == (len(PASSAGES), engine.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert engine.embed([], PASSAGE).shape == (0, engine.dimensions)


def test_a_vector_does_not_depend_on_its_neighbours(engine: OnnxEngine):
    together = engine.embed(PASSAGES, PASSAGE)
    np.testing.assert_array_equal(together, np.concatenate([engine.embed([text], PASSAGE) for text in PASSAGES]))


@pytest.mark.parametrize("kind", [QUERY, PASSAGE])
def test_token_counts_are_those_of_the_loop(engine: OnnxEngine, loop: EmbeddedEngine, kind: EmbeddingKind):
    texts = QUESTIONS + PASSAGES + ODD + [" ".join(PASSAGES * 4)]
    assert engine.count_tokens(texts, kind) == loop.count_tokens(texts, kind)


def test_a_text_that_was_counted_is_read_once_and_gives_the_same_vector(engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch):
    texts = ["La luz roja indica otra cosa.", "palabra " * 600]
    plain = engine.embed(texts, EmbeddingKind.PASSAGE)
    read, content = [], engine._tokens._content
    monkeypatch.setattr(engine._tokens, "_content", lambda text, kind: read.append(text) or content(text, kind))
    counts = engine.count_tokens(texts, EmbeddingKind.PASSAGE)
    assert counts[1] > 600
    assert np.array_equal(engine.embed(texts, EmbeddingKind.PASSAGE), plain)
    assert read == texts
    engine.embed(texts[:1], EmbeddingKind.QUERY)
    assert read == [*texts, texts[0]]  # another kind is another text


def test_few_counted_texts_are_kept_and_no_long_one(engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch):
    engine._tokens._ahead.clear()
    monkeypatch.setattr(tokens, "_MOST_AHEAD", 3)
    engine.count_tokens([f"luz {n}" for n in range(10)] + [" " * 10_000 + "luz"], EmbeddingKind.PASSAGE)
    assert len(engine._tokens._ahead) == 3


def test_a_text_beyond_the_window_is_cut_there(engine: OnnxEngine):
    fitting = "sí " * 400
    (tokens,) = engine.count_tokens([fitting], PASSAGE)
    assert engine.window_tokens == 512
    assert tokens < engine.window_tokens
    long = "sí " * 600
    assert engine.count_tokens([long], PASSAGE)[0] == tokens + 200  # counted before the cut
    cut, longer = engine.embed([long, long + "otra cosa"], PASSAGE)
    np.testing.assert_array_equal(cut, longer)


async def test_a_cut_text_is_reported(engine: OnnxEngine):
    lanes: Lanes[Call] = Lanes(most_tokens=5000, batch_tokens=2048, batch_texts=32)
    batcher = Batcher(engine, lanes)
    async with batcher.running():
        texts = ["corto", "largo " * 600, "otro"]
        done = await batcher.embed(texts, PASSAGE, EmbeddingPriority.INTERACTIVE, Context(tenant_id="acme"))
    assert done.truncated == [1]
    assert done.tokens == sum(min(n, 512) for n in engine.count_tokens(texts, PASSAGE))


def test_it_goes_by_the_loops_name_since_their_vectors_can_be_compared(engine: OnnxEngine, loop: EmbeddedEngine):
    assert engine.model == loop.model


def test_the_first_start_converts_and_the_next_reads(engine: OnnxEngine, cache: Path, file: ModelFile):
    unused = Converter()
    before = cache_path(cache, file).stat().st_mtime_ns
    assert len(cached_model(cache, file, unused)) > 20_000_000
    assert unused.asked == 0
    assert cache_path(cache, file).stat().st_mtime_ns == before
    assert not list(cache.glob("*.partial"))


def test_a_damaged_model_is_made_again(tmp_path: Path, file: ModelFile, caplog: pytest.LogCaptureFixture):
    converter = Converter()
    assert cached_model(tmp_path, file, converter) == b"model 1"
    cache_path(tmp_path, file).write_bytes(b"modem 1")
    assert cached_model(tmp_path, file, converter) == b"model 2"
    assert cached_model(tmp_path, file, converter) == b"model 2"
    assert "damaged" in caplog.text


@pytest.mark.parametrize("left", [b"", b"mod"])
def test_a_model_whose_checksum_was_never_written_is_made_again(tmp_path: Path, file: ModelFile, left: bytes):
    cache_path(tmp_path, file).write_bytes(left)
    assert cached_model(tmp_path, file, Converter()) == b"model 1"


def test_another_wheel_has_another_cache(tmp_path: Path, file: ModelFile, monkeypatch: pytest.MonkeyPatch):
    before = cache_path(tmp_path, file)
    monkeypatch.setattr("services.embedding.adapters.e5.convert.version", lambda _: "9.9.9")
    assert cache_path(tmp_path, file) != before


def test_a_folder_that_cannot_be_written_costs_only_the_conversion(
    tmp_path: Path, file: ModelFile, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "taken").write_text("a file where the folder should be")
    assert cached_model(tmp_path / "taken", file, Converter()) == b"model 1"
    assert "converted at every start" in caplog.text


_REPLICA = """
import sys, time
from pathlib import Path
from common.e5 import open_model_file
from services.embedding.adapters.e5.convert import cached_model

def converted(_):
    with open(sys.argv[2], "a") as log:
        log.write("converted\\n")
    time.sleep(0.5)
    return b"model"

print("ready", flush=True)
sys.stdin.readline()
assert cached_model(Path(sys.argv[1]), open_model_file(), converted) == b"model"
"""


def test_two_replicas_that_start_at_once_convert_once(tmp_path: Path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", _REPLICA, str(tmp_path / "cache"), str(log)]
    replicas = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for replica in replicas:
        assert replica.stdout is not None
        assert replica.stdout.readline() == "ready\n"
    for replica in replicas:
        assert replica.stdin is not None
        replica.stdin.write("go\n")
        replica.stdin.flush()
    for replica in replicas:
        replica.communicate(timeout=30)
    assert [replica.returncode for replica in replicas] == [0, 0]
    assert log.read_text().splitlines() == ["converted"]


def test_the_loops_own_vectors_travel_in_the_model(engine: OnnxEngine, loop: EmbeddedEngine):
    reference = unpacked(engine.metadata[REFERENCE], engine.dimensions)
    np.testing.assert_allclose(reference, sample(loop), atol=1e-5)


@pytest.mark.parametrize("spoilt", [lambda vectors: np.roll(vectors, 1, axis=0), lambda vectors: vectors * np.nan])
def test_other_vectors_fail_the_check(engine: OnnxEngine, spoilt: Callable[[Matrix], Matrix]):
    right = sample(engine)
    check(engine, right)
    with pytest.raises(CheckError, match="cosine"):
        check(engine, spoilt(right))


def test_the_fast_engine_is_the_default(cache: Path, engine: OnnxEngine):
    assert isinstance(load_engine(EmbeddingSettings(embedding_cache_dir=cache)), OnnxEngine)


def test_the_loop_takes_over_when_the_check_fails(
    cache: Path, engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fails(engine: Engine, reference: Matrix) -> None:
        raise CheckError("cosine 0.5000 to the vectors of another")

    monkeypatch.setattr(load, "check", fails)
    assert isinstance(load_engine(EmbeddingSettings(embedding_cache_dir=cache)), EmbeddedEngine)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cosine 0.5000" in caplog.text


def test_the_loop_takes_over_without_onnxruntime(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    for name in [name for name in sys.modules if name.startswith("services.embedding.adapters.e5")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert isinstance(load_engine(EmbeddingSettings(embedding_cache_dir=cache)), EmbeddedEngine)
    assert "onnxruntime" in caplog.text


def test_the_cache_is_the_users_unless_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert EmbeddingSettings().embedding_cache_dir == tmp_path / "malla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ana")
    assert EmbeddingSettings().embedding_cache_dir == Path("/home/ana/.cache/malla")
    monkeypatch.setenv("MALLA_EMBEDDING_CACHE_DIR", "/srv/cache")
    assert EmbeddingSettings().embedding_cache_dir == Path("/srv/cache")
