"""The record: MongoDB by pymongo's async client, every read and write keyed by tenant."""

from common.store._again import again
from common.store._hello import hello
from common.store._names import held_name
from common.store._records import ChangeRecord, ChunkRecord, CollectionRecord
from common.store._store import Rows, Store, open_store, within
from common.store._time import now_ms, to_datetime

__all__ = [
    "ChangeRecord",
    "ChunkRecord",
    "CollectionRecord",
    "Rows",
    "Store",
    "again",
    "held_name",
    "hello",
    "now_ms",
    "open_store",
    "to_datetime",
    "within",
]
