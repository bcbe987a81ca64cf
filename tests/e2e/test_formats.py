"""One file of each format, ingested by the whole mesh and cited with its page or section; hostile ones harm only themselves."""

from __future__ import annotations

import email
import email.policy
import io
import json
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import httpx
import pytest

from tests.e2e.mesh import Mesh, create_collection, finished_job
from tests.fakes.files import docx, eml, pdf, pptx, xlsx
from tests.fakes.pdfs import Page, drawn_pdf

COLLECTION = "formats"
FILLER = "El servicio se paga el día cinco de cada mes."


def with_attachments(mail: bytes, files: dict[str, bytes]) -> bytes:
    made = email.message_from_bytes(mail, _class=EmailMessage, policy=email.policy.default)
    for name, data in files.items():
        made.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return made.as_bytes()


# Name, bytes, question, words of the passage, page and section it must be cited with.
FILES: list[tuple[str, bytes, str, str, int | None, str]] = [
    ("luces.pdf", pdf(FILLER, "La luz morada del Agave indica actualizacion."), "¿Qué indica la luz morada?", "morada", 2, ""),
    (
        "visitas.docx",
        docx("El técnico de Tlalpan llega en bicicleta.", heading="Visitas"),
        "técnico de Tlalpan",
        "bicicleta",
        None,
        "Visitas",
    ),
    (
        "curso.pptx",
        pptx(("Inicio", FILLER), ("Ventas", "El guion ofrece el repetidor Cholla.")),
        "guion del repetidor Cholla",
        "guion",
        2,
        "Ventas",
    ),
    (
        "zonas.xlsx",
        xlsx({"Uno": [["a"]], "Zonas": [["Zona", "Cuadrilla"], ["Norte", "Halcones"]]}),
        "cuadrilla de la zona norte",
        "Halcones",
        2,
        "Zonas",
    ),
    (
        "corte.html",
        "<h1>Corte</h1><h2>Ciclón</h2><p>Si hay ciclón se avisa por radio.</p>".encode(),
        "aviso de ciclón",
        "radio",
        None,
        "Corte › Ciclón",
    ),
    (
        "bajas.md",
        "# Bajas\n\n## Mudanza\n\nQuien se muda conserva su número de cactus.".encode(),
        "mudanza y número de cactus",
        "cactus",
        None,
        "Bajas › Mudanza",
    ),
    ("tarifas.csv", "plan;cuota\nFibra Biznaga;613\n".encode("latin-1"), "cuota de Fibra Biznaga", "613", None, ""),
    (
        "api.json",
        json.dumps({"error": {"E77": "fuente de poder dañada"}}).encode(),
        "error E77 fuente de poder",
        "E77",
        None,
        "error",
    ),
    (
        "glosario.txt",
        "Glosario\n\nLa palabra ponchado nombra un conector suelto.".encode("utf-16"),
        "ponchado",
        "conector",
        None,
        "",
    ),
    (
        "queja.eml",
        eml("Queja de Iztacalco", "El recibo trae un cargo de aguacate."),
        "queja de Iztacalco",
        "aguacate",
        None,
        "Queja de Iztacalco",
    ),
    (
        "adjunto.eml",
        with_attachments(
            eml("Alta en Xochimilco", "Va el contrato."),
            {
                "contrato.pdf": pdf(FILLER, "La permanencia del plan Ocotillo dura quince meses."),
                "firma.png": b"\x89PNG\r\n\x1a\n" + bytes(64),
            },
        ),
        "permanencia del plan Ocotillo",
        "quince",
        None,
        "Alta en Xochimilco › contrato.pdf › p. 2",
    ),
    (
        "cuotas.pdf",
        drawn_pdf(Page().text(FILLER), Page().table([["Plan", "Cuota"], ["Fibra Sotol", "$847"]])),
        "cuota de Fibra Sotol",
        "| Fibra Sotol | $847 |",
        2,
        "",
    ),
]


def archive(document: bytes) -> bytes:
    """A Word file with this main part."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx("x"))) as given, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name in given.namelist():
            made.writestr(name, document if name == "word/document.xml" else given.read(name))
    return out.getvalue()


def laughs() -> bytes:
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = f'<w:document xmlns:w="{word}"><w:body><w:p><w:r><w:t>&a9;</w:t></w:r></w:p></w:body></w:document>'
    return archive(f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a0 "lolol">{entities}]>{body}'.encode())


HOSTILE: dict[str, tuple[str, bytes]] = {
    "zip bomb": ("bomba.docx", archive(b"A" * (101 * 1024 * 1024))),
    "billion laughs": ("risas.docx", laughs()),
    "deep JSON": ("hondo.json", b"[" * 200_000 + b"]" * 200_000),
    "deep HTML": ("hondo.html", b"<div>" * 200_000),
    "PDF that contains itself": ("bucle.pdf", pdf("x").replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")),
    "cut workbook": ("roto.xlsx", xlsx({"a": [["b"]]})[:-60]),
    "mail without end": ("hondo.eml", b"Content-Type: message/rfc822\r\n\r\n" * 3000),
    "scanned PDF": ("escaneo.pdf", drawn_pdf(Page().picture())),
    "endless line": ("linea.txt", b"a" * 10_500_000),
}


def sent(http: httpx.Client, name: str, data: bytes, collection_id: str = COLLECTION) -> str:
    accepted = http.post(f"/api/v1/collections/{collection_id}/documents/{name}:upload", content=data)
    assert accepted.status_code == 200, accepted.text
    return accepted.json()["job_id"]


@pytest.fixture(scope="module")
def http_of_formats(mesh: Mesh) -> Iterator[httpx.Client]:
    with mesh.http() as http:
        create_collection(http, COLLECTION, language="es")
        jobs = [finished_job(http, job_id) for job_id in [sent(http, name, data) for name, data, *_ in FILES]]
        assert {job["state"] for job in jobs} == {"SUCCEEDED"}, jobs
        yield http


@pytest.mark.parametrize(("name", "data", "question", "words", "page", "section"), FILES, ids=[file[0] for file in FILES])
def test_a_file_of_each_format_is_cited_with_its_page_or_section(http_of_formats, name, data, question, words, page, section):
    http = http_of_formats
    answered = http.post("/api/v1/query", json={"collection_id": COLLECTION, "query": question}).json()
    [citation] = [each for each in answered["citations"] if each["document_id"] == name][:1]
    assert words in citation["text"]
    assert citation.get("page") == page
    assert citation["title"]
    found = http.post("/api/v1/search", json={"collection_id": COLLECTION, "query": question}).json()["results"]
    [passage] = [each for each in found if each["document_id"] == name][:1]
    assert passage["metadata"].get("heading", "") == section


def test_hostile_files_fail_alone(http_of_formats):
    http = http_of_formats
    create_collection(http, "hostile", language="es")
    jobs = {kind: sent(http, name, data, "hostile") for kind, (name, data) in HOSTILE.items()}
    good = sent(http, "bueno.md", b"# Bien\n\nLos otros trabajos siguen.", "hostile")
    mixed = sent(http, "bomba.eml", with_attachments(eml("Va todo", "Hola."), dict([HOSTILE["zip bomb"]])), "hostile")
    ended: dict[str, dict[str, Any]] = {kind: finished_job(http, job_id) for kind, job_id in jobs.items()}
    assert {kind: job["state"] for kind, job in ended.items()} == dict.fromkeys(HOSTILE, "FAILED"), ended
    reasons = {kind: job["error"]["type"] for kind, job in ended.items()}
    assert reasons == {**dict.fromkeys(HOSTILE, "UNREADABLE_DOCUMENT"), "endless line": "DOCUMENT_CHARACTERS_EXCEEDED"}
    assert all(job["error"]["details"]["message"] for job in ended.values())
    assert finished_job(http, good)["state"] == "SUCCEEDED"
    read = finished_job(http, mixed)
    assert read["state"] == "SUCCEEDED"
    [warning] = read["warnings"]
    assert warning.startswith("bomba.docx: ")


def test_what_was_not_read_of_a_document_is_told_by_its_job(http_of_formats):
    http = http_of_formats
    document = http.get(f"/api/v1/collections/{COLLECTION}/documents/adjunto.eml").json()["document"]
    job = http.get(f"/api/v1/jobs/{document['job_id']}").json()["job"]
    assert job["warnings"] == ["firma.png: files of this kind are not read."]


def test_an_upload_of_nothing_or_of_too_much_is_refused(http_of_formats):
    http = http_of_formats
    refused = http.post(f"/api/v1/collections/{COLLECTION}/documents/nada.txt:upload", content=b"")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "UNREADABLE_DOCUMENT")
    line = b"palabra " * (66 * 1024 * 1024 // 8)
    refused = http.post(f"/api/v1/collections/{COLLECTION}/documents/linea.txt:upload", content=line)
    assert refused.status_code in {400, 413}
    assert not refused.json()["success"]
