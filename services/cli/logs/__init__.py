"""Reads the logs of all processes of a mesh as one."""

from services.cli.logs.follow import Follower
from services.cli.logs.lines import LogLine
from services.cli.logs.select import Selection, read_logs

__all__ = ["Follower", "LogLine", "Selection", "read_logs"]
