"""Threads that nobody waits for: a look-up that hangs must not keep the program from leaving, and what is awaited must arrive."""

import asyncio
import subprocess
import sys
from threading import Event, current_thread

import pytest

from feeds.daemon import DaemonThreads


def test_what_a_call_returns_or_raises_reaches_who_awaits_it() -> None:
    async def work() -> None:
        asyncio.get_running_loop().set_default_executor(DaemonThreads())
        assert await asyncio.to_thread(pow, 2, 5) == 32
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)

    asyncio.run(work())


def test_a_thread_is_one_that_the_interpreter_does_not_wait_for() -> None:
    assert DaemonThreads().submit(lambda: current_thread().daemon).result(5.0)


def test_calls_do_not_wait_for_each_other() -> None:
    threads, go = DaemonThreads(), Event()
    stuck = [threads.submit(go.wait, 5.0) for _ in range(40)]
    assert threads.submit(lambda: "done").result(5.0) == "done"
    go.set()
    assert all(each.result(5.0) for each in stuck)


def test_a_call_that_was_cancelled_before_it_began_sets_nothing() -> None:
    threads = DaemonThreads()
    future = threads.submit(lambda: 1)
    assert future.cancel() or future.result(5.0) == 1


def test_a_program_ends_while_a_thread_of_it_hangs() -> None:
    program = (
        "import asyncio, threading\n"
        "from feeds.daemon import DaemonThreads\n"
        "async def work():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    loop.set_default_executor(DaemonThreads())\n"
        "    loop.run_in_executor(None, threading.Event().wait)\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(work())\n"
        "print('left')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr
