"""Which texts the next batch is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.errors import Code, OverloadedError
from common.models import EmbeddingKind, EmbeddingPriority
from services.embedding.lanes import Item, Lanes

INTERACTIVE, BULK = EmbeddingPriority.INTERACTIVE, EmbeddingPriority.BULK
QUERY, PASSAGE = EmbeddingKind.QUERY, EmbeddingKind.PASSAGE


def lanes(*, most_tokens: int = 10_000, batch_tokens: int = 100, batch_texts: int = 4) -> Lanes[str]:
    return Lanes(most_tokens=most_tokens, batch_tokens=batch_tokens, batch_texts=batch_texts)


def call(owner: str, *tokens: int, kind: EmbeddingKind = PASSAGE) -> list[Item[str]]:
    return [Item(owner, i, f"{owner}{i}", count, kind) for i, count in enumerate(tokens)]


def put(queues: Lanes[str], items: list[Item[str]], priority: EmbeddingPriority = BULK) -> None:
    queues.put(items, priority, tokens_per_s=100.0)


def everyone(_owner: str) -> bool:
    return True


def owners(queues: Lanes[str], is_wanted: Callable[[str], bool] = everyone) -> list[str]:
    return [item.owner for item in queues.draw(is_wanted)]


def owners_within(queues: Lanes[str], most_tokens: dict[EmbeddingPriority, int]) -> list[str]:
    return [item.owner for item in queues.draw(everyone, most_tokens=most_tokens)]


def test_interactive_texts_come_first():
    queues = lanes(batch_texts=1)
    put(queues, call("bulk", 5, 5), BULK)
    put(queues, call("asked", 5), INTERACTIVE)
    assert [owners(queues) for _ in range(3)] == [["asked"], ["bulk"], ["bulk"]]


def test_every_fourth_batch_begins_with_bulk_however_much_is_asked():
    queues = lanes(batch_texts=1)
    put(queues, call("bulk", *[5] * 10), BULK)
    put(queues, call("asked", *[5] * 20), INTERACTIVE)
    drawn = [owners(queues)[0] for _ in range(12)]
    assert drawn == ["asked", "asked", "asked", "bulk"] * 3


def test_bulk_fills_what_interactive_leaves_of_a_batch():
    queues = lanes(batch_texts=3)
    put(queues, call("bulk", 5, 5, 5), BULK)
    put(queues, call("asked", 5), INTERACTIVE)
    assert sorted(owners(queues)) == ["asked", "bulk", "bulk"]


def test_a_batch_holds_no_more_texts_than_allowed():
    queues = lanes(batch_texts=4)
    put(queues, call("a", *[1] * 10))
    assert [len(queues.draw(everyone)) for _ in range(4)] == [4, 4, 2, 0]


def test_a_batch_holds_no_more_tokens_than_allowed():
    queues = lanes(batch_tokens=100)
    put(queues, call("a", 60, 40, 1))
    assert [sum(item.tokens for item in queues.draw(everyone)) for _ in range(2)] == [100, 1]


def test_one_who_takes_a_lane_leaves_the_other():
    queues = lanes()
    put(queues, call("bulk", 5), BULK)
    put(queues, call("asked", 5), INTERACTIVE)
    assert [item.owner for item in queues.draw(everyone, of=(BULK,))] == ["bulk"]
    assert queues.waiting_texts() == {INTERACTIVE: 1, BULK: 0}


def test_those_who_take_side_by_side_share_what_waits():
    queues = lanes(batch_texts=4)
    put(queues, call("a", 1, 1, 1))
    assert [len(queues.draw(everyone, among=2)) for _ in range(3)] == [2, 1, 0]


def test_a_lane_with_less_room_makes_the_batch_shorter():
    queues = lanes(batch_tokens=100, batch_texts=9)
    put(queues, call("bulk", *[10] * 6), BULK)
    put(queues, call("asked", *[10] * 4), INTERACTIVE)
    drawn = [owners_within(queues, {BULK: 25}) for _ in range(3)]
    assert drawn == [["asked"] * 4, ["bulk"] * 2, ["bulk"] * 2]


def test_a_text_longer_than_a_batch_is_computed_alone():
    queues = lanes(batch_tokens=100)
    put(queues, call("long", 500))
    put(queues, call("short", 1))
    assert [owners(queues), owners(queues)] == [["long"], ["short"]]


def test_questions_and_passages_are_never_mixed():
    queues = lanes()
    put(queues, call("q", 5, 5, kind=QUERY), INTERACTIVE)
    put(queues, call("p", 5, 5, kind=PASSAGE), INTERACTIVE)
    put(queues, call("bulk", 5, kind=PASSAGE), BULK)
    batches = [queues.draw(everyone) for _ in range(2)]
    assert [{item.kind for item in batch} for batch in batches] == [{QUERY}, {PASSAGE}]
    assert [len(batch) for batch in batches] == [2, 3]


def test_a_batch_is_sorted_by_length():
    queues = lanes()
    put(queues, call("a", 9, 2, 7, 4))
    assert [item.tokens for item in queues.draw(everyone)] == [2, 4, 7, 9]


def test_texts_nobody_waits_for_are_dropped_and_their_tokens_freed():
    queues = lanes()
    put(queues, call("gone", 30, 30))
    put(queues, call("here", 10))
    assert owners(queues, lambda owner: owner != "gone") == ["here"]
    assert queues.waiting_tokens == 0


def test_an_unwanted_text_does_not_end_a_batch():
    queues = lanes(batch_texts=2)
    put(queues, call("a", 1))
    put(queues, call("gone", 500))
    put(queues, call("b", 1))
    assert owners(queues, lambda owner: owner != "gone") == ["a", "b"]


def test_a_full_queue_refuses_the_whole_call_and_says_when_to_come_back():
    queues = lanes(most_tokens=100)
    put(queues, call("first", 80))
    with pytest.raises(OverloadedError) as refused:
        put(queues, call("second", 15, 15))
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert refused.value.retry_after_s == pytest.approx(0.8)  # 80 tokens wait, 100 a second are computed
    assert queues.waiting_tokens == 80
    assert owners(queues) == ["first"]
    assert owners(queues) == []


def test_one_rule_for_both_lanes():
    queues = lanes(most_tokens=100)
    put(queues, call("bulk", 90), BULK)
    with pytest.raises(OverloadedError):
        put(queues, call("asked", 20), INTERACTIVE)


def test_an_empty_queue_takes_a_call_larger_than_itself():
    queues = lanes(most_tokens=100)
    put(queues, call("huge", 5000))
    assert owners(queues) == ["huge"]
    assert queues.waiting_tokens == 0
