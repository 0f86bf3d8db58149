"""A sweep in a tenth of a second a run, for tests of the harness: ``python stand_in.py FLAW WORDS...``.

It behaves as a sweep should, but for its flaw: ``repeats`` runs that are done, ``loses`` one, ``differs`` in a file,
leaves an ``orphan`` or a ``leftover``, ends with a ``traceback``, does not ``heal`` what was damaged, is ``slow``, or
has ``none``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_OUT = Path("sweep")
_RUNS = [f"{number:012x}" for number in range(6)]
_FILES = ("config.yaml", "metrics.jsonl", "mask.safetensors", "delta.safetensors")
_PAUSE_S = 0.1 if sys.argv[1:2] == ["slow"] else 0.02


def main(flaw: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    _OUT.mkdir(exist_ok=True)
    lock = os.open(_OUT / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another sweep is running in sweep")
        return 2
    if flaw == "heal" and any(_OUT.glob("runs/*")):
        return 0
    for path in _OUT.rglob(".*.*"):
        path.unlink()
    _flawed(flaw)
    _write(_OUT / "sweep.yaml", "runs: 6\n")
    for run_id in _RUNS:
        if flaw == "repeats" or not _whole(_OUT / "runs" / run_id):
            _run(_OUT / "runs" / run_id)
    for name in ("runs.parquet", "overlap.parquet"):
        _write(_OUT / name, name * 9)
    print("writing the report", flush=True)
    for name in ("claims.json", "tables/effects.tex", "figures/density.png", "report.md"):
        time.sleep(5 * _PAUSE_S)
        _write(_OUT / name, json.dumps([name, time.time() if flaw == "differs" and name == "report.md" else 0]))
    print("the report is sweep/report.md")
    return 0


def _flawed(flaw: str) -> None:
    if flaw == "loses":
        shutil.rmtree(_OUT / "runs" / _RUNS[0], ignore_errors=True)
        time.sleep(10 * _PAUSE_S)
    elif flaw == "orphan":
        subprocess.Popen(["sleep", "60"], start_new_session=True)
    elif flaw == "leftover":
        Path(tempfile.mkdtemp(), "left").write_text("behind")
    elif flaw == "traceback":
        raise RuntimeError("this is a traceback")


def _run(directory: Path) -> None:
    for step in range(3):
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "metrics.jsonl").open("a" if step else "w") as file:
            file.write(json.dumps({"step": step + 1}) + "\n")
        time.sleep(_PAUSE_S)
    for name in ("config.yaml", "mask.safetensors", "delta.safetensors"):
        _write(directory / name, f"{directory.name} {name}" * 9)
    time.sleep(_PAUSE_S)
    _write(directory / "result.json", _result(directory))


def _result(directory: Path) -> str:
    hashes = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in _FILES}
    return json.dumps({"status": "done", "run_id": directory.name, "files": hashes}, indent=1)


def _whole(directory: Path) -> bool:
    try:
        return (directory / "result.json").read_text() == _result(directory)
    except (OSError, ValueError):
        return False


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    if path.suffix == ".parquet":
        time.sleep(_PAUSE_S)
    Path(name).replace(path)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except OSError as error:
        print(f"{_OUT.absolute()}: {error}")
        sys.exit(1)
