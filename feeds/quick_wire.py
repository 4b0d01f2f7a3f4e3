"""What `picows` leaves undone, done here; each was measured and has its test.

- It reads on for 10 ms after a message that breaks the protocol, and hands over what came behind as if nothing were missing.
- An attempt that is cancelled in its handshake leaves its socket open.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from aiohappyeyeballs import start_connection

OURS: Final = {1002, 1007, 1009, 1011}
"""Close codes that picows sends of itself, for what it was sent; a peer's own goodbye has others."""
ROUNDS: Final = 20
"""Of the loop: a transport takes three to close its socket, measured."""
NEXT_ADDRESS_S: Final = 0.25
"""RFC 8305: so long one address has before the next is tried beside it."""


class Unbroken:
    """A connection that ends at the first broken message.

    Args:
        connected: as picows gives it.
    """

    def __init__(self, connected: Any) -> None:
        self._connected = connected
        self._recv = connected.recv
        self.send = connected.send
        self.close = connected.close

    async def recv(self, decode: bool | None = None) -> Any:
        """The next message.

        Raises:
            ConnectionClosed: of picows, also where a message is there that may have come behind a broken one.
        """
        data = await self._recv(decode)
        while self._connected.close_code in OURS:
            await self._recv(decode)
        return data

    @property
    def close_code(self) -> int | None:
        code: int | None = self._connected.close_code
        return code

    @property
    def close_reason(self) -> str | None:
        reason: str | None = self._connected.close_reason
        return reason


async def connect(dialled: Callable[..., Any], url: str, **options: Any) -> Unbroken:
    """Open a connection with picows; its socket does not outlive an attempt that fails or is cancelled.

    Args:
        dialled: its `connect`.

    Raises:
        What it raises.
    """
    async with AsyncExitStack() as attempt:

        async def open_socket(place: Any) -> socket.socket:
            addresses = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
            opened = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
            attempt.push_async_callback(_ended, opened)
            return opened

        connected = Unbroken(await dialled(url, socket_factory=open_socket, **options))
        attempt.pop_all()  # it lives on: from here it is the connection's to close
        return connected


async def _ended(opened: socket.socket) -> None:
    """Its transport reads the end and closes it; where none has it yet, it is closed here."""
    with suppress(OSError):  # closed already
        opened.shutdown(socket.SHUT_RDWR)
    for _ in range(ROUNDS):
        if opened.fileno() < 0:
            return
        await asyncio.sleep(0)
    opened.close()
