"""What processes of a driver are told: where to write, and nothing of a launcher; then all is as it was."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from subnetray.driver.session import session
from subnetray.process.environment import SESSION


def test_temporary_files_are_private_while_all_processes_are_on_this_machine() -> None:
    before, place = dict(os.environ), tempfile.gettempdir()
    with session.entered(local=True) as directory:
        assert session.directory() == directory
        assert os.environ[SESSION] == os.environ["TMPDIR"] == tempfile.gettempdir() == str(directory)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not directory.exists()
    assert session.directory() is None
    assert dict(os.environ) == before
    assert tempfile.gettempdir() == place


def test_the_nodes_of_a_cluster_have_their_own() -> None:
    """... and whoever looks for a cluster of this machine finds it where Ray has put it."""
    before = os.environ.get("TMPDIR")
    with session.entered(local=False):
        assert os.environ.get("TMPDIR") == before


def test_what_a_launcher_left_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "192.0.2.77")
    with session.entered(local=True):
        assert "MASTER_ADDR" not in os.environ
    assert os.environ["MASTER_ADDR"] == "192.0.2.77"


@pytest.mark.parametrize("home", ["/dev/null/home", "/nowhere/at/all", "/etc/passwd"])
def test_a_home_that_cannot_be_made_is_a_private_one(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    with session.entered(local=True) as directory:
        assert Path.home().is_relative_to(directory)
        (Path.home() / "written").write_text("")
    assert os.environ["HOME"] == home


def test_a_home_that_can_be_read_only_is_still_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/mine")
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    may = os.access
    # As for whoever is not root, of whom nothing is kept from writing.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and may(path, mode))
    with session.entered(local=True) as directory:
        assert os.environ["HOME"] == str(tmp_path)
        assert os.environ["MPLCONFIGDIR"].startswith(str(directory))
        assert os.environ["NUMBA_CACHE_DIR"] == "/mine"


def test_a_home_that_can_be_written_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with session.entered(local=True) as directory:
        assert os.environ["HOME"] == str(tmp_path)
        assert os.environ.get("MPLCONFIGDIR", "").startswith(str(directory)) is False
