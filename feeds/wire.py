"""The websocket library in use: `websockets`, or `picows` with the same signatures where the extra `fast` is installed.

Both are spoken to through one small table, since each has its own family of exceptions. TLS is always verified; plain `ws://` and
`http://` are for loopback alone (reliability 5.5).
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from feeds import quick_wire
from feeds.errors import InputError
from feeds.text import clean_text

MAX_MESSAGE: Final = 16 << 20
"""A full-depth snapshot is larger than the libraries' 1 MiB."""
OPEN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0
GOODBYE_S: Final = 0.3
"""What of it the peer has for its goodbye."""
PONG_TIMEOUT_S: Final = 20.0
SILENT: Final = logging.NullHandler()
"""Without any handler their warnings about what a peer sends would be written to stderr, where screens are drawn."""


_closing: set["asyncio.Task[None]"] = set()


class Socket(Protocol):
    """What is used of a connected websocket."""

    async def recv(self, decode: bool | None = None) -> Any: ...
    async def send(self, message: str) -> Any: ...
    async def close(self, code: int = 1000, reason: str = "") -> Any: ...


class Library(NamedTuple):
    """A websocket library by what a connection needs of it."""

    name: str
    connect: Callable[..., Any]
    closed: type[Exception]
    """The other side, or the network, ended the connection: has `rcvd` or, at the socket, `close_code` and `close_reason`."""
    refused: type[Exception]
    """The handshake was answered with a status that is not 101: has `response` with `status_code` and `headers`."""
    failed: type[Exception]
    """Root of its family."""


def library(fast: bool | None = None) -> Library:
    """The library to use; `fast` None takes the quick one where it is installed.

    Raises:
        InputError: the quick one was asked for and is not there.
    """
    for name in ("websockets", "picows"):
        logging.getLogger(name).addHandler(SILENT)
    quick = find_spec("picows") is not None if fast is None else fast
    if quick and find_spec("picows") is None:
        raise InputError("the extra fast is not installed: pip install 'arbtop[fast]'")
    if quick:
        client = import_module("picows.websockets")
        errors = import_module("picows.websockets.exceptions")
        connect = partial(quick_wire.connect, client.connect)
        return Library("picows", connect, errors.ConnectionClosed, errors.InvalidStatus, errors.WebSocketException)
    client = import_module("websockets.asyncio.client")
    errors = import_module("websockets.exceptions")
    return Library("websockets", client.connect, errors.ConnectionClosed, errors.InvalidStatus, errors.WebSocketException)


async def dial(chosen: Library, url: str, ping_s: float, proxy: str | None, tls: ssl.SSLContext | None = None) -> Socket:
    """Open a websocket.

    Raises:
        InputError: the address is not allowed.
        OSError, TimeoutError, ssl.SSLError, or one of the library's own errors.
    """
    refuse_plain(url)
    more: dict[str, Any] = {"ssl": tls} if tls is not None else {}
    async with asyncio.timeout(OPEN_TIMEOUT_S + 1):  # `wait_for` loses a cancellation that comes as the attempt ends
        connected: Socket = await chosen.connect(
            url,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=GOODBYE_S,
            ping_interval=ping_s,
            ping_timeout=PONG_TIMEOUT_S,
            max_size=MAX_MESSAGE,
            proxy=proxy,
            **more,
        )
    return connected


async def hang_up(socket: Socket) -> None:
    """End a websocket without waiting for a peer that may be dead."""
    transport = getattr(socket, "transport", None)
    if transport is not None:
        transport.abort()
    else:
        await say_goodbye(socket)


async def say_goodbye(socket: Socket) -> None:
    """Close a websocket, and wait for that no longer than is polite.

    It is never cancelled: picows cuts a peer that does not answer at the end of it, and otherwise leaves socket and tasks behind.
    """
    closing = asyncio.create_task(_close(socket))
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)
    await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)


async def _close(socket: Socket) -> None:
    with suppress(Exception):
        await socket.close()


def refuse_plain(url: str) -> None:
    """Only loopback may be spoken to without TLS. Raises InputError."""
    parts = urlsplit(url)
    if parts.scheme in ("wss", "https"):
        return
    if parts.scheme in ("ws", "http") and is_loopback(parts.hostname or ""):
        return
    shown = clean_text(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", 100)
    raise InputError(f"{shown}: only wss:// and https:// are spoken to, unless it is this machine itself")


def is_loopback(host: str) -> bool:
    """Whether a host name is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Host and port of a URL, without user, path or query."""
    return clean_text(urlsplit(url).netloc.rpartition("@")[2], 100)
