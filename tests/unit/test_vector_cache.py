"""The cache of vectors: what it keeps, and within what."""

from __future__ import annotations

import sys

from services.embedding.cache import Known, VectorCache


def known(tokens: int, dimensions: int = 384) -> Known:
    return Known(bytes(4 * dimensions), tokens, False)


def key(number: int) -> bytes:
    return number.to_bytes(32)


def test_it_stays_within_its_bytes_and_forgets_the_least_recently_asked():
    cache = VectorCache(10_000)  # five vectors of 384 components
    for number in range(5):
        cache.put(key(number), known(number))
    assert cache.get(key(0)) is not None
    cache.put(key(5), known(5))
    assert cache.get(key(1)) is None
    assert [n for n in range(6) if cache.get(key(n))] == [0, 2, 3, 4, 5]
    for number in range(6, 1000):
        cache.put(key(number), known(number))
        assert cache.taken_bytes <= 10_000


def test_what_is_put_again_takes_its_place_once():
    cache = VectorCache(10_000)
    cache.put(key(1), known(1))
    before = cache.taken_bytes
    cache.put(key(1), known(2))
    assert cache.taken_bytes == before
    assert cache.get(key(1)) == known(2)


def test_what_is_larger_than_all_of_it_is_not_kept_and_nothing_goes_for_it():
    cache = VectorCache(3_000)
    cache.put(key(1), known(1))
    cache.put(key(2), known(2, dimensions=4096))
    assert cache.get(key(2)) is None
    assert cache.get(key(1)) is not None


def test_no_bytes_keep_nothing():
    cache = VectorCache(0)
    cache.put(key(1), known(1))
    assert cache.get(key(1)) is None
    assert cache.taken_bytes == 0


def test_an_entry_takes_no_more_than_is_reckoned():
    cache = VectorCache(1_000_000)
    entry = known(1000)
    cache.put(key(7), entry)
    objects = sys.getsizeof(key(7)) + sys.getsizeof(entry) + sys.getsizeof(entry.vector) + sys.getsizeof(1000)
    assert objects + 160 <= cache.taken_bytes  # 160: what a place in an ordered dict of any size takes, at most
