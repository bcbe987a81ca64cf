"""Mails: their text once, their attachments under their names, and what is not read of them told."""

from __future__ import annotations

from email.message import EmailMessage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from common.errors import UnreadableDocumentError
from services.ingestion.adapters.chunking import chunk
from services.ingestion.adapters.extraction import extract
from services.ingestion.domain.formats import EML
from services.ingestion.domain.texts import Extracted
from tests.fakes.files import docx, pdf, xlsx
from tests.fakes.pdfs import Page, drawn_pdf

HTML_FORM = "<h1>Corte</h1><p>Desde <b>ayer</b> no hay señal.</p>"


def mail(text: str | None = "Desde ayer no hay señal.", html: str | None = None, subject: str = "Corte") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Ana Peña <ana@nopal.example>", "soporte@nopal.example", subject
    if text is not None:
        made.set_content(text)
    if html is not None and text is None:
        made.set_content(html, subtype="html")
    elif html is not None:
        made.add_alternative(html, subtype="html")
    return made


def attached(made: EmailMessage, name: str, data: bytes, kind: str = "application/octet-stream") -> EmailMessage:
    main, _, sub = kind.partition("/")
    made.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return made


def read(made: EmailMessage | MIMEMultipart | bytes, most_characters: int = 1_000_000) -> Extracted:
    return extract(made if isinstance(made, bytes) else made.as_bytes(), EML, most_characters)


def headings(extracted: Extracted) -> list[str]:
    return list(dict.fromkeys(passage.heading for passage in chunk(extracted, 100)))


def test_who_wrote_it_to_whom_stands_above_its_text():
    assert read(mail()).text == (
        "# Corte\n\n**From**: Ana Peña <ana@nopal.example>\n\n**To**: soporte@nopal.example\n\nDesde ayer no hay señal.\n"
    )


def test_a_text_in_two_forms_is_told_once():
    text = read(mail(html=HTML_FORM)).text
    assert text.count("señal") == 1
    assert "<p>" not in text


def test_a_mail_in_html_alone():
    extracted = read(mail(None, HTML_FORM))
    assert "Desde **ayer** no hay señal." in extracted.text
    assert headings(extracted) == ["Corte", "Corte › Corte"]


def test_a_plain_form_that_says_nothing_gives_way_to_the_html_form():
    text = read(mail("Abra este correo en un navegador.", f"<p>{'La cuota sube a $399. ' * 10}</p>")).text
    assert "$399" in text
    assert "navegador" not in text


def test_attachments_stand_under_their_names():
    made = attached(mail(), "contrato año.pdf", pdf("Permanencia de un año.", "Firma."), "application/pdf")
    attached(made, "precios.xlsx", xlsx({"Cuotas": [["Plan", "Cuota"], ["Penca", 399]]}))
    attached(made, "guía.docx", docx("Reinicie el módem.", heading="Módem"))
    extracted = read(made)
    assert extracted.warnings == ()
    assert headings(extracted) == [
        "Corte",
        "Corte › contrato año.pdf › p. 1",
        "Corte › contrato año.pdf › p. 2",
        "Corte › precios.xlsx › Cuotas",
        "Corte › guía.docx › Módem",
    ]
    assert "| Penca | 399 |" in extracted.text


def test_a_mail_forwarded_in_a_mail_stands_under_its_subject():
    outer, inner = mail("Reenvío.", subject="Fwd"), attached(mail(subject="Queja"), "nota.txt", "El año pasado.".encode())
    outer.add_attachment(inner)
    assert headings(read(outer)) == ["Fwd", "Fwd › Queja", "Fwd › Queja › nota.txt"]


def test_what_is_not_read_is_told_and_the_rest_is_read():
    made = attached(mail(), "roto.pdf", b"%PDF-1.7 nada", "application/pdf")
    attached(made, "foto.png", b"\x89PNG\r\n\x1a\n" + bytes(64), "image/png")
    attached(made, "escaneo.pdf", drawn_pdf(Page().picture()), "application/pdf")
    attached(made, "vacío.txt", b" ", "text/plain")
    attached(made, "largo.txt", b"palabra " * 200, "text/plain")
    attached(made, "bien.txt", b"Se lee.", "text/plain")
    extracted = read(made, 1000)
    assert [warning.partition(":")[0] for warning in extracted.warnings] == [
        "roto.pdf",
        "foto.png",
        "escaneo.pdf",
        "vacío.txt",
        "largo.txt",
    ]
    assert ["damaged" in extracted.warnings[0], "of this kind" in extracted.warnings[1], "OCR" in extracted.warnings[2]] == [
        True
    ] * 3
    assert "Se lee." in extracted.text


def test_pictures_inside_the_text_are_passed_over_without_a_word():
    made = mail(None, '<p>Atentamente</p><img src="cid:logo">')
    made.add_related(b"\x89PNG\r\n\x1a\n" + bytes(64), "image", "png", cid="<logo>")
    extracted = read(made)
    assert extracted.warnings == ()
    assert "Atentamente" in extracted.text
    assert "cid" not in extracted.text


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_headers_and_text_without_a_declared_encoding(encoding):
    extracted = read("Subject: Señal débil\r\nFrom: a@b.es\r\n\r\nEl año".encode(encoding))
    assert extracted.title == "Señal débil"
    assert extracted.text.endswith("El año\n")


@pytest.mark.parametrize("charset", ["no-such", "ascii", "utf-16"])
def test_a_false_charset_is_found_out(charset):
    data = b"Subject: x\r\nContent-Type: text/plain; charset=" + charset.encode() + "\r\n\r\nEl año".encode()
    assert "El año" in read(data).text


def test_encoded_words_and_names():
    made = mail(subject="")
    made.replace_header("Subject", "=?iso-8859-1?Q?Se=F1al_d=E9bil?=")
    attached(made, "año nuevo.txt", b"hola", "text/plain")
    assert headings(read(made))[1:] == ["Señal débil › año nuevo.txt"]


def test_a_name_cannot_lead_elsewhere():
    assert "## passwd" in read(attached(mail(), "../../etc/passwd", b"hola", "text/plain")).text


def nested(depth: int) -> MIMEMultipart:
    inner: MIMEText | MIMEMultipart = MIMEText("hondo", "plain", "utf-8")
    inner["Subject"] = "n0"
    for i in range(1, depth + 1):
        outer = MIMEMultipart()
        outer["Subject"] = f"n{i}"
        outer.attach(MIMEText(f"texto {i}"))
        outer.attach(MIMEMessage(inner))
        inner = outer
    return inner  # type: ignore[return-value]


def test_a_hundred_mails_inside_each_other_are_read_to_a_depth():
    extracted = read(nested(100))
    assert headings(extracted) == ["n100", "n100 › n99", "n100 › n99 › n98", "n100 › n99 › n98 › n97"]
    assert extracted.warnings == ("message/rfc822 4: a mail inside 4 mails is not read.",)


def test_mails_hidden_as_files_inside_each_other_are_read_to_the_same_depth():
    inner = b"Subject: n0\r\n\r\nhondo"
    for i in range(1, 7):
        head = f"Subject: n{i}\r\nContent-Type: application/octet-stream; name=n{i}.eml\r\n\r\n"
        inner = head.encode() + inner
    extracted = read(inner)
    assert extracted.text.splitlines()[::2] == ["# n6", "## n5", "### n4", "#### n3"]
    assert extracted.warnings == ("n3.eml: a mail inside 4 mails is not read.",)


@pytest.mark.parametrize(
    "part", [b"Content-Type: message/rfc822\r\n\r\n", b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"]
)
def test_parts_inside_each_other_without_end_are_refused(part):
    levels = (part % (i, i) if b"%d" in part else part for i in range(3000))
    with pytest.raises(UnreadableDocumentError, match="inside each other"):
        read(b"Subject: x\r\n" + b"".join(levels) + b"\r\nhola")


def test_ten_thousand_attachments_are_read_to_a_number():
    part = '--B\r\nContent-Disposition: attachment; filename="a{0}.txt"\r\n\r\nadjunto {0}\r\n'
    parts = "".join(part.format(i) for i in range(10_000))
    extracted = read(f"Subject: x\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n{parts}--B--\r\n".encode())
    assert extracted.text.count("adjunto") == 50
    assert extracted.warnings == ("9950 more attachments were not read: of one mail no more than 50 are.",)


def test_many_warnings_are_told_as_a_number():
    made = mail()
    for i in range(30):
        attached(made, f"roto{i}.pdf", b"%PDF-1.7", "application/pdf")
    assert len(read(made).warnings) == 21
    assert read(made).warnings[-1] == "10 more attachments could not be read."
