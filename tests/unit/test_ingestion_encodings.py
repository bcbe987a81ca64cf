"""Texts in the encodings of several systems and decades: what is read is what was written."""

from __future__ import annotations

import pytest

from services.ingestion.adapters.decoding import decode
from services.ingestion.adapters.western import western_encoding

SENTENCES = {
    "es": [
        "La reparación del módem tarda dos días.",
        "¿Cuánto cuesta la instalación en el extranjero?",
        "El técnico llamará mañana por la mañana.",
        "¡Atención! El servicio está suspendido.",
        "EL PAGO SE HARÁ EN LA SUCURSAL MÁS PRÓXIMA; AÑO 2024.",
        "José Núñez",
        "Año",
    ],
    "pt": [
        "A instalação não é possível no sábado.",
        "Você precisa de informações sobre as opções de pagamento?",
        "O usuário deverá reiniciar o modem três vezes.",
        "Não há conexão à rede; ligue para o balcão.",
        "ATENÇÃO: A LIGAÇÃO SERÁ GRAVADA",
        "São Paulo",
    ],
    "fr": [
        "L'élève a reçu le dossier à l'école.",
        "Où êtes-vous né ? C'est très coûteux.",
        "La connexion réseau a échoué après l'été.",
        "Il faut redémarrer le boîtier dès que possible.",
        "ÉLÈVES ADMIS À L'ÉCOLE",
        "Noël",
    ],
    "de": [
        "Die Störung wird morgen früh behoben.",
        "Bitte prüfen Sie die Anschlüsse und die Gerätenummer.",
        "Straße und Größe müssen angegeben werden.",
        "ÖFFNUNGSZEITEN: MÄRZ BIS FRÜHJAHR",
        "Müller",
    ],
    "it": [
        "La società è già attiva, perché no?",
        "L'università è più vicina alla città.",
        "Così può funzionare finché c'è luce.",
    ],
}
# What looks odd in the encoding of Windows, and is right.
WINDOWS_ONLY = [
    "“Sí”, dijo él — y se fue…",
    "El café’s résumé—naïve—cuesta 10 €",
    "word—word—word—word",
    "Archivo»Guardar»Nuevo",
    "rojo•verde•azul",
    "hola\u00a0mundo\u00a0otra\u00a0vez",
    "« Noël » : cœur brisé",
    "Windows™ ©2020 ®, 20°C, 3º B, nº 12, 1ª",
    "it´s; l‘aigua; Az Za‘yin; l’été",
    "Škofja Loka, Južnobaki, Žár nad Sázavou",
    "„Wetter“ und ‚Klima‘ – ›neu‹ …",
    "50¢ y £5, ¥100; §3 ¶4 †5 ‡6; µm × ÷ ±; ƒ(x)",
]
EVERY = [sentence for sentences in SENTENCES.values() for sentence in sentences]
TOGETHER = ["\n".join(sentences) for sentences in SENTENCES.values()]
DOS = [
    "La reparación del módem",
    "información",
    "Bitte prüfen Sie",
    "L'élève a été reçu",
    "não é possível",
    "├─ Año ─┤ │ Facturación │",
]
MACINTOSH = ["La página de facturación eléctrica", "não é possível", "das Gerät wählen", "L'élève est allé à l'école"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1", "iso8859-15"]
)
@pytest.mark.parametrize("text", [*EVERY, *TOGETHER], ids=lambda text: text[:12])
def test_the_encodings_of_today_are_read_whatever_the_text(text: str, encoding: str):
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("text", WINDOWS_ONLY)
def test_what_only_looks_odd_is_left_as_it_is(text: str):
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize("encoding", ["cp850", "mac_roman"])
@pytest.mark.parametrize("language", SENTENCES)
def test_a_text_of_dos_or_of_the_old_macintosh_is_recognised(language: str, encoding: str):
    text = "\n".join(SENTENCES[language])
    data = text.encode(encoding)
    assert western_encoding(data) == encoding
    assert decode(data) == text
    assert decode(data.replace(b"\n", b"\r\n")) == text


@pytest.mark.parametrize("text", DOS)
def test_a_word_of_dos_within_windows_symbols_is_enough(text: str):
    assert decode(text.encode("cp850")) == text


@pytest.mark.parametrize("text", MACINTOSH)
def test_a_few_words_of_the_old_macintosh_are_enough(text: str):
    assert decode(text.encode("mac_roman")) == text


def test_a_long_text_is_judged_by_its_beginning_and_read_whole():
    text = "\n".join(SENTENCES["es"]) * 20_000
    assert decode(text.encode("cp850")) == text
