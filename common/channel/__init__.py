"""The one way to open a channel to another server."""

from common.channel._channel import KEEPALIVE_OPTIONS, call_options, open_channel

__all__ = ["KEEPALIVE_OPTIONS", "call_options", "open_channel"]
