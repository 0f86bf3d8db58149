"""A run on a Ray cluster that was there before, and stays when the run has ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tests.foreground import in_foreground

pytestmark = pytest.mark.e2e

_WORDS = ("algorithm=grpo", "algorithm.steps=2", "algorithm.batch_size=8", "evaluation.prompts=8", "tracking=disabled")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of one node, as ``ray start`` makes it: it asks for a token."""
    with tempfile.TemporaryDirectory(prefix="j", dir="/tmp") as directory, pytest.MonkeyPatch.context() as patch:
        token = Path(directory, "token")
        token.write_text("0" * 64)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        port = 20_000 + os.getpid() % 10_000
        head = ("--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={directory}/ray")
        with _node(Path(directory, "said"), *head) as process:
            yield f"127.0.0.1:{port}"
            assert process.poll() is None


@contextlib.contextmanager
def _node(said: Path, *words: str, before: Sequence[str] = ()) -> Iterator[psutil.Popen]:
    """A node of Ray's, by ``ray start`` with ``words``, while entered; ``before`` is what starts that."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *words]
    with said.open("w") as file:
        node = psutil.Popen(
            [*before, *command], stdout=file, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=in_foreground
        )
    try:
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in said.read_text():
            assert node.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        yield node
    finally:
        _end(node)


def _end(head: psutil.Popen) -> None:
    """Tell it to end, and with it all of Ray."""
    processes = [head]
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself
        processes += head.children(recursive=True)
        head.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=10)


def _train(out: Path, tiny: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "subnetray.train", *_WORDS, f"cache={tiny.parents[1]}", f"out={out}", *words]
    environ = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=400, check=False)


def test_a_run_joins_a_cluster_and_gives_the_bytes_of_one_without(tiny: Path, address: str, tmp_path: Path) -> None:
    """An engine of vLLM serves it, in a worker that Ray Train starts; locally a run is its trial's own process."""
    joined = _train(tmp_path / "joined", tiny, f"cluster.address={address}", "cluster.workers=1")
    assert joined.returncode == 0, joined.stdout + joined.stderr
    assert "1 runs done, 0 failed" in joined.stdout
    alone = _train(tmp_path / "alone", tiny)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    (one,), (other,) = (
        [json.loads(path.read_text()) for path in (tmp_path / name).glob("runs/*/result.json")]
        for name in ("joined", "alone")
    )
    assert one["final_hash"] == other["final_hash"]


def test_a_cluster_that_asks_for_a_token_says_what_to_set(address: str, tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    command = [sys.executable, "-m", "subnetray.train", *_WORDS, f"cluster.address={address}", f"out={tmp_path}/out"]
    said = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=200, check=False)
    assert said.returncode == 1
    (sentence,) = (line for line in said.stderr.splitlines() if "gcs_client" not in line)  # Ray's own, once a second
    assert sentence.startswith(f"subnetray: no Ray cluster could be joined at cluster.address={address}: ")
    assert sentence.endswith("set RAY_AUTH_MODE=token)")


# In its own view of the file system, where another directory lies over the one that is given first.
_APART = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
_CAN_BE_APART = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _CAN_BE_APART, reason="a node with another file system needs the right to mount one")
def test_a_node_that_does_not_share_the_directory_is_named_before_any_work(
    tiny: Path, address: str, tmp_path: Path
) -> None:
    out = tmp_path / "shared" / "run"
    out.parent.mkdir()
    with _node(tmp_path / "said", f"--address={address}", "--num-cpus=1", before=(*_APART, str(out.parent))):
        began = time.monotonic()
        refused = _train(out, tiny, f"cluster.address={address}")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("subnetray: ")]
    assert re.fullmatch(
        rf"subnetray: cluster: node \S+ does not see out={out}: choose a directory with out= that all nodes share", line
    )
    assert time.monotonic() - began < 120
    assert not (out / "runs").exists()
