"""The console page in a real browser, in front of a whole mesh."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from lightpanda import Browser, Session

from tests.e2e.mesh import Mesh, create_collection

COLLECTION = "console"
WARNED = "#jobs .warnings"
WORDS = {"en": ("Searchable.", "Not everything was read:"), "es": ("Listo para buscar.", "No se leyó todo (en inglés):")}

# What the browser does when a person picks a file: nothing else may fill the field.
PICK = """
const picked = new DataTransfer();
picked.items.add(new File([{text}], {name}));
document.getElementById("files").files = picked.files;
"""


@pytest.fixture
def page(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The page, after its token was given and its collection chosen."""
    with mesh.http() as http:
        create_collection(http, COLLECTION, language="es")
    monkeypatch.setenv("LIGHTPANDA_DISABLE_TELEMETRY", "true")
    with Browser() as browser:
        page = browser.new_session()
        page.goto(url=mesh.url)
        page.fill(selector="#token", value=mesh.token)
        page.click(selector="#access button[type=submit]")
        page.wait_for_selector(selector="#collection:not([disabled]) option")
        page.select_option(selector="#collection", value=COLLECTION)
        page.wait_for_selector(selector="#upload-button:not([disabled])")
        yield page


def mail() -> str:
    """A mail with an attachment that cannot be read, named like markup."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "Reembolso"
    message.set_content("El reembolso tarda cinco días hábiles desde la solicitud.\n", cte="8bit")
    message.add_attachment(b"\x89PNG\r\n\x1a\n" + bytes(64), maintype="image", subtype="png", filename="<b>firma.png")
    return message.as_string()


def upload(page: Session, name: str, text: str) -> None:
    page.evaluate(script=PICK.format(text=json.dumps(text), name=json.dumps(name)))
    page.click(selector="#upload-button")
    page.wait_for_selector(
        selector=f"#upload:not([data-busy]) ~ #jobs progress[aria-label='{name}'][value='1']", timeout=60_000
    )


def shown(page: Session, selector: str) -> list[str]:
    return page.evaluate(script=f"[...document.querySelectorAll({json.dumps(selector)})].map((found) => found.textContent)")


def test_what_of_a_file_was_not_read_is_told_in_both_languages_and_an_answer_cites_the_rest(page: Session) -> None:
    upload(page, "plain.txt", "El horario de atención es de ocho a cinco.")
    assert shown(page, WARNED) == []

    upload(page, "reembolso.eml", mail())
    assert shown(page, f"{WARNED} li") == ["<b>firma.png: files of this kind are not read."]
    assert shown(page, "#jobs[aria-live=polite] .warnings [lang=en] li")  # read out, as the English it is
    for _ in range(2):
        (language,) = page.evaluate(script="[document.documentElement.lang]")
        for words in WORDS[language]:
            assert words in shown(page, "#jobs li")[0]
        page.click(selector="#language")

    page.fill(selector="#question", value="¿Cuánto tarda el reembolso?")
    page.click(selector="#ask-button")
    page.wait_for_selector(selector="#answer-facts[data-i18n=answer_facts]", timeout=60_000)
    assert "cinco días hábiles" in shown(page, "#answer")[0]
    assert "reembolso" in shown(page, "#sources .cited summary")[0].lower()
    assert shown(page, "[role=alert]:not(:empty)") == []
