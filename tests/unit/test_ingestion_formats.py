"""What can be ingested, and under which identifier."""

from __future__ import annotations

import re

import pytest

from common.errors import UnreadableDocumentError, UnsupportedContentError
from services.ingestion.domain.formats import (
    CSV,
    DOCX,
    EML,
    HTML,
    JSON,
    MARKDOWN,
    PDF,
    PLAIN,
    PPTX,
    SUPPORTED,
    XLSX,
    content_type_of,
    settled_type,
)
from services.ingestion.domain.identifiers import document_id_of_filename, document_id_of_text, job_id_of, new_id
from tests.fakes.files import docx, pptx, xlsx

_ALLOWED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")  # the contract's rule for document_id


@pytest.mark.parametrize(
    ("declared", "filename", "expected"),
    [
        ("text/markdown", "", MARKDOWN),
        ("TEXT/HTML; charset=utf-8", "page", HTML),
        ("text/x-markdown", "a.txt", MARKDOWN),
        ("application/pdf", "whatever.docx", PDF),
        ("", "plan.PDF", PDF),
        ("application/octet-stream", "acta.docx", DOCX),
        ("application/x-www-form-urlencoded", "notas.txt", PLAIN),
        ("", "a.b/notes.markdown", MARKDOWN),
        ("", "index.htm", HTML),
        ("", "tarifas.CSV", CSV),
        ("application/vnd.ms-excel", "tarifas.csv", CSV),
        ("text/json; charset=utf-8", "", JSON),
        ("", "queja.eml", EML),
        ("application/zip", "plan.xlsx", XLSX),
        ("", "curso.pptx", PPTX),
        ("", "README", ""),
        ("application/octet-stream", "photo.png", ""),
    ],
)
def test_the_declared_type_decides_and_else_the_ending(declared, filename, expected):
    assert content_type_of(declared, filename) == expected


@pytest.mark.parametrize(("declared", "filename"), [("image/png", "a.txt"), ("application/vnd.ms-excel", "old.xls")])
def test_what_cannot_be_ingested_is_refused_with_what_can(declared, filename):
    with pytest.raises(UnsupportedContentError) as refused:
        content_type_of(declared, filename)
    assert set(refused.value.details["supported"]) == set(SUPPORTED)
    assert ".docx" in refused.value.message


def test_every_format_asked_for_is_there():
    assert {PLAIN, MARKDOWN, HTML, CSV, JSON, EML, PDF, DOCX, PPTX, XLSX} == set(SUPPORTED)


PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
MAIL = b"Received: from a\r\nFrom: a@b.c\r\nSubject: x\r\n\r\nHola"


@pytest.mark.parametrize(
    ("content_type", "beginning", "settled"),
    [
        ("", b"%PDF-1.7", PDF),
        ("", docx("x"), DOCX),
        ("", pptx(("a", "b")), PPTX),
        ("", xlsx({"a": [["b"]]}), XLSX),
        ("", b"\xef\xbb\xbf<!DOCTYPE html><p>x", HTML),
        ("", b"  <!-- c --><html>", HTML),
        ("", b'{"a": 1}', JSON),
        ("", b"[1]", JSON),
        ("", MAIL, EML),
        ("", b"intro\n\n# T\xc3\xadtulo\n", MARKDOWN),
        ("", "Año de señal".encode("cp1252"), PLAIN),
        ("", "Año".encode("utf-16"), PLAIN),
        ("", b"[nota] sin llaves", PLAIN),
        (PLAIN, b"%PDF-1.7", PDF),
        (DOCX, b"%PDF-1.7", PDF),
        (PDF, docx("x"), DOCX),
        (DOCX, xlsx({"a": [["b"]]}), XLSX),
        (PDF, b"<html><body>No encontrado", HTML),
        (PLAIN, b"La cabecera es %PDF-1.7", PLAIN),
        (MARKDOWN, b"Un PDF empieza por:\n%PDF-1.7\n", MARKDOWN),
        (PLAIN, b"<html>", PLAIN),
        (CSV, b"From: a\nTo: b\n", CSV),
    ],
)
def test_the_content_decides_where_the_type_is_missing_or_wrong(content_type, beginning, settled):
    assert settled_type(content_type, "file", beginning) == settled


@pytest.mark.parametrize(
    "beginning", [PNG, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64), b"PK\x03\x04" + bytes(64), bytes(9)]
)
def test_content_that_nothing_knows_is_refused(beginning):
    with pytest.raises(UnsupportedContentError, match=r"photo\.bin"):
        settled_type("", "photo.bin", beginning)


@pytest.mark.parametrize(
    ("beginning", "content_type"),
    [(b"%PDF-1.7", PDF), (b"\n\n%PDF-1.4", PDF), (b"PK\x03\x04..", DOCX), (b"<html>", HTML), (b"anything", PLAIN)],
)
def test_bytes_that_may_be_of_their_type_pass(beginning, content_type):
    assert settled_type(content_type, "file", beginning) == content_type


@pytest.mark.parametrize(
    ("beginning", "content_type"), [(b"plain text", PDF), (b"GIF89a", DOCX), (b" " * 2000 + b"%PDF-1.7", PDF)]
)
def test_bytes_that_cannot_be_of_their_type_are_refused(beginning, content_type):
    with pytest.raises(UnreadableDocumentError) as refused:
        settled_type(content_type, "file", beginning)
    assert content_type in refused.value.message


@pytest.mark.parametrize("content_type", [PLAIN, PDF])
def test_nothing_is_no_document(content_type):
    with pytest.raises(UnreadableDocumentError, match="empty"):
        settled_type(content_type, "file", b"")


@pytest.mark.parametrize(
    "filename",
    ["plan.pdf", "Señal débil (2026).md", "día.txt", "../../etc/passwd", "日本語.txt", "-x-", "a" * 300 + ".txt", "."],
)
def test_a_file_name_gives_an_identifier_of_the_contract(filename):
    identifier = document_id_of_filename(filename)
    assert _ALLOWED.match(identifier)
    assert document_id_of_filename(filename) == identifier


def test_a_plain_file_name_is_its_own_identifier():
    assert document_id_of_filename("plan-2026_v1.pdf") == "plan-2026_v1.pdf"


def test_file_names_that_differ_only_in_what_is_dropped_do_not_meet():
    names = ["año.txt", "ano.txt", "a/b.txt", "a-b.txt", "a b.txt", "日本.txt", "中国.txt", "x" * 200, "x" * 201]
    assert len({document_id_of_filename(name) for name in names}) == len(names)


def test_texts_are_known_by_their_content():
    assert document_id_of_text("hola") == document_id_of_text("hola") != document_id_of_text("hola ")
    assert _ALLOWED.match(document_id_of_text("hola"))


def test_a_repeated_request_has_the_same_job_in_its_collection_only():
    assert job_id_of("c1", "key") == job_id_of("c1", "key")
    assert len({job_id_of("c1", "key"), job_id_of("c2", "key"), job_id_of("c1", "other"), job_id_of("c", "1key")}) == 4


def test_requests_without_a_key_are_all_different():
    assert job_id_of("c1", "") != job_id_of("c1", "")
    assert new_id("job") != new_id("job")
