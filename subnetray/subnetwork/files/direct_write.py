"""Writing large files as fast as the disk takes them, while whoever makes them goes on."""

from __future__ import annotations

import errno
import os
from collections import deque
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from subnetray.subnetwork.files.memory import pages

_PAGE = 4096  # bytes; a write past the page cache is of whole pages, in the file and in memory
_PIECE = 4 << 20  # bytes of one write
_PIECES = 4  # of a run that are on their way: more would leave the cache before they are written


class Output:
    """A file that ``threads`` write to, past the page cache where the file system has a way to do so.

    The cache would take a copy of every byte, and memory for it, long before the disk does; no one reads it so soon.
    """

    def __init__(self, path: Path, threads: Executor) -> None:
        self._threads, self._given = threads, list[Future[None]]()
        self._plain = self._direct = os.open(path, os.O_WRONLY)
        with suppress(OSError):
            self._direct = os.open(path, os.O_WRONLY | os.O_DIRECT)

    def close(self) -> None:
        """Close the file once all that was given to :meth:`write` is done."""
        wait(self._given)
        for file in {self._plain, self._direct}:
            os.close(file)

    def write(self, data: memoryview, position: int) -> Future[None]:
        """Write ``data``, which lies as far from the beginning of a page in memory as ``position`` does in the file."""
        given = self._threads.submit(self._write, data, position)
        self._given = [each for each in self._given if not each.done()] + [given]
        return given

    def _write(self, data: memoryview, position: int) -> None:
        size = data.nbytes
        first = min(-position % _PAGE, size)
        last = size - (size - first) % _PAGE
        for begin, end, file in ((0, first, self._plain), (first, last, self._direct), (last, size, self._plain)):
            self._write_to(file, data[begin:end], position + begin)

    def _write_to(self, file: int, data: memoryview, position: int) -> None:
        while data.nbytes:
            try:
                written = os.pwrite(file, data, position)
            except OSError as error:
                # No whole pages are left after a short write; or a file system asks for larger ones.
                if error.errno != errno.EINVAL or file == self._plain:
                    raise
                file = self._plain
            else:
                data, position = data[written:], position + written


class Run:
    """Bytes that follow one another in a file, gathered in pieces: some are filled while others are written."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._space = pages(_PIECE)
        self._writing: deque[tuple[Future[None], npt.NDArray[np.uint8]]] = deque()
        self._begin = self._end = 0  # of what is gathered, in the file

    def write(self, data: npt.NDArray[np.uint8], position: int) -> None:
        """The next bytes, or the first of others at another place. Raises what went wrong with earlier ones."""
        if position != self._end:
            self._flush()
            self._begin = self._end = position
        while data.size:
            at = self._end - self._begin // _PAGE * _PAGE
            part, data = data[: _PIECE - at], data[_PIECE - at :]
            self._space[at : at + part.size] = part
            self._end += part.size
            if at + part.size == _PIECE:
                self._flush()

    def finish(self) -> None:
        """Write what is left, and wait for all."""
        self._flush()
        while self._writing:
            self._written()

    def _flush(self) -> None:
        first = self._begin % _PAGE
        data = self._space[first : first + self._end - self._begin].data
        self._writing.append((self._output.write(data, self._begin), self._space))
        self._begin = self._end
        self._space = pages(_PIECE) if len(self._writing) < _PIECES else self._written()

    def _written(self) -> npt.NDArray[np.uint8]:
        """Wait for the first piece in work; returns its memory."""
        done, space = self._writing.popleft()
        done.result()
        return space
