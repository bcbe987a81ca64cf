"""Logs: one JSON object a line on standard error, with the call's request and tenant where there is one, without secrets.

A library's DEBUG lines hold prompts, documents and database commands, so libraries have a level of their own.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypeVar

from common.secrets import scrub
from common.settings import Settings, wrong_setting
from common.telemetry import trace_ids

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN = ("malla", "common", "services")
# At INFO they say what our own line for the call says, once more for each request.
_TALKATIVE = ("httpx",)

SettingsT = TypeVar("SettingsT", bound=Settings)


class JsonFormatter(logging.Formatter):
    """Formats a record, and every `extra` of it, as one JSON object.

    What it returns is scrubbed, not the record: nothing can be added behind it, and every handler that has it is covered.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line."""
        row: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        ids = trace_ids()
        if ids is not None:
            row["trace_id"], row["span_id"] = ids
        row.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            row["stack"] = self.formatStack(record.stack_info)
        return scrub(json.dumps(row, ensure_ascii=False, default=str))


def configure_logging(level: str, libraries: str = "INFO") -> None:
    """Sends all logs of this process to standard error as JSON lines, uncaught exceptions and warnings among them.

    Args:
        level: Of our own loggers.
        libraries: Of all others; one below `level` is raised to it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    own, others = (logging.getLevelNamesMapping()[name.upper()] for name in (level, libraries))
    logging.basicConfig(level=max(own, others), handlers=[handler], force=True)
    for name in _OWN:
        logging.getLogger(name).setLevel(own)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET if others < logging.INFO else logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def configured(kind: type[SettingsT]) -> SettingsT:
    """Reads a process's settings and sends its logs where they say. A wrong setting ends it with one line that names it."""
    configure_logging("INFO")
    settings = kind()
    configure_logging(settings.log_level, settings.log_level_libraries)
    return settings


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # Python would write the traceback itself, unscrubbed: a database's address with its password, for one.
    if issubclass(kind, KeyboardInterrupt):
        return
    if setting := wrong_setting(error):  # where it was read is of no use to who has to write it anew
        logging.getLogger("malla").critical(setting)
        return
    logging.getLogger("malla").critical("the process ends with an uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and not issubclass(told.exc_type, SystemExit):
        error = (told.exc_type, told.exc_value, told.exc_traceback)
        logging.getLogger("malla").critical("a thread ends with an uncaught exception", exc_info=error)
