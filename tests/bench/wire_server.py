"""Sends a file of frames over one loopback websocket, as quickly as the reader takes them or at a pace.

`python -m tests.bench.wire_server FILE PACE`: FILE holds lines, PACE is frames a second, 0 for no pace. Prints its port, serves
one client, ends. It writes ready frames to the transport, so that it is never the slower side of the benchmark.
"""

import asyncio
import base64
import hashlib
import struct
import sys
from pathlib import Path

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CHUNK = 256
BATCH_S = 0.01


def framed(payload: bytes) -> bytes:
    """An unmasked text frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


async def _send(writer: asyncio.StreamWriter, frames: list[bytes], pace: float) -> None:
    step = max(int(pace * BATCH_S), 1) if pace else CHUNK
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for at in range(0, len(frames), step):
        writer.write(b"".join(frames[at : at + step]))
        await writer.drain()
        if pace:
            await asyncio.sleep(max(begun + at / pace - loop.time(), 0))


async def serve(frames: list[bytes], pace: float) -> None:
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
        key = next(value for name, value in lines.items() if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        writer.write(upgrade + accept + b"\r\n\r\n")
        try:
            await _send(writer, frames, pace)
            await reader.read()  # until the client has gone
        except ConnectionError:
            pass
        writer.transport.abort()
        done.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await done.wait()
    server.close()


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_bytes().split(b"\n")
    asyncio.run(serve([framed(line) for line in lines if line], float(sys.argv[2])))
