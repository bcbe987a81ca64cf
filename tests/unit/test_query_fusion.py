"""Fusing rankings."""

from __future__ import annotations

import math

import pytest

from services.query.domain.fusion import Ranking, fuse


def ranked(*scores: dict[int, float]) -> list[Ranking]:
    return [Ranking(f"ranking {i}", one) for i, one in enumerate(scores)]


def order(*scores: dict[int, float]) -> list[int]:
    return [one.key for one in fuse(ranked(*scores))]


def test_what_both_rankings_like_comes_first():
    assert order({1: 0.9, 2: 0.8, 3: 0.1}, {2: 12.0, 3: 11.0, 4: 1.0})[0] == 2


def test_scales_do_not_matter():
    scores = {one.key: one.score for one in fuse(ranked({1: 0.81, 2: 0.80, 3: 0.79}, {3: 300.0, 2: 200.0, 1: 100.0}))}
    assert scores[1] == pytest.approx(scores[3])


def test_missing_from_a_ranking_counts_as_its_last():
    assert order({1: 3.0, 2: 2.0, 3: 1.0}, {1: 5.0, 2: 1.0}) == [1, 2, 3]


@pytest.mark.parametrize("rankings", [[{7: 0.5}, {}], [{}, {7: 3.0}], [{7: 0.5}, {7: 3.0}]])
def test_one_hit_is_enough(rankings):
    assert order(*rankings) == [7]


def test_no_hit_is_none():
    assert order({}, {}) == []


def test_equal_scores_keep_a_fixed_order():
    assert order({5: 1.0, 3: 1.0, 4: 1.0}, {}) == [3, 4, 5]


@pytest.mark.parametrize(("weight", "first"), [(0.9, 1), (0.1, 2)])
def test_the_weights_decide_where_rankings_disagree(weight, first):
    dense, lexical = {1: 3.0, 2: 1.0, 3: 0.0}, {2: 3.0, 1: 1.0, 3: 0.0}
    assert fuse([Ranking("dense", dense, weight), Ranking("lexical", lexical, 1 - weight)])[0].key == first


def test_a_ranking_without_weight_says_nothing():
    rankings = [Ranking("dense", {1: 2.0, 2: 1.0}), Ranking("lexical", {2: 9.0}, 0.0)]
    assert [one.key for one in fuse(rankings)] == [1, 2]


def test_the_parts_add_up_to_the_score():
    for one in fuse([Ranking("dense", {1: 0.9, 2: 0.5, 3: 0.1}, 0.6), Ranking("lexical", {2: 8.0, 4: 2.0}, 0.3)]):
        total = sum(part.weight * part.normalised for part in one.parts)
        assert one.score == pytest.approx(1 / (1 + math.exp(-total)))


def test_the_parts_tell_what_each_index_said():
    best = {one.key: one for one in fuse([Ranking("dense", {1: 0.9, 2: 0.5}, 0.6), Ranking("lexical", {2: 8.0}, 0.3)])}
    dense, lexical = best[1].parts
    assert (dense.name, dense.score, dense.rank, dense.weight) == ("dense", 0.9, 1, 0.6)
    assert (lexical.name, lexical.score, lexical.rank) == ("lexical", None, 0)
    assert [part.rank for part in best[2].parts] == [2, 1]
    assert sorted(one.rank for one in best.values()) == [1, 2]


def test_one_ranking_keeps_its_own_scores():
    assert [(one.key, one.score) for one in fuse(ranked({1: 0.3, 2: 0.8}))] == [(2, 0.8), (1, 0.3)]
