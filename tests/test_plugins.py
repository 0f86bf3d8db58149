"""What other packages add by entry points: found where it is declared, and refused in a sentence where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.outside import ADDED, install


def _run(directory: Path, *command: str, **added: str) -> subprocess.CompletedProcess[str]:
    environment = install(directory, added or ADDED)
    return subprocess.run(
        [sys.executable, "-m", *command], env=environment, cwd=directory, capture_output=True, text=True, timeout=120
    )


def test_an_algorithm_needs_no_file_in_conf(tmp_path: Path) -> None:
    done = _run(
        tmp_path, "subnetray.sweep", "+grid=single", "algorithm=frozen", "algorithm.lr=1e-5", "dry_run=true", "out=here"
    )
    assert done.returncode == 0, done.stderr
    assert "1 run" in done.stdout


def test_its_keys_are_checked_as_those_of_others(tmp_path: Path) -> None:
    done = _run(tmp_path, "subnetray.sweep", "+grid=single", "algorithm=frozen", "algorithm.data=x", "out=here")
    assert done.returncode == 2
    assert "algorithm.data must be" in done.stderr


def test_a_null_has_columns_and_a_row_of_the_docs(tmp_path: Path) -> None:
    done = _run(tmp_path, "subnetray.store.tables_page")
    assert done.returncode == 0, done.stderr
    assert "`shares_expected`" in done.stdout
    assert "| `shares`, the shares null | Masks of the same sizes. |" in done.stdout


@pytest.mark.parametrize(
    ("kind", "line", "reason"),
    [
        ("claims", "steep = toy.nowhere:judge", "ModuleNotFoundError: No module named 'toy.nowhere'"),
        ("claims", "steep = toy.findings", "a judge is a function of Results that returns a list of claims"),
        ("sections", "steep = toy.findings", "a section is a function of Results that returns blocks"),
        ("nulls", "ulp = toy.nulls:Shares", "there is one of that name already"),
        ("nulls", "steep = toy.nulls:Shares", "its name is 'shares'"),
        ("nulls", "shares = toy.schema:Frozen", "a null is a subclass of subnetray.nulls.Null"),
        ("algorithms", "sft = toy.schema:Frozen", "there is one of that name already"),
        ("algorithms", "steep = toy.schema:Frozen", "its schema has the name 'frozen'"),
        ("algorithms", "frozen = toy.nulls:Shares", "an algorithm is a subclass of subnetray.config.Algorithm"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence_before_any_work(tmp_path: Path, kind: str, line: str, reason: str) -> None:
    done = _run(tmp_path, "subnetray.report", "sweep=here", **{kind: line})
    assert done.returncode == 2
    name = line.split(" ")[0]
    assert done.stderr == (
        f"subnetray: toy 1.0 adds {name} to subnetray.{kind}, and that fails: {reason}: mend it, or uninstall it\n"
    )


def test_the_doctor_lists_them(tmp_path: Path) -> None:
    environment = install(tmp_path)
    said = subprocess.run(
        [sys.executable, "-c", "from subnetray.doctor.software import packages\nprint(*packages(), sep='\\n')"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    for kind, line in ADDED.items():
        assert f"added to {kind}: {line} (toy 1.0)" in said.stdout


def test_nodes_with_other_plug_ins_are_found(tmp_path: Path) -> None:
    environment = install(tmp_path)
    code = (
        "from subnetray.driver.cluster import nodes\nhere = nodes.look({}, ())\n"
        "print(nodes.what_is_wrong(here), nodes.what_is_wrong(here | {'plugins': here['plugins'][1:]}), sep='\\n')"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stdout.splitlines() == [
        "None",
        "and this one do not have the same frozen = toy.schema:Frozen of subnetray.algorithms: install the same"
        " packages that extend subnetray everywhere",
    ], said.stderr
