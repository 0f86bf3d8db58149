"""Send records nowhere, to files, or to a server and, what it does not take, to files."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from subnetray.config import Tracking
from subnetray.driver.tracking.account import host
from subnetray.driver.tracking.checkout import Checkout
from subnetray.driver.tracking.notes import Notes
from subnetray.driver.tracking.patience import Patience
from subnetray.driver.tracking.process import Answer, Process
from subnetray.driver.tracking.records import Record

_SILENCE_S = 45.0  # while runs go on, when nobody waits: longer than W&B's own limit for the start of a run
_REFUSALS = 2  # in a row: not one run's fault any more

Say = Callable[[str], None]


class Backend(Protocol):
    """Takes records. No call but ``close`` waits for anything; ``close`` waits as long as there is patience."""

    def follow(self, record: Record) -> None:
        """Log the steps that a run has written so far."""

    def finish(self, record: Record) -> None:
        """Log all of a record, unless that was done."""

    def close(self, patience: Patience) -> None:
        """Wait until everything is logged, and end."""

    def where(self, key: str) -> str | None:
        """Say where to see the record of this id, or how it gets there; None if that was said, or there is nothing."""


class Disabled:
    """Logs nothing."""

    def follow(self, record: Record) -> None:
        pass

    def finish(self, record: Record) -> None:
        pass

    def close(self, patience: Patience) -> None:
        pass

    def where(self, key: str) -> str | None:
        return None


class Offline:
    """One directory a record, written when its run has ended, which ``wandb sync`` uploads.

    With metrics of the system it is begun with its run, as these are of the time that it is open.
    """

    def __init__(self, tracking: Tracking, notes: Notes, say: Say, checkout: Checkout | None) -> None:
        self._notes, self._say, self._system = notes, say, bool(tracking.system)
        self._place = tracking.project, tracking.entity
        self._failed = False
        self._asked: set[str] = set()  # ids whose steps are being read
        self._process = _process("offline", tracking, notes, self._answer, checkout)

    def start(self) -> None:
        """Start what will be needed soon."""
        self._process.start()

    def follow(self, record: Record) -> None:
        if self._system and record.id not in self._asked:
            self._asked.add(record.id)
            self._process.send({"do": "follow", "record": record.message(), "anew": True})

    def finish(self, record: Record) -> None:
        digests = record.digests()
        if not self._notes.sent(record.id, digests) and not self._notes.kept(record.id, digests):
            self._process.send(
                {
                    **{"do": "finish", "record": record.message(), "anew": False, "digests": digests},
                    "replaces": self._notes.directories(record.id),
                }
            )

    def close(self, patience: Patience) -> None:
        try:
            if not patience.for_disk(self._process):
                self._fail("it took too long")
        finally:
            self._process.kill()
            self._notes.note_place(self._place)  # now: W&B's process makes the directory

    def where(self, key: str) -> str | None:
        return (
            None if self._failed or not self._notes.unsynced() else f"W&B: {sync_line(self._notes.folder)} uploads it"
        )

    def _answer(self, answer: Answer) -> None:
        self._asked.discard(answer.get("id", ""))
        if "error" in answer:
            self._fail(answer["error"])
        elif answer["did"] == "finish":
            self._notes.note_kept(answer["id"], answer["directory"], answer["note"])

    def _fail(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._say(
                f"W&B: {self._notes.folder} could not be written in full ({plain(reason)});"
                " results are not affected, and the same command writes what is missing"
            )


class Online:
    """A server, as long as it answers; then, and for runs that it refuses, files."""

    def __init__(self, tracking: Tracking, notes: Notes, say: Say, checkout: Checkout | None) -> None:
        self._notes, self._say = notes, say
        self._offline = Offline(tracking, notes, say, checkout)
        self._lock = threading.RLock()
        self._asked: set[str] = set()  # ids whose steps are being read
        self._refused: set[str] = set()
        self._records: dict[str, tuple[Record, dict[str, str]]] = {}  # sent, and not answered; with their digests
        self._lost = self._told = False
        self._errors = 0
        self._process = _process("online", tracking, notes, self._answer, checkout)

    def follow(self, record: Record) -> None:
        with self._lock:
            self._watch()
            if self._lost or record.id in self._asked | self._refused:
                return
            self._asked.add(record.id)
            self._process.send(
                {"do": "follow", "record": record.message(), "anew": self._notes.steps_sent(record.id) is not None}
            )

    def finish(self, record: Record) -> None:
        with self._lock:
            self._watch()
            if self._lost or record.id in self._refused:
                self._offline.finish(record)
                return
            digests = record.digests()
            if self._notes.sent(record.id, digests):
                return
            self._records[record.id] = record, digests
            before = self._notes.steps_sent(record.id)
            self._process.send(
                {
                    **{"do": "finish", "record": record.message(), "digests": digests},
                    # Steps that a server has are the same unless the run went otherwise this time. A table has no
                    # number that would show whether the server has it.
                    "anew": record.metrics is None or (before is not None and before != digests["steps"]),
                    "replaces": self._notes.directories(record.id),
                }
            )

    def close(self, patience: Patience) -> None:
        try:
            answered = patience.for_server(self._process, self._offline.start)
            with self._lock:  # whoever hands over what a lost server had been sent has done so by then
                if not answered:
                    self._lose("it does not answer")
            self._process.kill()
            self._offline.close(patience)
        finally:
            self._process.kill()

    def where(self, key: str) -> str | None:
        url = self._notes.address(key)
        return None if self._told or url is None else f"W&B: {url}"

    def _watch(self) -> None:
        if not self._lost and self._process.silent_s > _SILENCE_S:
            self._lose("it does not answer")

    def _answer(self, answer: Answer) -> None:
        with self._lock:
            if self._lost:
                return
            if answer["did"] == "end":
                self._lose(answer["error"])
                return
            key = answer.get("id", "")
            self._asked.discard(key)
            sent = self._records.pop(key, None) if answer["did"] == "finish" else None
            if "error" in answer:
                self._refused.add(key)
                self._tell(answer["error"])
                self._errors += 1
                if sent is not None:
                    self._offline.finish(sent[0])
                if self._errors >= _REFUSALS:
                    self._lose(answer["error"])
            elif sent is not None:
                self._errors = 0
                self._notes.note_sent(key, sent[1], answer.get("url"))

    def _lose(self, reason: str) -> None:
        with self._lock:
            if self._lost:
                return
            self._lost = True
            self._tell(reason)
            self._process.kill()
            for record, _ in self._records.values():
                self._offline.finish(record)
            self._records.clear()

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            folder = self._notes.folder
            self._say(
                f"W&B at {host()} did not take everything ({plain(reason)}); what is missing there"
                f" is kept in {folder}: {sync_line(folder)}"
            )


def sync_line(folder: Path) -> str:
    """The command that uploads what is kept offline in a sweep's ``wandb/``."""
    return f"wandb sync {shlex.quote(str(folder))}/offline-run-*"


def plain(reason: str) -> str:
    """The first line of an error of W&B's, short, without the key."""
    text = next((line.strip() for line in reason.splitlines() if line.strip()), "no reason is known")
    if key := os.environ.get("WANDB_API_KEY"):
        text = text.replace(key, "***")
    return text if len(text) <= 160 else f"{text[:157]}..."


def _process(
    mode: str, tracking: Tracking, notes: Notes, on_answer: Callable[[Answer], None], checkout: Checkout | None
) -> Process:
    where = [tracking.project, *([tracking.entity] if tracking.entity else [])]
    return Process(
        [mode, str(notes.folder), *where],
        notes.folder,
        on_answer,
        lambda: {"system": bool(tracking.system), **(checkout.facts() if checkout else {})},
    )


def backend(tracking: Tracking, folder: Path, say: Say, checkout: Checkout | None = None) -> Backend:
    """Return the backend of ``tracking.mode``; ``folder`` is the sweep's ``wandb/``."""
    if tracking.mode == "disabled":
        return Disabled()
    return (Online if tracking.mode == "online" else Offline)(tracking, Notes(folder), say, checkout)
