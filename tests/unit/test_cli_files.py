"""Which files are ingested, under which identifiers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from services.cli.files import document_id_of, find_files

CONTRACT_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("es/planes-y-precios.md", "es-planes-y-precios.md"),
        ("Planes y precios (2026).PDF", "Planes-y-precios-2026.PDF"),
        ("es/instalación/cañón.html", "es-instalacion-canon.html"),
        ("notes.txt", "notes.txt"),
        ("a_b__c.md", "a_b__c.md"),
    ],
)
def test_an_identifier_reads_like_its_path(source, expected):
    assert document_id_of(source) == expected


@pytest.mark.parametrize("source", ["文書.md", "-", "...", "a" * 300 + ".md", "ñ", "a/" * 100, " .pdf", "é/é/é.docx", "--x"])
def test_every_identifier_fits_the_contract(source):
    assert CONTRACT_PATTERN.fullmatch(document_id_of(source))
    assert CONTRACT_PATTERN.fullmatch(document_id_of(source, distinct=True))


def test_paths_without_latin_letters_stay_distinct():
    assert document_id_of("文書") != document_id_of("図書")


def test_long_paths_stay_distinct():
    assert document_id_of("a" * 200 + "x") != document_id_of("a" * 200 + "y")


def test_folders_are_walked_in_order_without_hidden_files(tmp_path):
    for name in ("es/b.md", "es/a.md", ".git/config", "es/.draft.md", "c.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    found = find_files([tmp_path])
    assert [file.source for file in found] == ["c.txt", "es/a.md", "es/b.md"]
    assert [file.document_id for file in found] == ["c.txt", "es-a.md", "es-b.md"]


def test_a_file_is_named_by_its_own_name(tmp_path):
    (tmp_path / "a.md").write_text("x")
    [file] = find_files([tmp_path / "a.md"])
    assert (file.source, file.path) == ("a.md", tmp_path / "a.md")


def test_names_in_another_encoding_are_written_out_and_stay_distinct(tmp_path):
    for name in (b"ma\xf1ana.txt", b"ma\xf2ana.txt"):
        (tmp_path / os.fsdecode(name)).write_text("x")
    found = find_files([tmp_path])
    assert [file.source for file in found] == ["ma\\xf1ana.txt", "ma\\xf2ana.txt"]
    assert [file.filename for file in found] == ["ma\\xf1ana.txt", "ma\\xf2ana.txt"]
    assert [file.document_id for file in found] == ["ma-xf1ana.txt", "ma-xf2ana.txt"]
    assert all(file.path.read_text() == "x" for file in found)


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refusing(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError) as refused:
        find_files([tmp_path])
    assert refused.value.filename == str(tmp_path / "closed")


def test_a_file_named_twice_is_ingested_once(tmp_path):
    (tmp_path / "a.md").write_text("x")
    assert len(find_files([tmp_path / "a.md", tmp_path, tmp_path])) == 1


def test_paths_that_read_the_same_are_told_apart(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/b.md", "a-b.md"):
        (tmp_path / name).write_text("x")
    identifiers = {file.document_id for file in find_files([tmp_path])}
    assert len(identifiers) == 2
    assert all(CONTRACT_PATTERN.fullmatch(identifier) for identifier in identifiers)


def test_a_root_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        find_files([tmp_path / "no"])
