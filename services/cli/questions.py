"""Question files: one JSON object a line, with the document that answers and words the answer has."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from common.models import BaseModel
from services.cli.files import document_id_of
from services.cli.output import CliError


class Question(BaseModel):
    """A question with a known answer.

    Attributes:
        document: Path of the document that answers, relative to the ingested folder.
        expected: Words of the right answer.
    """

    id: str
    language: str = ""
    question: str
    document: str
    expected: list[str] = Field(default_factory=list)

    @property
    def document_id(self) -> str:
        """The document's identifier, as `malla ingest` makes it."""
        return document_id_of(self.document)

    def is_answered_by(self, text: str) -> bool:
        """Says whether a text has all expected words, whatever their case and spacing."""
        plain = _plain(text)
        return all(_plain(words) in plain for words in self.expected)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def read_questions(path: Path) -> list[Question]:
    """Reads a question file. Raises CliError, naming the line, for one that is malformed."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CliError(f"The question file {path} cannot be read: {error.strerror}.") from None
    questions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            questions.append(Question.model_validate_json(line))
        except ValidationError as error:
            raise CliError(f"Line {number} of {path} is no question: {error.errors()[0]['msg']}.") from None
    if not questions:
        raise CliError(f"There is no question in {path}.")
    return questions
