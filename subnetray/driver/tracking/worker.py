"""The process that W&B lives in: reads records from its standard input, logs them, and says what became of each.

    python -m subnetray.driver.tracking.worker offline|online FOLDER PROJECT [ENTITY]

A line each way is a JSON object. In: first what it is greeted with, ``{"system": bool}`` with ``commit``, ``remote``
and ``diff`` where they are known; then ``{"do": "follow" or "finish", "record": {...}, "anew": bool}``, and to finish
``"digests"`` and ``"replaces"``. Out: ``{"did": "start"}``, then ``{"did": ..., "id": ...}`` for each line, with
``"error"`` if that failed, ``"directory"`` and ``"note"`` of what was written offline, ``"url"`` of what a server
took; and, while it works and
does not wait for anybody, ``{"did": "progress"}``. It ends with its input.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from subnetray.driver.tracking import artifacts, steps
from subnetray.driver.tracking.media import media
from subnetray.driver.tracking.notes import MARK, UNFINISHED
from subnetray.files import write_atomic
from subnetray.store.metrics import METRICS, STEP

# Nobody waits for these: the driver's own patience ends before. They make what stalls a failure of its run alone.
_INIT_S = 25.0
_FINISH_S = 60.0
_CLOSE_S = 5.0
_LANES = 8  # runs that are uploaded at once
_PROGRESS_S = 0.5
_WORKING = 0.1  # processor time a second of what works, on a busy machine too; what waits uses a hundredth


class NotSent(RuntimeError):
    """W&B gave up on a part of a run, which it writes to its log and does not raise."""


@dataclass
class _Open:
    run: Any
    place: Path  # where W&B writes
    next_step: int


class Log:
    """Logs records, several at once if they are of different ids. ``folder`` is the sweep's ``wandb/``."""

    def __init__(self, mode: str, folder: Path, about: Mapping[str, Any], *where: str) -> None:
        self._online = mode == "online"
        self._folder, self._about, (self._project, *entity) = folder, about, where
        self._entity = entity[0] if entity else None
        self._unfinished = folder / UNFINISHED / mode
        self._open: dict[str, _Open] = {}
        self._starting = threading.Lock()

    def follow(self, record: Mapping[str, Any], anew: bool) -> dict[str, Any]:
        """Log the steps written so far but the newest, whose times may not be there yet."""
        found = steps.read(Path(record["metrics"]))
        if len(found) > 1:
            found.popitem()
            self._log(self._begin(record, anew), found)
        return {}

    def finish(
        self, record: Mapping[str, Any], anew: bool, digests: Mapping[str, str], replaces: list[str]
    ) -> dict[str, Any]:
        """Log all of a record. What is offline takes the place of the directories that it ``replaces``."""
        key = record["id"]
        found = {} if record["metrics"] is None else steps.read(Path(record["metrics"]))
        target = self._begin(record, anew)
        self._log(target, found)
        if shown := media(record):
            target.run.log(shown)
        artifacts.log(target.run, record["lineage"])
        # Media, summary, and the last values of the history have one name space.
        used = {*shown, *(name for values in found.values() for name in values)}
        target.run.summary.update(
            {(f"final/{name}" if name in used else name): value for name, value in record["summary"].items()}
        )
        target.run.finish(exit_code=record["exit_code"])
        del self._open[key]
        kept: dict[str, Any] = {}
        if self._online:
            kept = {"url": target.run.url}
            _check_sent(target.place / "logs" / "debug-internal.log")
        else:
            written = target.place / f"run-{key}.wandb"
            _wait_until_closed(written)
            kept = {"directory": target.place.name, "note": {**digests, "bytes": written.stat().st_size}}
            write_atomic(target.place / MARK, json.dumps(kept["note"]))
        for name in replaces:
            shutil.rmtree(self._folder / name)
        if not self._online:
            # It leads out of the directory, to what is removed with this process.
            (target.place / "logs" / "debug-core.log").unlink(missing_ok=True)
            target.place.rename(self._folder / target.place.name)
        self._clear(key)
        return kept

    def give_up(self, key: str, error: Exception) -> str:
        """Forget a record that could not be logged; why it could not."""
        self._open.pop(key, None)
        reason = str(error) or type(error).__name__
        # W&B's own words depend on which request was refused, and may be "<no message>".
        for log in (self._unfinished / key).glob("wandb/*/logs/debug-internal.log"):
            with suppress(OSError):
                if found := re.findall(r'"msg":"api: HTTP error","status":(\d+)', log.read_text(errors="replace")):
                    reason = f"the server answered {found[-1]}"
        with suppress(OSError):
            self._clear(key)
        return reason

    def _begin(self, record: Mapping[str, Any], anew: bool) -> _Open:
        import wandb

        key = record["id"]
        if (known := self._open.get(key)) is not None:
            return known
        self._clear(key)
        place = self._unfinished / key
        place.mkdir(parents=True)  # W&B itself would turn to the system's temporary directory where this fails
        with self._starting:
            run = wandb.init(
                project=self._project,
                entity=self._entity,
                mode="online" if self._online else "offline",
                dir=str(place),
                id=key,
                name=record["name"],
                group=record["group"],
                job_type=record["job_type"],
                config=dict(record["config"]),
                tags=record["tags"],
                notes=record["notes"],
                resume="allow" if self._online and not anew else None,  # None: a run of this id is written over
                reinit="create_new",
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    # It would look in the directory of this process, show who has an account where the code is from,
                    # and keep no diff offline.
                    disable_git=True,
                    git_commit=self._about.get("commit"),
                    git_remote_url=self._about.get("remote"),
                    x_disable_stats=not self._about.get("system") or record["job_type"] == "sweep",
                    # The installed packages are the same for all runs, and looking for them takes 0.1 s.
                    x_save_requirements=record["job_type"] == "sweep",
                    program="subnetray.sweep",
                    # Tables are in the directory alone, which can then be moved and uploaded from anywhere.
                    allow_offline_artifacts=False,
                    init_timeout=_INIT_S,
                    finish_timeout=_FINISH_S,
                    finish_timeout_raises=True,
                    # Who stops a run in the browser does not stop this process.
                    stop_fn=_nothing,
                ),
            )
        target = self._open[key] = _Open(run, Path(run.dir).parent, run.starting_step)
        if record["metrics"] is not None:
            _define(run)
        if diff := self._about.get("diff"):
            path = Path(run.dir) / "diff.patch"  # where W&B looks for it
            path.write_text(diff)
            run.save(str(path), base_path=run.dir, policy="now", glob=False)
        return target

    def _log(self, target: _Open, found: Mapping[int, Mapping[str, Any]]) -> None:
        for step, values in found.items():
            if step >= target.next_step:  # the server has those before
                target.run.log(dict(values), step=step, commit=True)
                target.next_step = step + 1

    def _clear(self, key: str) -> None:
        place = self._unfinished / key
        if place.is_dir():
            shutil.rmtree(place)


def _define(run: Any) -> None:
    """Draw metrics over the optimizer step; the summary has the last value of each, and the best if there is one."""
    run.define_metric(STEP, hidden=True)
    for metric in METRICS:
        summary = f"{metric.best},last" if metric.best else None
        run.define_metric(metric.key, step_metric=STEP, summary=summary)


def _nothing() -> None:
    pass


def _check_sent(log: Path) -> None:
    """Raise NotSent if W&B gave up on a part of a run: a server that refuses in the middle ends no call with an error.

    W&B has no other word of it than its log, whose lines are JSON objects (0.31; a test holds it).
    """
    for line in log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if entry.get("level") == "ERROR":
                raise NotSent(f"{entry.get('msg')} {entry.get('error', '')}".strip())


def _wait_until_closed(path: Path) -> None:
    """Wait until W&B's service has closed a file, which it goes on writing after the call that ends a run."""
    resolved, deadline = str(path.resolve()), time.monotonic() + _CLOSE_S
    services = psutil.Process().children(recursive=True)
    while any(resolved in {file.path for file in service.open_files()} for service in services):
        if time.monotonic() > deadline:
            raise NotSent(f"{path.name} is still being written {_CLOSE_S:.0f} s after its end")
        time.sleep(0.002)


class _Answers:
    """Standard output as it was found. Whatever else is printed goes to standard error, and is not taken for one."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w")
        self._lock = threading.Lock()
        os.dup2(2, 1)

    def __call__(self, answer: Mapping[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(answer) + "\n")
            self._file.flush()


def _lane(log: Log, tasks: queue.SimpleQueue[dict[str, Any]], answer: _Answers) -> None:
    while True:
        task = tasks.get()
        did, record = task.pop("do"), task["record"]
        try:
            kept = log.finish(**task) if did == "finish" else log.follow(**task)
        except Exception as error:
            kept = {"error": log.give_up(record["id"], error)}
        answer({"did": did, "id": record["id"], **kept})


def _report(answer: _Answers) -> None:
    used = time.process_time()
    while True:
        time.sleep(_PROGRESS_S)
        before, used = used, time.process_time()
        if used - before > _WORKING * _PROGRESS_S:
            answer({"did": "progress"})


def _end() -> None:
    """End this process and W&B's, which would go on for a while by itself."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(0)


def _end_with(parent: int) -> None:
    # The input ends with the driver, unless a process that the driver had started holds the other end.
    while os.getppid() == parent:
        time.sleep(1)
    _end()


def main(mode: str, folder: str, *where: str) -> None:
    """Log what comes until there is no more input; what is not finished by then is lost."""
    parent = os.getppid()
    answer = _Answers()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    threading.Thread(target=_report, args=(answer,), daemon=True).start()
    import wandb

    about = json.loads(sys.stdin.readline() or "{}")
    answer({"did": "start", "version": wandb.__version__})
    log = Log(mode, Path(folder), about, *where)
    # One writes to disk as fast as several; a server answers several at once.
    lanes = [queue.SimpleQueue[dict[str, Any]]() for _ in range(_LANES if mode == "online" else 1)]
    for tasks in lanes:
        threading.Thread(target=_lane, args=(log, tasks, answer), daemon=True).start()
    known: dict[str, int] = {}
    for line in sys.stdin:
        task = json.loads(line)
        lanes[known.setdefault(task["record"]["id"], len(known)) % len(lanes)].put(task)
    _end()


if __name__ == "__main__":
    main(*sys.argv[1:])
