"""A cluster that cannot be had is one sentence, and nothing else."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
import ray
import ray._private.services as services

from subnetray import models
from subnetray.config import Cluster, EmbeddedModel
from subnetray.driver import cluster
from subnetray.driver.background import StartError
from subnetray.driver.session import session
from subnetray.sweep import main
from subnetray.train import main as train


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ConnectionError("no node answered within 30 s\nand much more")

    monkeypatch.setattr(ray, "init", refuse)


def test_ray_that_does_not_start_is_one_sentence_and_leaves_nothing() -> None:
    environment = dict(os.environ)
    with pytest.raises(StartError, match=r"^Ray did not start: no node answered within 30 s$"):
        cluster.start(Cluster())
    assert session.directory() is None
    assert dict(os.environ) == environment


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("", 0))  # Ray takes 127.0.0.1 for this machine's address among others
        server.listen()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def _refused(address: str) -> str:
    start = time.monotonic()
    with pytest.raises(StartError) as caught:
        cluster.start(Cluster(address=address))
    assert time.monotonic() - start < 15
    assert session.directory() is None
    sentence = str(caught.value)
    assert sentence.startswith(f"no Ray cluster could be joined at cluster.address={address}: ")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_is_is_said_soon(scheme: str) -> None:
    assert _refused(f"{scheme}127.0.0.1:9").endswith("Connection refused")


def test_neither_is_a_server_that_is_no_cluster(silent: str) -> None:
    assert _refused(silent).endswith("timed out")
    with HTTPServer(("", 0), BaseHTTPRequestHandler) as web:
        threading.Thread(target=web.handle_request, daemon=True).start()
        assert _refused(f"127.0.0.1:{web.server_port}").endswith("is no Ray cluster")


@pytest.mark.parametrize("address", ["nowhere.invalid:6379", "localhost", "localhost:", "[::1", "auto:x"])
def test_what_is_no_address_is_said(address: str) -> None:
    _refused(address)


def test_the_cluster_that_is_to_be_found_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert _refused("auto").endswith(":9): Connection refused")
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    _refused("auto")


def test_a_cluster_that_answers_is_joined_as_ray_does_it() -> None:
    """... here by one that says no; the watcher of nodes that are taken away stays on, as do Train's own times."""
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        threading.Thread(target=lambda: server.accept()[0].sendall(bytes(3) + b"\x04" + bytes(5)), daemon=True).start()
        said = _refused(f"127.0.0.1:{server.getsockname()[1]}")
    assert "no node answered within 30 s" in said
    # The suite has set it, as tests start Ray themselves.
    assert "RAY_AUTH_MODE" not in said
    assert not any(name.startswith("RAY_TRAIN_ENABLE") for name in cluster._SETTINGS)


def test_the_commands_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.locate(EmbeddedModel(), tmp_path / "cache", print).mkdir(parents=True)  # nothing is to be made
    words = [f"cache={tmp_path / 'cache'}", "tracking=disabled"]
    assert main(["+grid=smoke", f"out={tmp_path / 'smoke'}", *words]) == 1
    assert train([f"out={tmp_path / 'single'}", *words]) == 1
    assert capsys.readouterr().err == 2 * "subnetray: Ray did not start: no node answered within 30 s\n"
    assert not list(tmp_path.glob("*/runs/*"))
