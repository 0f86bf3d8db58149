"""Messages between processes of one machine: every one is answered, or it is said that it was not."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from subnetray.rollout.channel import Channel, serve


def _name(name: str | None) -> str:
    assert name is not None
    return name


def test_messages_of_all_sizes_are_answered_whoever_else_asks() -> None:
    name = _name(serve(lambda message: message[::-1]))

    def ask(number: int) -> None:
        channel = Channel(name)
        for size in (0, 1, 1000, 3 << 20):
            message = bytes([number]) + os.urandom(size)
            assert channel.send(message, timeout_s=60).get(timeout_s=60) == message[::-1]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(8)))


def test_answers_are_waited_for_in_any_order() -> None:
    channel = Channel(_name(serve(bytes.upper)))
    replies = [channel.send(bytes([97 + index]), timeout_s=60) for index in range(5)]
    assert [reply.get(timeout_s=60) for reply in reversed(replies)] == [b"E", b"D", b"C", b"B", b"A"]
    # Connections are used again.
    assert len(channel._free) == 5
    channel.send(b"f", timeout_s=60).get(timeout_s=60)
    assert len(channel._free) == 5


def test_an_answer_that_does_not_come_in_time() -> None:
    come = threading.Event()

    def answer(message: bytes) -> bytes:
        come.wait(60)
        return message

    channel = Channel(_name(serve(answer)))
    reply = channel.send(b"late", timeout_s=60)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        reply.get(timeout_s=0.2)
    assert time.monotonic() - start < 30
    # What comes of it later is nobody's answer.
    come.set()
    assert channel.send(b"next", timeout_s=60).get(timeout_s=60) == b"next"


def _serving(pipe: Any) -> None:
    def answer(message: bytes) -> bytes:
        if message == b"end":
            os._exit(0)
        return message

    pipe.send(serve(answer))
    pipe.poll(60)  # until the test is over


def test_a_process_that_ends() -> None:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serving, args=(there,))
    process.start()
    name = here.recv()
    channel = Channel(name)
    assert channel.send(b"here", timeout_s=60).get(timeout_s=60) == b"here"
    waiting = channel.send(b"end", timeout_s=60)
    with pytest.raises(ConnectionError):
        waiting.get(timeout_s=60)
    process.join()
    with pytest.raises(ConnectionError):
        Channel(name)


def test_others_are_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(_name(serve(bytes.upper)))
    assert channel.send(b"a", timeout_s=60).get(timeout_s=60) == b"A"
    monkeypatch.setattr(os, "getuid", lambda: -1)  # of whoever owns the server, which sees who connects
    with pytest.raises(ConnectionError):
        Channel(channel._name).send(b"a", timeout_s=60).get(timeout_s=60)
    monkeypatch.undo()
    assert channel.send(b"a", timeout_s=60).get(timeout_s=60) == b"A"


def test_threads_end_with_who_asked() -> None:
    name = _name(serve(bytes.upper))
    before = set(threading.enumerate())
    channel = Channel(name)
    assert channel.send(b"a", timeout_s=60).get(timeout_s=60) == b"A"
    (thread,) = set(threading.enumerate()) - before
    del channel
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


_SCARCE = """
import logging, os, resource, socket, sys, threading
from subnetray.rollout.channel import Channel, serve

logging.basicConfig(stream=sys.stdout, format="%(message)s")
name = serve(bytes.upper)
waiting = socket.socket(socket.AF_UNIX)  # made while that was possible
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    waiting.connect(name)
    threading.Event().wait(0.5)
    for file in held:
        os.close(file)
print(Channel(name).send(b"still here", timeout_s=60).get(timeout_s=60))
"""


def test_who_serves_outlives_a_time_without_file_descriptors() -> None:
    """... and says so once."""
    done = subprocess.run([sys.executable, "-c", _SCARCE], capture_output=True, text=True, timeout=120, check=True)
    said = done.stdout.splitlines()
    assert said == ["a message waits until the system has means to take it: Too many open files", "b'STILL HERE'"]
