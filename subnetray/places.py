"""Directories that are written to: whether they can be, what room they have, and what an error of theirs means."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from subnetray.config import ConfigError
from subnetray.text import clean


def default_cache() -> Path:
    """``$SUBNETRAY_CACHE``, else ``subnetray`` in the user's cache directory (XDG base directory specification)."""
    chosen = os.environ.get("SUBNETRAY_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    user = os.environ.get("XDG_CACHE_HOME")
    return (Path(user) if user else Path.home() / ".cache") / "subnetray"


def existing(path: Path) -> Path:
    """The path itself, or the nearest directory or file above it that there is."""
    place = path.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    return place


def unwritable(path: Path) -> str | None:
    """Return why no directory could be made or written to at ``path``, or None; nothing is made to find out."""
    place = existing(path)
    if not place.is_dir():
        return f"{place} is no directory"
    status = os.statvfs(place)
    if status.f_flag & os.ST_RDONLY:
        return f"{place} is on a file system that is mounted read-only"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"this user may not write to {place}"
    missing = path.absolute().parts[len(place.parts) :]
    if too_long := [part for part in missing if len(os.fsencode(part)) > status.f_namemax]:
        return f"the name {clean(too_long[0], 40)} is longer than the {status.f_namemax} bytes that {place} allows"
    return None


def require_writable(place: Path, what: str, remedy: str) -> None:
    """Raise ConfigError, which names ``what``, if ``place`` cannot be made or written to."""
    if (problem := unwritable(place)) is not None:
        raise ConfigError(f"{what} must be a directory that can be written to, and {problem}: {remedy}")


def free_bytes(path: Path) -> int:
    """Return the bytes that this user may still write where ``path`` is or would be; 0 where no file can be made."""
    status = os.statvfs(existing(path))
    full = status.f_files > 0 and status.f_favail == 0
    return 0 if full else status.f_bavail * status.f_frsize


def explain(error: OSError, out: Path | None = None, cache: Path | None = None) -> str:
    """One sentence on what could not be read or written, where, and what to do.

    ``out`` and ``cache`` are directories of the command, which are named by their keys.
    """
    path = error.filename if error.filename is not None else out
    place = "a file" if path is None else clean(path if isinstance(path, (str, Path)) else os.fsdecode(path))
    other = f"choose another directory with {_key(path, out, cache)}"
    match error.errno:
        case errno.EROFS:
            return f"{place} cannot be written: its file system is mounted read-only: {other}"
        case errno.EACCES | errno.EPERM:
            return f"{place} is refused to this user: change its permissions, or {other}"
        case errno.ENOSPC:
            return f"{place} cannot be written: no space or no inode is left on its disk: free some, or {other}"
        case errno.EDQUOT:
            return f"{place} cannot be written: this user's disk quota is used up: free some, or {other}"
        case errno.EIO | errno.ESTALE | errno.EREMOTEIO:
            return f"{place} cannot be read or written: its disk or server fails (see dmesg): mend it, or {other}"
        case errno.EMFILE | errno.ENFILE:
            return f"{place} cannot be opened: too many files are open: allow more (ulimit -n)"
    why = error.strerror or str(error) or type(error).__name__
    return clean(f"{place} cannot be read or written: {why}: {other}")


def _key(path: object, out: Path | None, cache: Path | None) -> str:
    """The key, or variable, that says where ``path`` lies."""
    if isinstance(path, (str, Path)):
        whole = Path(path).absolute()
        for key, directory in (("out=", out), ("cache=", cache), ("TMPDIR", _temporary())):
            if directory is not None and whole.is_relative_to(directory.absolute()):
                return key
    return "out="


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except OSError:  # there is none that can be written to
        return None


def hub_cache() -> Path:
    """Return where the Hugging Face libraries keep downloads, as they decide it, without importing them."""
    if chosen := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(os.path.expandvars(chosen)).expanduser()
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expandvars(os.environ.get("HF_HOME") or f"{user}/huggingface")).expanduser() / "hub"
