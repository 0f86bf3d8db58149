"""The server that is taken for W&B's, and what is read of W&B's files."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.chaos.tracked import problems
from tests.chaos.wandb_server import Server


def _ask(server: Server, timeout: float = 5) -> int:
    request = urllib.request.Request(f"{server.url}/graphql", json.dumps({"query": "query Viewer { viewer }"}).encode())
    with urllib.request.urlopen(request, timeout=timeout) as response:
        assert json.loads(response.read())["data"]["viewer"]["entity"] == "tester"
        return int(response.status)


def test_a_server_that_works_answers_until_it_dies() -> None:
    with Server("well") as server:
        assert _ask(server) == 200
        server.die()
        with pytest.raises(OSError, match=r"refused|reset"):
            _ask(server)
        assert server.asked == 1


@pytest.mark.parametrize(("way", "code"), [("unauthorised", 401), ("broken", 500)])
def test_a_server_that_refuses_says_so(way: str, code: int) -> None:
    with Server(way) as server, pytest.raises(urllib.error.HTTPError) as caught:
        _ask(server)
    assert caught.value.code == code


def test_a_server_that_is_silent_takes_the_request_and_one_that_is_closed_does_not() -> None:
    with Server("silent") as server:
        with pytest.raises(TimeoutError):
            _ask(server, timeout=0.3)
        assert server.asked == 1
    with Server("closed") as server, pytest.raises(OSError, match="refused"):
        _ask(server)


# In a process of its own: W&B leaves its service to the one that logs, and takes sys.exit for itself.
_LOGGING = """
import sys
import wandb

directory, identity, run_id, *steps = sys.argv[1:]
settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True)
run = wandb.init(mode="offline", dir=directory, id=identity, config={"run_id": run_id}, settings=settings)
for step in map(int, steps):
    run.log({"step": step}, step=step)
run.finish()
"""


def _log(directory: Path, identity: str, run_id: str, steps: range) -> None:
    words = [str(directory), identity, run_id, *map(str, steps)]
    subprocess.run([sys.executable, "-c", _LOGGING, *words], check=True, cwd=directory)


def test_every_run_must_be_one_of_w_b_s_with_every_step_once(tmp_path: Path) -> None:
    found = tmp_path / "wandb"
    _log(tmp_path, "one", "a", range(1, 3))
    assert problems(found, {"a": 2}) == []
    assert problems(found, {"a": 3, "b": 1}) == [
        "W&B has of run a the steps 1, 2, not 1 to 3, each once",
        "W&B has of run b the steps none, not 1 to 1, each once",
    ]
    _log(tmp_path, "again", "a", range(2, 4))
    assert problems(found, {"a": 3}) == [
        "run a is 2 W&B runs",
        "W&B has of run a the steps 1, 2×2, 3, not 1 to 3, each once",
    ]
