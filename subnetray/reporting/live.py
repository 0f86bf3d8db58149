"""The page of a sweep that runs: what is done so far, in a page that loads itself again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from subnetray.analysis.effects import done
from subnetray.reporting.document import Block, Paragraph
from subnetray.reporting.report import analyse, everything
from subnetray.reporting.source import read
from subnetray.reporting.writers.html import to_html


def live_page(directory: Path, scratch: Path, again_s: int) -> str:
    """The page of the sweep in ``directory`` as HTML; pictures are drawn in ``scratch``, and nothing else is written.

    It loads itself again every ``again_s`` seconds. Raises ConfigError, one sentence, for a directory that is no sweep.
    """
    sweep = read(directory)
    title, *rest = everything(dataclasses.replace(analyse(sweep), pictures=scratch))
    count = f"{len(done(sweep.runs))} of {sweep.planned} runs are done"
    line = Paragraph(f"**{count}.** The sweep goes on, and until it has ended this page loads itself again.")
    blocks: list[Block] = [title, line, *rest]

    def picture(path: str) -> bytes:
        return (scratch / path).read_bytes()

    return to_html(blocks, f"{count}: {sweep.grid.name}", picture, folded=True, again_s=again_s)
