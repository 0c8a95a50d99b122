"""A server lasts: its threads share their heaps, and it tells on a signal where they are."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from lab.memory import keep_small

DUMPS = """
import sys, threading
from lab.memory import dump_threads_on_signal
dump_threads_on_signal()
waits = threading.Event()
threading.Thread(target=waits.wait, name="a page", daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")
def test_a_signal_makes_it_print_where_all_threads_are_and_go_on():
    with subprocess.Popen(
        [sys.executable, "-c", DUMPS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        said = "".join(process.stderr.readline() for _ in range(4))
        process.stdin.close()
        rest = process.stderr.read()
        assert process.wait(30) == 0
    assert "most recent call first" in said + rest
    assert "in wait" in said + rest


def test_keeping_small_ends_with_the_lab():
    before, done = set(threading.enumerate()), threading.Event()  # other tests have labs, too
    keep_small(done)
    threads = set(threading.enumerate()) - before
    done.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
