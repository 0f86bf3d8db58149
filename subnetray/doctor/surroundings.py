"""Directories, what earlier sweeps have left in them, and what other launchers have left in the environment."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from subnetray.doctor.finding import Finding
from subnetray.places import default_cache, existing, free_bytes, hub_cache, unwritable

_MIB, _GIB = 1 << 20, 1 << 30
_LEAST, _FEW = 64 * _MIB, 2 * _GIB
_SIZES_S = 1.0  # that may be spent on adding up the sizes of a directory's files
_OLD_S = 86400.0
# What torchrun, PyTorchJob, Slurm and MPI tell the processes that they start, Ray its clients and W&B its agents.
_LAUNCHERS = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "MASTER_ADDR", "MASTER_PORT"),
    *("TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE"),
    *("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "FSDP_VERSION"),
    *("RAY_ADDRESS", "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_DISABLED", "WANDB_MODE"),
)


def disks() -> Iterator[Finding]:
    """Check that results, inits, downloads and scratch can be written, and their room."""
    try:
        temporary = tempfile.gettempdir()
    except OSError:
        yield Finding("problem", "no directory for temporary files can be written to", "set TMPDIR to one that can")
    else:
        yield from _disk("temporary files", Path(temporary), "set TMPDIR")
    yield from _disk("results", Path.cwd() / "outputs", "go elsewhere, or write out=")
    yield from _disk("prepared inits", default_cache(), "set SUBNETRAY_CACHE")
    yield from _disk("the hub's files", hub_cache(), "set HF_HOME")


def home() -> Iterator[Finding]:
    """The user's directory, to which libraries write without being asked."""
    try:
        place = Path.home()
    except RuntimeError:
        yield Finding(
            "problem", "HOME is not set, and this user has none", "set HOME to a directory that can be written to"
        )
        return
    if (why := unwritable(place)) is not None:
        yield Finding("problem", f"HOME is {place}, which cannot be written to ({why})", "set HOME to one that can")
    else:
        yield Finding("ok", f"HOME: {place} can be written to")


def caches() -> Iterator[Finding]:
    """Report what the caches hold."""
    for what, place, how in (
        ("prepared inits", default_cache() / "models", "what is removed is made again when a run needs it"),
        ("the hub's files", hub_cache(), "`hf cache` lists and removes"),
    ):
        size, whole = _size(place)
        yield Finding("ok", f"cache of {what}: {'' if whole else 'more than '}{_amount(size)} in {place} ({how})")


def left_behind() -> Iterator[Finding]:
    """Directories of Ray's sessions, and scratch of ours, that no process uses any more."""
    base = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("RAY_TEMP_DIR") or "/tmp") / "ray"
    sessions = [each for each in base.glob("session_[0-9]*") if each.is_dir() and not each.is_symlink()]
    used = _commands() if sessions else ""
    stale = [each for each in sessions if each.name not in used]
    if stale:
        size, whole = _size(*stale)
        amount = f"{'' if whole else 'more than '}{_amount(size)}"
        what = f"{len(stale)} sessions of Ray that have ended hold {amount} in {base}"
        yield Finding("note", what, f"remove {base}/session_* of which no process runs")
    else:
        yield Finding("ok", f"no session of Ray was left behind in {base} ({len(sessions)} in use)")
    temporary = Path(tempfile.gettempdir())
    old = [each for each in temporary.glob("subnetray-*") if time.time() - each.lstat().st_mtime > _OLD_S]
    if old:
        size, whole = _size(*old)
        what = f"{len(old)} scratch directories older than a day hold {'' if whole else 'more than '}{_amount(size)}"
        yield Finding("note", what, f"remove {temporary}/subnetray-* while no sweep runs")


def launchers() -> Iterator[Finding]:
    """Names of variables, not their values."""
    if found := [name for name in _LAUNCHERS if name in os.environ]:
        what = f"variables that other launchers set are in this shell ({', '.join(found)})"
        yield Finding("note", what, f"write unset {' '.join(found)}, unless they are meant for subnetray")
    else:
        yield Finding("ok", "no variable of another launcher is set")


def _disk(what: str, place: Path, how: str) -> Iterator[Finding]:
    if (why := unwritable(place)) is not None:
        yield Finding("problem", f"{place}, for {what}, cannot be written to ({why})", how)
        return
    free = free_bytes(place)
    said = f"disk of {what}: {_amount(free)} free at {existing(place)}"
    if free < _LEAST:
        yield Finding("problem", said, f"free some, or {how}")
    elif free < _FEW:
        yield Finding("note", said, f"enough for the embedded model only: free some, or {how}")
    else:
        yield Finding("ok", said)


def _commands() -> str:
    """The command lines of all processes, as far as this user may see them."""
    return "\n".join(" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))


def _size(*places: Path) -> tuple[int, bool]:
    """Bytes of all files below, links not followed, and whether there was time to look at all."""
    until, size, folders = time.monotonic() + _SIZES_S, 0, [str(place) for place in places]
    while folders:
        if time.monotonic() > until:
            return size, False
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_size
        except OSError:  # gone meanwhile, or not for this user to see
            continue
    return size, True


def _amount(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"
