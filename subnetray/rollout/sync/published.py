"""The run's side of synchronisation: what it published, and updates to it from whatever an engine may hold."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np

from subnetray.rollout.sync.transfer import Bits, Update, difference, hash_of, whole
from subnetray.subnetwork.bits import flat_integers
from subnetray.subnetwork.hashing import combined_hash
from subnetray.subnetwork.weights import Weights


class Published:
    """Host copies of the weights that a run published first, its init, which other runs share, and last.

    Three updates lead to them: a small one from those before (:meth:`advance`), a larger one from the init
    (:meth:`since_init`), and the init from nothing (:meth:`init`). No history is kept: an engine that lost everything
    needs the last two.
    """

    def __init__(self, init: Weights) -> None:
        self.shapes = {name: tuple(tensor.shape) for name, tensor in init.items()}
        self._init = {name: flat_integers(tensor).copy() for name, tensor in init.items()}
        _freeze(self._init)
        self._last = dict(self._init)
        self._hashes = {name: hash_of(bits) for name, bits in self._init.items()}
        self._init_hashes = dict(self._hashes)
        self._init_digest = self.digest = combined_hash(self._hashes)
        self.dense_bytes = sum(bits.nbytes for bits in self._init.values())

    @property
    def unchanged(self) -> bool:
        """Whether what was published last is the init."""
        return self.digest == self._init_digest

    def advance(self, weights: Weights) -> Update | None:
        """Take ``weights`` as those published last: the update from those before, None if nothing changed."""
        base, pieces = self.digest, {}
        for name, tensor in weights.items():
            new, last = flat_integers(tensor), self._last[name]
            piece = difference(last, new)
            if piece is None:
                continue
            pieces[name] = piece
            if last.flags.writeable:
                np.copyto(last, new)
            else:
                self._last[name] = new.copy()
            self._hashes[name] = hash_of(new)
        self.digest = combined_hash(self._hashes)
        return Update(self.digest, base, dict(self._hashes), pieces) if pieces else None

    def kept(self) -> Published:
        """These weights as they are now, whatever is published later; what that changes is copied once."""
        _freeze(self._last)
        kept = copy.copy(self)
        kept._last, kept._hashes = dict(self._last), dict(self._hashes)
        return kept

    def since_init(self) -> Update | None:
        """From the init to what was published last; None if that is the init."""
        pairs = ((name, difference(self._init[name], bits)) for name, bits in self._last.items())
        pieces = {name: piece for name, piece in pairs if piece is not None}
        return Update(self.digest, self._init_digest, dict(self._hashes), pieces) if pieces else None

    def init(self) -> Update:
        """The init from nothing."""
        pieces = {name: whole(bits) for name, bits in self._init.items()}
        return Update(self._init_digest, None, self._init_hashes, pieces, shared=True)


def _freeze(arrays: Mapping[str, Bits]) -> None:
    for bits in arrays.values():
        bits.flags.writeable = False
