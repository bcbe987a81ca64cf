"""Which files to ingest, and under which identifiers."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.cli.text import as_text

_MOST_CHARACTERS = 128
_HASH_CHARACTERS = 8


@dataclass(frozen=True)
class SourceFile:
    """A file to ingest.

    Attributes:
        source: Its path relative to the folder that was named, with "/" on every system.
        document_id: Derived from `source`, so that the same file is the same document again.
    """

    path: Path
    source: str
    document_id: str

    @property
    def filename(self) -> str:
        """Its name without folders."""
        return as_text(self.path.name)


def find_files(roots: Iterable[Path]) -> list[SourceFile]:
    """Returns the files of the named folders, and the named files, in order; hidden ones are left out.

    Raises FileNotFoundError for a root that is not there, another OSError for a folder that cannot be read: what is in it
    would be missing, and nobody told.
    """
    found = list(dict.fromkeys((path, as_text(source)) for path, source in _walk(roots)))
    times = Counter(document_id_of(source) for _, source in found)
    return [
        SourceFile(path, source, document_id_of(source, distinct=times[document_id_of(source)] > 1)) for path, source in found
    ]


def _walk(roots: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    for root in roots:
        if root.is_file():
            yield root, root.name
            continue
        if not root.is_dir():
            raise FileNotFoundError(root)
        for path in sorted(_below(root)):
            yield path, path.relative_to(root).as_posix()


def _below(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _refuse(error: OSError) -> None:
    raise error


def document_id_of(source: str, *, distinct: bool = False) -> str:
    """Returns the identifier of a path: "es/Planes y precios.md" is "es-Planes-y-precios.md".

    Args:
        source: The relative path.
        distinct: Add a piece of the path's hash, for one of several paths that read the same.
    """
    plain = unicodedata.normalize("NFKD", source).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", plain)
    slug = re.sub(r"-+(?=\.)", "", slug).strip("-._")
    if slug and len(slug) <= _MOST_CHARACTERS and not distinct:
        return slug
    digest = hashlib.sha256(source.encode()).hexdigest()[:_HASH_CHARACTERS]
    stem = slug[: _MOST_CHARACTERS - _HASH_CHARACTERS - 1].rstrip("-._")
    return f"{stem}-{digest}" if stem else f"d{digest}"
