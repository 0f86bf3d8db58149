"""The engine's side of synchronisation: weights on its host, by digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from subnetray.rollout.sync.transfer import Bits, SyncError, Update, hash_of, write


@dataclass(frozen=True)
class _Copy:
    bits: dict[str, Bits]  # arrays that may not be written are those of an update, or common to several copies
    shared: bool


class Copies:
    """Weights that an engine may be asked to take up again, or to move on from: those used last, as far as ``limit``.

    ``limit`` is in bytes; the last three stay whatever their size (an init and two runs that take turns).
    """

    FEW = 3

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[str, _Copy] = {}  # the least recently used first

    def take(self, digest: str, updates: Sequence[Update]) -> dict[str, Bits] | None:
        """The weights of ``digest``, made by as few of ``updates`` (each from what the one before gave) as possible.

        None if they cannot be made: no base is held. Raises :class:`SyncError`, naming the tensor, if what comes out
        is not what was sent; what it was made from is dropped then.
        """
        start = len(updates)
        while digest not in self._held:
            start -= 1
            if start < 0:
                return None
            base = updates[start].base
            if base is None or base in self._held:
                for update in updates[start:]:
                    self._held[update.digest] = self._made(update)
        copy = self._held.pop(digest)
        self._held[digest] = copy
        while len(self._held) > self.FEW and self._size() > self._limit:
            del self._held[next(iter(self._held))]
        return copy.bits

    def _made(self, update: Update) -> _Copy:
        bits: dict[str, Bits] = {}
        if update.base is not None:
            base = self._held[update.base]
            if not base.shared:
                del self._held[update.base]
            bits = dict(base.bits)
        for name, piece in update.pieces.items():
            if piece.positions is None:
                bits[name] = piece.values.view()
                bits[name].flags.writeable = False
            else:
                if not bits[name].flags.writeable:
                    bits[name] = bits[name].copy()
                write(piece, bits[name])
        for name, sent in update.hashes.items():
            if name not in bits or hash_of(bits[name]) != sent:
                raise SyncError(f"tensor {name!r} is not at the engine what the run published: its checksum differs")
        return _Copy(bits, update.shared)

    def _size(self) -> int:
        # Arrays that several copies have in common count once.
        arrays = {id(array): array.nbytes for copy in self._held.values() for array in copy.bits.values()}
        return sum(arrays.values())
