"""Transport that joins the writes of one event loop turn, so that a response is sent at once.

A head and a body that are sent separately would wake the client twice.
"""

import asyncio
from typing import Any

FLUSH_BYTES = 1 << 16
"""Joined writes are sent at once when they are larger than this."""


class CoalescingTransport(asyncio.Transport):
    """Wraps a transport and writes to it at the next turn of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add data to the next write of the wrapped transport."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all data to the wrapped transport now."""
        if self._parts and not self._transport.is_closing():
            self._transport.write(b"".join(self._parts))
        self._parts.clear()
        self._size = 0

    def get_write_buffer_size(self) -> int:
        """Number of bytes that were written here and not yet sent."""
        return self._size + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Write all data, then close the wrapped transport."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close the wrapped transport without writing the remaining data."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the wrapped transport is closing or closed."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information about the connection, from the wrapped transport."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop receiving data."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive data again."""
        self._transport.resume_reading()
