"""Brings a stretch of what a tardis-machine has to disk, line by line as it came: from there it is imported like any capture.

Each line is looked at as it comes, since a message that is missing or torn would leave a book wrong, and nothing later would
tell. So whatever is not a whole answer is one error that says where and what to do, never a part that passes for the whole.
Facts: protocols.md 6.1; tardis-machine's source. An error in the middle of its answer is a last line of another kind.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aiohttp.http import HttpProcessingError
from msgspec import Struct
from yarl import URL

from feeds.errors import DECODE_ERRORS, ArbtopError, BadFrame
from feeds.machine.address import Address
from feeds.model import Ns
from feeds.rest import open_session
from feeds.text import clean_text
from feeds.venues import tardis
from feeds.wire import MAX_MESSAGE, dial, hang_up, library

PATIENCE_S: Final = 120.0
"""Longest silence. The machine may itself have to fetch a minute of data before it goes on."""
PING_S: Final = 20.0
AGAIN: Final = "run it again: what the machine has fetched so far is in its cache"
FINISHED, TOO_SLOW, TOO_BIG = 1000, 1008, 1009

Tell = Callable[[float], object]
"""Told the share done, by the messages' times."""


class MachineFailed(ArbtopError):  # noqa: N818 - what happened
    """A tardis-machine that could not be read: where, why, and what to do."""


class _RawLine(Struct, gc=False):
    localTimestamp: msgspec.Raw
    message: msgspec.Raw


class _Trouble(Struct):
    """What the machine says in place of messages."""

    message: str = ""
    responseText: str | None = None
    localTimestamp: msgspec.Raw = msgspec.Raw()


_raw_line = msgspec.json.Decoder(_RawLine).decode
_instant = msgspec.json.Decoder(tardis.Instant).decode
_trouble = msgspec.json.Decoder(_Trouble).decode


async def fetch(
    address: Address,
    directory: Path,
    tell: Tell = lambda _share: None,
    *,
    proxy: str | None = None,
    ca_file: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> list[Path]:
    """Fetch all that a replay's address asks for.

    Args:
        directory: where the files go; there already.
        tell: see `Tell`.
        proxy, ca_file: as for any other connection; a machine on loopback is asked without a proxy.
        patience_s: longest silence.

    Returns:
        The files, in the formats that `feeds.importers` reads.

    Raises:
        MachineFailed: anything but a whole answer.
        OSError, ssl.SSLError: the disk, or the file of certificates.
    """
    made = []
    urls = address.urls()
    source = _Messages(address, None if address.plain else proxy, ca_file, patience_s)
    for number, (exchange, url) in enumerate(urls.items()):
        path = directory / f"{exchange or 'normalised'}.jsonl"
        intake = _Intake(address, exchange)
        with path.open("wb") as file:
            async with aclosing(source.of(url)) as lines:
                async for line in lines:
                    file.write(intake.taken(line))
                    if not intake.lines % 1_000:
                        tell((number + intake.share) / len(urls))
        if intake.messages:
            made.append(path)
    if not made:
        raise MachineFailed(f"{address.place}: it has nothing of what was asked for: look at exchanges, symbols and times")
    return made


class _Intake:
    """Looks at the lines of one answer."""

    def __init__(self, address: Address, exchange: str) -> None:
        self.address = address
        self.lines = 0
        self.messages = 0
        self._at: Ns = address.from_ns
        self._raw = address.route.raw
        self._head = f'{{"exchange":{json.dumps(exchange)},'.encode()

    @property
    def share(self) -> float:
        """Of the time that was asked for."""
        done = (self._at - self.address.from_ns) / (self.address.to_ns - self.address.from_ns)
        return min(max(done, 0.0), 1.0)

    def taken(self, line: bytes) -> bytes:
        """The line as it is written. Raises `MachineFailed` for one that is no message."""
        self.lines += 1
        if self._raw and not line.strip():
            return b"\n"  # the machine lost the venue here
        try:
            if self._raw:
                kept = _raw_line(line)
                self._at = tardis.ns_of(_instant(kept.localTimestamp))
                line = b'%s"localTimestamp":%s,"message":%s}' % (self._head, kept.localTimestamp, kept.message)
            else:
                self._at = tardis.head_of(line)[1]
        except (*DECODE_ERRORS, BadFrame) as error:
            raise self._failure(line, error) from None
        self.messages += 1
        return line.strip().replace(b"\n", b" ") + b"\n"

    def _failure(self, line: bytes, error: Exception) -> MachineFailed:
        said = said_in(line)
        if said:
            return MachineFailed(f"{self.address.place}: it stopped after line {self.lines - 1}: {said}; {AGAIN}")
        why = clean_text(str(error), 120)
        return MachineFailed(
            f"{self.address.place} line {self.lines}: no whole message of Tardis ({why}); "
            "see that a tardis-machine answers there, then run it again"
        )


class _Messages:
    """The lines, or websocket messages, of an answer."""

    def __init__(self, address: Address, proxy: str | None, ca_file: Path | None, patience_s: float) -> None:
        self.address = address
        self._proxy = proxy
        self._ca_file = ca_file
        self._patience_s = patience_s

    def of(self, url: str) -> AsyncGenerator[bytes, None]:
        return self._websocket(url) if self.address.route.websocket else self._http(url)

    async def _http(self, url: str) -> AsyncGenerator[bytes, None]:
        timeout = aiohttp.ClientTimeout(total=None, connect=10.0, sock_read=self._patience_s)
        lines = 0
        async with open_session(self._ca_file) as session:
            try:
                async with session.get(
                    URL(url, encoded=True),
                    proxy=self._proxy,
                    timeout=timeout,
                    allow_redirects=False,
                    headers={"Accept-Encoding": "identity"},
                ) as response:
                    if response.status != 200:
                        raise self._answered(response.status, await response.content.read(4_096))
                    carry = b""
                    async for data in response.content.iter_any():
                        *whole, carry = (carry + data).split(b"\n")
                        for line in whole:
                            lines += 1
                            yield line
                        if len(carry) > MAX_MESSAGE:
                            raise self._failed(f"line {lines + 1} is longer than {MAX_MESSAGE >> 20} MiB; see what answers there")
            except TimeoutError:
                raise self._silent(lines) from None
            except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
                raise self._lost(lines, error) from None
        if carry:
            said = said_in(carry)
            what = f"it stopped after line {lines}: {said}" if said else f"line {lines + 1} is cut off"
            raise self._failed(f"{what}; {AGAIN}")

    async def _websocket(self, url: str) -> AsyncGenerator[bytes, None]:
        chosen = library(fast=False)
        lines = 0
        try:
            tls = None
            if self._ca_file is not None:
                tls = ssl.create_default_context()
                tls.load_verify_locations(self._ca_file)
            socket = await dial(chosen, url, PING_S, self._proxy, tls if url.startswith("wss:") else None)
        except TimeoutError:
            raise self._silent(0) from None
        except (chosen.failed, OSError) as error:
            raise self._lost(0, error) from None
        try:
            while True:
                async with asyncio.timeout(self._patience_s):
                    message = await socket.recv(decode=False)
                lines += 1
                yield bytes(message)
        except TimeoutError:
            raise self._silent(lines) from None
        except chosen.closed as error:
            self._closed(error, lines)
        except (chosen.failed, OSError) as error:
            raise self._lost(lines, error) from None
        finally:
            await hang_up(socket)

    def _closed(self, error: Exception, lines: int) -> None:
        """Raises for every end but the one that says that all was sent."""
        received, sent = getattr(error, "rcvd", None), getattr(error, "sent", None)
        if sent is not None and sent.code == TOO_BIG and (received is None or received.code != FINISHED):
            raise self._failed(f"message {lines + 1} is too long; see what answers there")
        if received is None:
            raise self._lost(lines, error)
        if received.code == FINISHED:
            return
        said = clean_text(received.reason, 200)
        why = "it was not read fast enough" if received.code == TOO_SLOW else said or "it says no more"
        raise self._failed(f"closed with {received.code} after message {lines}: {why}; {AGAIN}")

    def _answered(self, status: int, body: bytes) -> MachineFailed:
        said = said_in(body) or "it says no more"
        mend = (
            "without an API key of Tardis a machine serves the first day of each month only"
            if status in (401, 403)
            else f"look at exchanges, symbols and times, then {AGAIN}"
        )
        return self._failed(f"answered with {status}: {said}; {mend}")

    def _silent(self, lines: int) -> MachineFailed:
        return self._failed(f"it sent nothing for {self._patience_s:g} s after line {lines}; {AGAIN}")

    def _lost(self, lines: int, error: Exception) -> MachineFailed:
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        why = clean_text(str(getattr(cause, "strerror", "") or cause) or type(cause).__name__, 160)
        if isinstance(error, ConnectionRefusedError | aiohttp.ClientConnectorError):
            return self._failed(f"cannot be reached ({why}): start tardis-machine there, or mend host and port")
        if lines:
            return self._failed(f"the connection was lost after line {lines} ({why}); {AGAIN}")
        return self._failed(f"no answer ({why}); see that a tardis-machine answers there, then run it again")

    def _failed(self, what: str) -> MachineFailed:
        return MachineFailed(f"{self.address.place}: {what}")


def said_in(line: bytes) -> str:
    """What a line says that stands in place of a message, clean; empty where it is none."""
    try:
        trouble = _trouble(line)
    except DECODE_ERRORS:
        return ""
    return "" if trouble.localTimestamp else clean_text(trouble.responseText or trouble.message, 200)
