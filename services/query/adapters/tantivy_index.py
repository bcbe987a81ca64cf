"""Words in tantivy: BM25 over stems of the collection's language and over words as written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tantivy

from services.query.ports import Keys

_STEMMERS = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
_KEY, _STEM, _WORD = "key", "stem", "word"
# A word as written finds codes and names that stemming bends, and the other languages of a mixed collection.
_WORD_WEIGHT = 0.5
_WRITER_BYTES = 15_000_000


class TantivyIndex:
    """An index in memory; derived from the record, so nothing is lost with it."""

    def __init__(self, language: str) -> None:
        stem = _analyzer(_STEMMERS.get(language))
        word = _analyzer(None)
        self._analyzers = {_STEM: stem, _WORD: word}
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field(_KEY, stored=True, indexed=True, fast=True)
        for name in self._analyzers:
            builder.add_text_field(name, tokenizer_name=name, index_option="freq")
        self._schema = builder.build()
        self._index = tantivy.Index(self._schema)
        for name, analyzer in self._analyzers.items():
            self._index.register_tokenizer(name, analyzer)

    def update(self, add: Mapping[int, str], remove: Sequence[int]) -> None:
        """Adds and removes texts in one commit."""
        writer = self._index.writer(_WRITER_BYTES, 1)
        for key in remove:
            # Not by term: that takes a number for a signed one, and finds nothing in an unsigned field.
            writer.delete_documents_by_query(tantivy.Query.term_query(self._schema, _KEY, key))
        for key, text in add.items():
            document = tantivy.Document()
            document.add_unsigned(_KEY, key)
            document.add_text(_STEM, text)
            document.add_text(_WORD, text)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()

    def search(self, query: str, k: int, among: Keys) -> dict[int, float]:
        """Returns at most `k` keys with their BM25 scores, best first."""
        searcher = self._index.searcher()
        if not searcher.num_docs:
            return {}
        wanted = None if among is None else set(among)
        # The filter comes before the cut: with one, every hit is looked at.
        limit = k if wanted is None else searcher.num_docs
        found: dict[int, float] = {}
        for score, address in searcher.search(self._query(query), limit=limit).hits:
            key = int(searcher.doc(address)[_KEY][0])
            if wanted is None or key in wanted:
                found[key] = float(score)
            if len(found) == k:
                break
        return found

    def _query(self, text: str) -> tantivy.Query:
        clauses = []
        for name, weight in ((_STEM, 1.0), (_WORD, _WORD_WEIGHT)):
            for term in dict.fromkeys(self._analyzers[name].analyze(text)):
                query = tantivy.Query.boost_query(tantivy.Query.term_query(self._schema, name, term), weight)
                clauses.append((tantivy.Occur.Should, query))
        return tantivy.Query.boolean_query(clauses)


def _analyzer(stemmer: str | None) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase())
    if stemmer is not None:
        builder = builder.filter(tantivy.Filter.stemmer(stemmer))
    # After the stemmer, which knows accents; people type without them.
    return builder.filter(tantivy.Filter.ascii_fold()).build()
