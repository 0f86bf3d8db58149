"""Count how much of two checkpoints is compared, and list what is not and why, before any number about the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from subnetray.config import ConfigError
from subnetray.text import percent, shown

ENOUGH = 0.99  # of either side; below it a headline would be about something else than the models


@dataclass(frozen=True)
class Skipped:
    """Something that was not compared, with the weights of either side that it holds.

    ``forgiven`` is what the other side cannot have, such as new rows of a vocabulary; ``refused`` is what is stored in
    a format that is not read, of which no share is small enough to be passed over; ``counted`` is what holds the bits
    of another tensor of the same checkpoint, which is compared.
    """

    name: str
    reason: str
    of_init: int = 0
    of_final: int = 0
    forgiven: bool = False
    refused: str = ""
    counted: bool = False

    @property
    def n(self) -> int:
        """Weights that it holds."""
        return max(self.of_init, self.of_final)


@dataclass(frozen=True)
class Coverage:
    """Weights of the init and of the final, buffers and what is tied aside, and how many of them were left out."""

    init: int
    final: int
    left_init: int
    left_final: int

    @property
    def share_of_init(self) -> float:
        return 1 - self.left_init / self.init if self.init else 1.0

    @property
    def share_of_final(self) -> float:
        return 1 - self.left_final / self.final if self.final else 1.0

    @property
    def share(self) -> float:
        """The smaller of the two shares."""
        return min(self.share_of_init, self.share_of_final)

    @property
    def whole(self) -> bool:
        """Return whether every weight of both is compared."""
        return not self.left_init and not self.left_final

    def content(self) -> dict[str, Any]:
        """Return the part of ``diff.json``."""
        compared = {"init": self.init - self.left_init, "final": self.final - self.left_final}
        return {
            "compared": compared,
            "of": {"init": self.init, "final": self.final},
            "share_of": {"init": self.share_of_init, "final": self.share_of_final},
            "share": self.share,
        }

    def __str__(self) -> str:
        sides = (
            f"{total - left:,} of {total:,} weights of the {side}"
            for side, total, left in (("init", self.init, self.left_init), ("final", self.final, self.left_final))
        )
        return f"{percent(self.share)} compared: {', '.join(sides)}"


def by_reason(skipped: Iterable[Skipped]) -> list[tuple[str, list[Skipped]]]:
    """Group what was left out by reason: what is not read first, then what holds most weights."""
    groups: dict[str, list[Skipped]] = {}
    for each in skipped:
        groups.setdefault(each.reason, []).append(each)
    return sorted(
        groups.items(),
        key=lambda group: (not any(each.refused for each in group[1]), -sum(each.n for each in group[1])),
    )


def left_out(reason: str, group: Sequence[Skipped], names: int = 3) -> str:
    """One line on what was left out for one reason."""
    few = ", ".join(shown(each.name, 100) for each in group[:names]) + (", …" if len(group) > names else "")
    n = sum(each.n for each in group)
    size = f" ({n:,} weights)" if n else ""
    return f"{shown(reason, 200)}: {few}{size}"


def require_enough(coverage: Coverage, skipped: Sequence[Skipped], key: str = "init and final") -> None:
    """Raise ConfigError unless nearly everything is compared, so that a number is about the models named."""
    refused = next((each for each in skipped if each.refused), None)
    forgiven = [each for each in skipped if each.forgiven]
    known = Coverage(
        coverage.init - sum(each.of_init for each in forgiven),
        coverage.final - sum(each.of_final for each in forgiven),
        coverage.left_init - sum(each.of_init for each in forgiven),
        coverage.left_final - sum(each.of_final for each in forgiven),
    )
    if refused is None and known.share >= ENOUGH:
        return
    groups = by_reason(each for each in skipped if each.n and not each.forgiven)
    held = "; ".join(left_out(shown(reason, 90), group, 1) for reason, group in groups[:2])
    more = f"; {len(groups) - 2} more reasons" if len(groups) > 2 else ""
    hint = f"{refused.refused}, or " if refused else ""
    raise ConfigError(
        f"{key}: only {percent(coverage.share_of_init)} of the init and {percent(coverage.share_of_final)} of the final"
        f" can be compared: {held}{more}: {hint}compare the rest with partial=true"
    )
