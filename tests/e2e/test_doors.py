"""What a command shows to others while it runs, and leaves behind: real Ray, Train and vLLM, in their own processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from subnetray.process.environment import SESSION
from tests.foreground import in_foreground

pytestmark = pytest.mark.e2e
# Commands that start and are ended, for a machine that does nothing else.
_minutes = pytest.mark.skipif("SUBNETRAY_DOORS" not in os.environ, reason="takes two minutes: set SUBNETRAY_DOORS=1")

_SECRET = "planted-f3a91c"
_SECRETS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY"),
    *("DB_PASSWORD", "CLIENT_SECRET", "SECRET_OF_MINE", "GITHUB_TOKEN", "RAY_AUTH_TOKEN"),
)
# What torchrun leaves in a shell.
_LAUNCHER = {
    **{"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "192.0.2.77", "MASTER_PORT": "29500"},
    **{"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "GROUP_RANK": "0"},
}
_WORDS = ("algorithm=sft", "algorithm.steps=2", "algorithm.batch_size=8", "evaluation.prompts=8")
_GONE_S = 45.0  # 10 where cores are not shared


class Command:
    """``python -m subnetray.train`` on its way, with a temporary directory of its own."""

    def __init__(self, base: Path, *overrides: str, **environment: str) -> None:
        self.base, self.out = base, base / "out"
        self._said = (base / "said").open("w+")
        (base / "t").mkdir()
        self.process = psutil.Popen(
            [sys.executable, "-m", "subnetray.train", *_WORDS, f"out={self.out}", *overrides],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "TMPDIR": str(base / "t")} | environment,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=in_foreground,
        )

    @property
    def said(self) -> str:
        return (self.base / "said").read_text()

    @property
    def session(self) -> Path | None:
        """Its private directory."""
        return next((self.base / "t").glob("subnetray-*"), None)

    def family(self) -> list[psutil.Process]:
        """The processes that it has started, by the variable that all of them have, and itself."""
        found = [self.process] if self.process.is_running() else []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(SESSION, "").startswith(str(self.base)):
                    found.append(process)
        return found

    def wait(self, due: Callable[[], object], timeout_s: float = 300) -> None:
        deadline = time.monotonic() + timeout_s
        while not due():
            assert time.monotonic() < deadline, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.02)

    def assert_gone(self) -> None:
        """All of its processes, and its private directory, soon."""
        deadline = time.monotonic() + _GONE_S
        while (self.family() or self.session) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.family() == [], self.said
        assert self.session is None, self.said


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory with a short path, as those of sockets are limited."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as path:
        yield Path(path)


def _addresses() -> list[str]:
    """Those of this machine that others reach it by."""
    found = [each.address for link in psutil.net_if_addrs().values() for each in link if each.family == socket.AF_INET]
    return [address for address in found if not address.startswith("127.")]


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 2):
            return True
    except OSError:
        return False


def _with_secret(*places: Path | None) -> list[str]:
    """Files that hold what was planted; those that go meanwhile are looked at no more."""
    found = []
    for place in (place for place in places if place is not None):
        for directory, _, names in os.walk(place):
            for path in (Path(directory, name) for name in names):
                with contextlib.suppress(OSError):
                    if path.is_file() and _SECRET.encode() in path.read_bytes():
                        found.append(str(path))
    return found


def test_doors_are_closed_and_secrets_kept_where_home_cannot_be_made_and_torchrun_was_here(
    tiny: Path, base: Path
) -> None:
    """A run with two workers and an engine of vLLM, looked at all the time."""
    command = Command(
        base,
        *(f"cache={tiny.parents[1]}", "cluster.workers=2", "cluster.cpus_per_run=0.4", "tracking=offline"),
        HOME="/dev/null/home",
        **_LAUNCHER,
        **dict.fromkeys(_SECRETS, _SECRET),
    )
    listening: set[tuple[str, str, int]] = set()
    names, leaks, open_to_others = set[str](), set[str](), set[int]()
    while command.process.poll() is None:
        for process in command.family():
            with contextlib.suppress(psutil.Error):
                names.add(process.name())
                for connection in process.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        listening.add((process.name(), connection.laddr.ip, connection.laddr.port))
        for _, _, port in listening:
            open_to_others.update(port for address in _addresses() if _answers(address, port))
        leaks.update(_with_secret(command.session))
        if command.session is not None:
            with contextlib.suppress(FileNotFoundError):
                assert command.session.stat().st_mode & 0o777 == 0o700
                assert (command.session / "token").stat().st_mode & 0o777 == 0o600
        time.sleep(0.1)
    assert command.process.returncode == 0, command.said
    assert {"gcs_server", "raylet"} <= names
    assert any(name.startswith("ray::") for name in names), names  # titles do not hide workers from the watchdog
    assert len(listening) > 5
    assert {name: ip for name, ip, _ in listening if ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")} == {}
    assert open_to_others == set()
    assert leaks == set()
    assert _with_secret(base, tiny) == []
    command.assert_gone()
    assert list((base / "t").iterdir()) == []


_MOMENTS: dict[str, Callable[[Command], object]] = {
    "a private directory": lambda command: command.session,
    "Ray starts": lambda command: command.session and list(command.session.glob("*/session_2*/logs/gcs_server.out")),
    "engines start": lambda command: "starting the rollout engines" in command.said,
    "a run": lambda command: list(command.out.glob("runs/*/metrics.jsonl")),
    "the report": lambda command: "writing the report" in command.said,
}


@_minutes
@pytest.mark.parametrize("moment", _MOMENTS)
def test_sigterm_is_an_orderly_end_at_every_moment(tiny: Path, base: Path, moment: str) -> None:
    longer = ["algorithm.steps=500"] if moment == "a run" else []  # than it takes to end
    command = Command(base, f"cache={tiny.parents[1]}", "tracking=disabled", *longer)
    command.wait(lambda: _MOMENTS[moment](command))
    os.killpg(command.process.pid, signal.SIGTERM)  # as ``timeout`` does
    code = command.process.wait(240)
    if moment == "the report" and code == 0:  # it had been written
        assert (command.out / "report.md").exists()
    else:
        assert code == 128 + signal.SIGTERM, command.said
        assert "the same command" in command.said
    assert "Traceback" not in command.said
    assert "ray" not in command.said.replace("subnetray", "")
    command.assert_gone()


@_minutes
@pytest.mark.parametrize("later_s", [0.0, 0.7])
@pytest.mark.parametrize("moment", ["a private directory", "Ray starts", "engines start"])
def test_nothing_is_left_of_a_command_that_is_killed_while_it_starts(
    tiny: Path, base: Path, moment: str, later_s: float
) -> None:
    command = Command(base, f"cache={tiny.parents[1]}", "tracking=disabled")
    command.wait(lambda: _MOMENTS[moment](command))
    time.sleep(later_s)
    command.process.kill()
    command.process.wait(60)
    command.assert_gone()


@_minutes
def test_a_second_signal_ends_it_at_once(tiny: Path, base: Path) -> None:
    command = Command(base, f"cache={tiny.parents[1]}", "tracking=disabled")
    command.wait(lambda: _MOMENTS["engines start"](command))
    command.process.send_signal(signal.SIGTERM)
    time.sleep(1.2)
    if command.process.poll() is None:
        command.process.send_signal(signal.SIGTERM)
    # The latter if Python itself has ended by then, and only the process has not.
    assert command.process.wait(60) in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert "Traceback" not in command.said
    command.assert_gone()
