"""Identifiers: derived where a retry must find the same one, random elsewhere."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid

_MOST_CHARACTERS = 128


def new_id(prefix: str) -> str:
    """Returns a random identifier."""
    return f"{prefix}-{uuid.uuid4().hex}"


def job_id_of(collection_uid: str, request_id: str) -> str:
    """Returns a job's identifier: the same for a repeated request, random where the request has no key."""
    if not request_id:
        return new_id("job")
    return "job-" + hashlib.sha256(f"{collection_uid}\0{request_id}".encode()).hexdigest()[:32]


def document_id_of_filename(filename: str) -> str:
    """Returns a document's identifier derived from its file's name, so that a changed file is a new version of it."""
    ascii_name = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_name).strip("-._")
    if slug == filename and len(slug) <= _MOST_CHARACTERS:
        return slug
    # Names that differ only in what the slug drops must not meet.
    mark = hashlib.sha256(filename.encode()).hexdigest()[:8]
    return f"{slug[: _MOST_CHARACTERS - 9]}-{mark}" if slug else mark


def document_id_of_text(text: str) -> str:
    """Returns a document's identifier derived from its text."""
    return "text-" + hashlib.sha256(text.encode()).hexdigest()[:24]
