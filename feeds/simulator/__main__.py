"""`python -m feeds.simulator`: the demo exchange as a process. One JSON line says where it listens; it ends with its stdin.

With `--faults` things go wrong by chance, by the same seed; what goes wrong is told on stderr where that is a terminal.
"""

import argparse
import asyncio
import json
import signal
import sys

from feeds.simulator import run
from feeds.simulator.faults import Schedule, play


async def serve(seed: int, faults: bool) -> None:
    """Run until stdin closes or a signal asks for the end. Raises what ended the market's time."""
    exchange = await run.start(seed, venues=tuple(run.SERVERS))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    places = {name: {"rest": one.rest, "websocket": one.websocket} for name, one in exchange.endpoints.items()}
    sys.stdout.write(json.dumps({"seed": seed, "endpoints": places}) + "\n")
    sys.stdout.flush()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = [asyncio.create_task(_until_closed(reader)), asyncio.create_task(_set(ended))]
    if faults:
        running.append(asyncio.create_task(play(Schedule(seed, exchange.servers), exchange.servers, _tell)))
    if exchange.pump is not None:
        running.append(exchange.pump)
    over, going = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in going:
        task.cancel()
    await asyncio.gather(*going, return_exceptions=True)
    transport.close()
    await exchange.stop()
    for task in over:
        task.result()


async def _until_closed(reader: asyncio.StreamReader) -> None:
    while await reader.read(4_096):
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()


def _tell(line: str) -> None:
    """A reader that does not read must not stop the exchange, so only a person is told."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m feeds.simulator", description="A seeded demo exchange on loopback.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", action="store_true", help="let things go wrong by chance")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.seed, arguments.faults))


if __name__ == "__main__":
    main()
