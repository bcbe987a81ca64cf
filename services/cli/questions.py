"""Question files: one JSON object a line, with what is asked and the document that answers.

    {"question": "¿Cuánto cuesta?", "document": "es/planes.md"}

`question`: What is asked.
`document`: Path of the document that answers, relative to the ingested folder; or
`document_id`: its identifier in the collection (`passage_id` is read as the same).
`id`: Names the question in the report; the line's number where it is missing.
`language`: Groups questions in the report.
`expected`: Words that the passage has to hold, all of them.
`answers`: Words of which the passage has to hold one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import AliasChoices, Field, ValidationError, model_validator

from common.models import BaseModel
from services.cli.files import document_id_of
from services.cli.output import CliError, without_kind


class Question(BaseModel):
    """A question with a known answer.

    Attributes:
        document: Path of the document that answers, relative to the ingested folder.
        document_id: Its identifier, as `malla ingest` makes it where only the path is given.
        expected: Words of the right answer, all of them.
        answers: Right answers, of which one is enough.
    """

    id: str = ""
    language: str = ""
    question: str = Field(min_length=1)
    document: str = ""
    document_id: str = Field(default="", validation_alias=AliasChoices("document_id", "passage_id"))
    expected: list[str] = Field(default_factory=list)
    answers: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_its_document(self) -> Self:
        if not self.document and not self.document_id:
            raise ValueError("it names no document; give `document` or `document_id`")
        self.document_id = self.document_id or document_id_of(self.document)
        self.document = self.document or self.document_id
        return self

    @property
    def has_words(self) -> bool:
        """Whether it says which words answer it."""
        return bool(self.expected or any(self.answers))

    def is_answered_by(self, text: str) -> bool:
        """Says whether a text has all expected words and one of the answers, whatever their case and spacing."""
        plain = _plain(text)
        answers = [words for words in self.answers if words]
        has_one = not answers or any(_plain(words) in plain for words in answers)
        return has_one and all(_plain(words) in plain for words in self.expected)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _said(error: ValidationError) -> str:
    """Returns the first thing that is wrong, with the name of the field it is about."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"it has no `{field}`"
    said = without_kind(first["msg"])
    return f"`{field}`: {said}" if field else said


def read_questions(path: Path) -> list[Question]:
    """Reads a question file. Raises CliError, naming the line, for one that is malformed."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CliError(f"The question file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CliError(f"The question file {path} is not UTF-8 text.") from None
    questions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            question = Question.model_validate_json(line)
        except ValidationError as error:
            raise CliError(f"Line {number} of {path} is no question: {_said(error)}.") from None
        questions.append(question.model_copy(update={"id": question.id or str(number)}))
    if not questions:
        raise CliError(f"There is no question in {path}.")
    return questions
