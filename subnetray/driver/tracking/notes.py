"""Note what has been logged: in each offline directory, and in one file for all that a server has taken."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from subnetray.files import write_atomic

MARK = "subnetray.json"  # in each offline directory that was made here, whole before the directory gets its place
_PLACE = "place.json"
UNFINISHED = ".subnetray-unfinished"  # in wandb/: what is being written, and is of no use to anybody else


class Notes:
    """The notes of one sweep's ``wandb/``. A damaged or false note counts as none: its run is logged again.

    Only directories that hold a note are replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sent_file = folder / "logged.json"
        self._sent: dict[str, dict[str, str]] = {
            key: value for key, value in _read(self._sent_file).items() if isinstance(value, dict)
        }
        self._kept: dict[str, dict[str, dict[str, Any]]] = {}  # id -> directory's name -> note
        for mark in sorted(folder.glob(f"offline-run-*/{MARK}")):
            # offline-run-DATE_TIME-ID: W&B's name for it. An id may hold a dash.
            identity = mark.parent.name.split("-", 3)[3:]
            for key in identity:
                self._kept.setdefault(key, {})[mark.parent.name] = self._whole(key, mark)

    def directories(self, key: str) -> list[str]:
        """Names of the offline directories of an id that were made here."""
        return sorted(self._kept.get(key, ()))

    def kept(self, key: str, digests: dict[str, str]) -> bool:
        """Return whether there is one offline directory of this id, and it holds this."""
        found = list(self._kept.get(key, {}).values())
        return len(found) == 1 and found[0].items() >= digests.items()

    def sent(self, key: str, digests: dict[str, str]) -> bool:
        """Whether a server has this, by what it answered, or by what ``wandb sync`` left beside the offline file."""
        if self._sent.get(key, {}).items() >= digests.items():
            return True
        synced = any(any((self.folder / name).glob("*.wandb.synced")) for name in self.directories(key))
        return synced and self.kept(key, digests)

    def steps_sent(self, key: str) -> str | None:
        """The hash of the steps that a server was sent of this id, if it was noted."""
        return self._sent.get(key, {}).get("steps")

    def address(self, key: str) -> str | None:
        """Return where a server shows this id, if it said so."""
        return self._sent.get(key, {}).get("url")

    def unsynced(self) -> bool:
        """Return whether an offline directory that was made here is yet to be uploaded."""
        return any(
            not any((self.folder / name).glob("*.wandb.synced")) for names in self._kept.values() for name in names
        )

    def note_place(self, place: tuple[str, str | None]) -> None:
        """Note project and entity that W&B is told to keep in what is logged from here, if anything is."""
        if self.folder.is_dir() and self.place() != place:
            with suppress(OSError):  # it can be said to who asks
                write_atomic(self.folder / _PLACE, json.dumps(dict(zip(("project", "entity"), place, strict=True))))

    def place(self) -> tuple[str, str | None] | None:
        """Project and entity as they were noted; None if they were not."""
        found = _read(self.folder / _PLACE)
        project, entity = found.get("project"), found.get("entity")
        return (project, entity if isinstance(entity, str) else None) if isinstance(project, str) else None

    def note_sent(self, key: str, digests: dict[str, str], url: str | None = None) -> None:
        """A server has taken this, and shows it at ``url``; offline directories of the id are gone."""
        self._sent[key] = {**digests, **({"url": url} if url else {})}
        self._kept.pop(key, None)
        self._write()

    def note_kept(self, key: str, name: str, note: dict[str, Any]) -> None:
        """This is in the offline directory ``name``, in place of all others of the id."""
        self._kept[key] = {name: note}
        if self._sent.pop(key, None) is not None:
            self._write()

    def _whole(self, key: str, mark: Path) -> dict[str, Any]:
        note = _read(mark)
        try:
            size = (mark.parent / f"run-{key}.wandb").stat().st_size
        except OSError:
            return {}
        return note if note.get("bytes") == size else {}

    def _write(self) -> None:
        write_atomic(self._sent_file, json.dumps(self._sent, indent=0, sort_keys=True))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
