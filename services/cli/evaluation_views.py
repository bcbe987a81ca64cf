"""How `malla eval` tells its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from common.models import SearchMode
from services.cli.evaluation import CUT, RECALL_AT, WORDS_AT, Ranked, Score, by_language
from services.cli.tables import WholeTable

_BAR_CELLS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MOST_MISSED = 20
_MISSED_AFTER = 5

Results = Mapping[SearchMode, Sequence[Ranked]]


def facts(results: Results) -> dict[str, Any]:
    """Returns the results for machines."""
    return {
        "scores": {
            mode.value: {name: asdict(one) for name, one in by_language(ranked).items()} for mode, ranked in results.items()
        },
        "missed": {
            mode.value: [{"id": row.question.id, "rank": row.rank} for row in _missed(ranked)]
            for mode, ranked in results.items()
        },
    }


def report(results: Results) -> RenderableType:
    """Returns the results for people: a table and bars, the modes side by side, and what the first of them missed."""
    scores = {mode: by_language(ranked) for mode, ranked in results.items()}
    overall = {mode: groups["all"] for mode, groups in scores.items()}
    bars = [
        _bars(f"MRR@{CUT}", {mode: one.mrr for mode, one in overall.items()}),
        *(_bars(f"recall@{k}", {mode: one.recall[k] for mode, one in overall.items()}) for k in RECALL_AT),
    ]
    return Group(_table(scores), *bars, *_misses(results))


def _table(scores: Mapping[SearchMode, Mapping[str, Score]]) -> WholeTable:
    table = WholeTable()
    table.add_columns("mode", "language")
    for column in ("questions", f"MRR@{CUT}", *(f"recall@{k}" for k in RECALL_AT), f"words@{WORDS_AT}"):
        table.add_column(column, justify="right", no_wrap=True)
    for mode, groups in scores.items():
        for name, one in groups.items():
            words = "-" if one.words is None else f"{one.words:.3f}"
            recall = (f"{one.recall[k]:.3f}" for k in RECALL_AT)
            table.add_row(mode.value.lower(), name, str(one.questions), f"{one.mrr:.3f}", *recall, words)
    return table


def _bars(name: str, values: Mapping[SearchMode, float]) -> Text:
    lines = [f"\n{name}"]
    lines += [f"  {mode.value.lower():<8}{bar(value)} {value:.3f}" for mode, value in values.items()]
    return Text("\n".join(lines))


def bar(value: float) -> str:
    """Returns a share, 0 to 1, as a bar of 40 cells, to the eighth of a cell."""
    eighths = round(min(max(value, 0.0), 1.0) * _BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return (_EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")).ljust(_BAR_CELLS)


def _missed(ranked: Sequence[Ranked]) -> list[Ranked]:
    return [row for row in ranked if not row.is_within(_MISSED_AFTER)]


def _misses(results: Results) -> list[Text]:
    mode, ranked = next(iter(results.items()))
    missed = _missed(ranked)
    if not missed:
        return []
    lines = [f"\nNot among the first {_MISSED_AFTER} in mode {mode.value.lower()}: {len(missed)}"]
    for row in missed[:_MOST_MISSED]:
        found = f"at {row.rank}" if row.rank else "not found"
        lines.append(f"  {row.question.id}: {row.question.document} {found}: {row.question.question}")
    if len(missed) > _MOST_MISSED:
        lines.append("  … `--json` lists all")
    return [Text("\n".join(lines), style="dim")]
