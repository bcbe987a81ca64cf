"""What can be ingested, and under which identifier."""

from __future__ import annotations

import re

import pytest

from common.errors import UnreadableDocumentError, UnsupportedContentError
from services.ingestion.domain.formats import DOCX, HTML, MARKDOWN, PDF, PLAIN, check_beginning, content_type_of
from services.ingestion.domain.identifiers import document_id_of_filename, document_id_of_text, job_id_of, new_id

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
    ],
)
def test_the_declared_type_decides_and_else_the_ending(declared, filename, expected):
    assert content_type_of(declared, filename) == expected


@pytest.mark.parametrize(
    ("declared", "filename"), [("image/png", "a.txt"), ("", "photo.png"), ("", ""), ("application/octet-stream", "README")]
)
def test_what_cannot_be_ingested_is_refused_with_what_can(declared, filename):
    with pytest.raises(UnsupportedContentError) as refused:
        content_type_of(declared, filename)
    assert {PLAIN, MARKDOWN, HTML, PDF, DOCX} == set(refused.value.details["supported"])
    assert ".docx" in refused.value.message


@pytest.mark.parametrize(
    ("beginning", "content_type"),
    [(b"%PDF-1.7", PDF), (b"\n\n%PDF-1.4", PDF), (b"PK\x03\x04..", DOCX), (b"<html>", HTML), (b"anything", PLAIN)],
)
def test_bytes_that_may_be_of_their_type_pass(beginning, content_type):
    check_beginning(beginning, content_type)


@pytest.mark.parametrize(
    ("beginning", "content_type"), [(b"<html>", PDF), (b"%PDF-1.7", DOCX), (b" " * 2000 + b"%PDF-1.7", PDF)]
)
def test_bytes_that_cannot_be_of_their_type_are_refused(beginning, content_type):
    with pytest.raises(UnreadableDocumentError) as refused:
        check_beginning(beginning, content_type)
    assert content_type in refused.value.message


@pytest.mark.parametrize("content_type", [PLAIN, PDF])
def test_nothing_is_no_document(content_type):
    with pytest.raises(UnreadableDocumentError, match="empty"):
        check_beginning(b"", content_type)


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
