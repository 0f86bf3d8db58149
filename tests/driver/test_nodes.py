"""A node of a cluster that lacks something is named in one sentence, without a wait."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import ray

import subnetray
from subnetray.config import ConfigError
from subnetray.driver.cluster import nodes

_SMALL = {"NodeID": "a", "NodeManagerAddress": "10.0.0.1", "Alive": True, "Resources": {"CPU": 2.0}}
_LARGE = {"NodeID": "b", "NodeManagerAddress": "10.0.0.2", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}


def test_a_node_that_has_all_has_nothing_wrong(tmp_path: Path) -> None:
    (tmp_path / "nonce").write_text("n")
    found = nodes.look({"out": (str(tmp_path / "nonce"), "n")}, [str(tmp_path)])
    assert (found["unseen"], found["unwritable"], found["missing"]) == ([], [], [])
    assert nodes.what_is_wrong(found) is None


@pytest.mark.parametrize("content", ["of another sweep", None])
def test_a_directory_that_is_not_shared_is_named_by_its_key(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "nonce").write_text(content)
    found = nodes.look({"out": (str(tmp_path / "nonce"), "n")}, [])
    said = nodes.what_is_wrong(found)
    assert said == f"does not see out={tmp_path}: choose a directory with out= that all nodes share"


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = nodes.what_is_wrong(nodes.look({}, [str(tmp_path), str(tmp_path / "init")]))
    assert said is not None
    assert said.startswith(f"has no model at {tmp_path / 'init'}: ")


def test_other_code_is_found_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = nodes.look({}, ())
    package = tmp_path / "subnetray"
    package.mkdir()
    (package / "__init__.py").write_text("")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        patch.delitem(sys.modules, "subnetray")
        there = nodes.look({}, ())
    assert here["code"] != there["code"]
    said = nodes.what_is_wrong(there)
    assert said is not None
    assert said.startswith("has another version of subnetray's code: ")


def test_a_package_that_is_missing_is_said() -> None:
    said = nodes.what_is_wrong({"unseen": [], "unwritable": [], "missing": [], "code": None})
    assert said is not None
    assert said.startswith(f"has no package subnetray: install version {subnetray.__version__} there")


def test_what_no_node_has_room_for_is_said_and_waited_for() -> None:
    asked = {"a run": {"CPU": 2.0}, "a rollout engine": {"CPU": 4.0, "GPU": 2.0}, "a worker of a run": {"GPU": 0.0}}
    assert list(nodes.too_small([_SMALL, _LARGE], asked)) == [
        "no node of the cluster has 4 CPUs and 2 GPUs, which a rollout engine asks for: it waits until one joins"
    ]
    assert list(nodes.too_small([_SMALL, _LARGE], {"a run": {"CPU": 8.0, "GPU": 1.0}})) == []


def test_the_first_node_that_lacks_something_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [_SMALL, _LARGE, _SMALL | {"Alive": False}])

    def ask(alive: list[Any], files: dict[str, tuple[str, str]], wanted: nodes.Wanted) -> list[Any]:
        assert alive == [_SMALL, _LARGE]
        blind = {"out": (f"/nowhere/{Path(files['out'][0]).name}", files["out"][1])}
        return [("10.0.0.1", nodes.look(files, map(str, wanted.inits))), ("10.0.0.2", nodes.look(blind, ()))]

    monkeypatch.setattr(nodes, "_ask", ask)
    wanted = nodes.Wanted(tmp_path / "out", tmp_path / "cache", (), {"a run": {"CPU": 1.0}})
    with pytest.raises(ConfigError, match=r"^cluster: node 10\.0\.0\.2 does not see out=/nowhere: "):
        nodes.check(wanted, pytest.fail)
    assert not [*(tmp_path / "out").iterdir(), *(tmp_path / "cache").iterdir()]
