"""A package from outside that adds one of each kind, installed: what CONTRIBUTING.md walks through."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_FILES = {
    "schema.py": '''
from dataclasses import dataclass
from typing import ClassVar

from subnetray.config import SFT


@dataclass(frozen=True)
class Frozen(SFT):
    """SFT that trains matrices alone."""

    SEQUENCE_S: ClassVar[float] = 0.2e-3
    MODULE: ClassVar[str] = "toy.frozen"

    name: str = "frozen"
    data: str = "gold"
''',
    "frozen.py": """
from subnetray.algorithms import sft


def build(setting):
    for name, parameter in setting.model.named_parameters():
        parameter.requires_grad = parameter.ndim > 1
    return sft.build(setting)
""",
    "nulls.py": """
from subnetray.nulls import Expectation, Null


class Shares(Null):
    name = "shares"
    title = "shares"
    known = "the density of both masks is known"
    given = "both densities"
    reading = "Masks of the same sizes."
    source = "a package from outside"

    def of_run(self, run):
        return run.mask.density

    def of_pair(self, pair):
        one, two = pair.made[self.name]
        return Expectation(one * two * pair.counts.n)
""",
    "findings.py": """
from subnetray.analysis.contrasts import densities, runs_used
from subnetray.analysis.intervals import t_interval
from subnetray.analysis.verdicts import Claim, above, decided
from subnetray.reporting.document import Heading, Paragraph


def judge(results):
    claim = Claim(
        key="something_changes",
        statement="Training changes something.",
        source="a package from outside",
        test="Density at the baseline is above 0.",
        verdict="not tested",
    )
    estimate = t_interval(densities(results, {}).values())
    return [decided(claim, above(estimate, 0), estimate, "", runs_used(results, [{}]))]


def section(results):
    return [Heading(2, "From outside"), Paragraph(f"There are {len(results.runs)} runs.")]
""",
}
ADDED = {
    "algorithms": "frozen = toy.schema:Frozen",
    "nulls": "shares = toy.nulls:Shares",
    "claims": "something = toy.findings:judge",
    "sections": "outside = toy.findings:section",
}


def install(directory: Path, added: Mapping[str, str] = ADDED) -> dict[str, str]:
    """Install the package toy 1.0 in ``directory``; returns the environment of processes that see it."""
    package, meta = directory / "toy", directory / "toy-1.0.dist-info"
    for each in (package, meta):
        each.mkdir(parents=True)
    for name, text in ({"__init__.py": ""} | _FILES).items():
        (package / name).write_text(text)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("".join(f"[subnetray.{kind}]\n{line}\n" for kind, line in added.items()))
    path = os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
