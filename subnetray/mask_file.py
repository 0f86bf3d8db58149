"""A mask's file as a plan sees it: whether it is one, of which tensors, and its identity; without torch.

:meth:`subnetray.subnetwork.Mask.load` reads the mask itself, and ``subnetwork.files.container`` writes the format.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from subnetray.config import ConfigError, Subnetwork
from subnetray.headers import inflate, open_regular, read_header, shapes_of

_KEY = "subnetwork.mask"
_VERSION = 2  # as in subnetwork.files.container


@dataclass(frozen=True, eq=False)
class MaskFile:
    """A whole mask file that is not empty: the ``shapes`` of its tensors, and a ``digest`` of shapes and bits.

    The digest leaves out what else the file says, such as the run that wrote it.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]]
    digest: str

    def require(self, shapes: dict[str, tuple[int, ...]], of: Path) -> None:
        """Raise ConfigError unless the mask has the tensors of the model ``of``."""
        for name in (*self.shapes, *shapes):
            one, other = self.shapes.get(name), shapes.get(name)
            if one != other:
                has = [f"of shape {list(shape)}" if shape is not None else "absent" for shape in (one, other)]
                raise ConfigError(
                    f"{_KEY}: {self.path} is a mask of another model than {of}: tensor {name!r} is {has[0]} in the"
                    f" mask and {has[1]} in the model"
                )


def inspect(path: Path) -> MaskFile:
    """Read all of a mask file; raises ConfigError if it is missing, damaged, no mask, or empty."""
    try:
        stat = path.stat()
        return _inspect(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ConfigError(
            f"{_KEY}: {path} cannot be read ({error.strerror or error}): name a mask.safetensors of a run or of diff,"
            f" a run's id, or an arm ({', '.join((*Subnetwork.ARMS, *Subnetwork.SCORES))})"
        ) from error


@cache  # every run of a grid asks for its own
def _inspect(path: Path, _: int, __: int) -> MaskFile:
    import numpy as np
    import xxhash

    try:
        header = read_header(path)
        with open_regular(path) as file:
            own = json.loads(header.metadata["subnetray"])
            if own["kind"] != "mask":
                raise ConfigError(f"{_KEY}: {path} holds a {own['kind']}, not a mask: name a mask.safetensors")
            if own["version"] != _VERSION:
                raise ConfigError(f"{_KEY}: {path} is of version {own['version']}, not {_VERSION}: write it again")
            shapes = shapes_of(own["shapes"])
            compressed: dict[str, int] = own.get("compressed", {})
            hashes: dict[str, str] = {}
            filled = False
            for name, shape in shapes.items():
                entry = header.entries[name]
                file.seek(entry.begin)
                stored = file.read(entry.nbytes)
                if xxhash.xxh3_64_hexdigest(stored) != own["checksums"][name]:
                    raise ValueError
                nbytes, found = -(-math.prod(shape) // 8), xxhash.xxh3_128()
                if (compressed.get(name, entry.nbytes)) != nbytes:
                    raise ValueError
                # Part by part: bits of a mask that is nearly empty are some thousand times as long as what is stored.
                for raw in inflate(stored, nbytes) if name in compressed else (stored,):
                    filled = filled or bool(np.frombuffer(raw, np.uint8).any())
                    found.update(raw)
                hashes[name] = found.hexdigest()
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(
            f"{_KEY}: {path} is damaged, or no mask that subnetray wrote: write or copy it again"
        ) from None
    if not filled:
        raise ConfigError(f"{_KEY}: {path} is an empty mask: nothing would be trained")
    return MaskFile(path, shapes, digest(shapes, hashes))


def digest(shapes: Mapping[str, tuple[int, ...]], hashes: Mapping[str, str]) -> str:
    """Identity of a mask of these shapes; ``hashes``: XXH3-128 of every tensor's packed bits, in hex."""
    content = {name: [list(shape), hashes[name]] for name, shape in shapes.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
