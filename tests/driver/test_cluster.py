"""A cluster that cannot be had is one sentence, and nothing else."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
import ray
import ray._private.services as services

from subnetray import models
from subnetray.config import Cluster, EmbeddedModel
from subnetray.driver import cluster
from subnetray.driver.background import StartError
from subnetray.driver.cluster import private
from subnetray.driver.session import session
from subnetray.private import reach
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


@pytest.fixture
def hidden() -> Iterator[None]:
    """A Ray that has none of the names."""
    import ray._private.node as node
    import ray._private.utils as utils
    from ray.tune.execution import class_cache

    with pytest.MonkeyPatch.context() as patch:
        for name in private.UNASKED:
            patch.delattr(node.Node, name)
        patch.delattr(utils, "set_sigterm_handler")
        patch.delattr(services, "ConsolePopen")
        patch.delattr(services, "canonicalize_bootstrap_address")
        patch.delattr(class_cache, "ENV_VARS_TO_PROPAGATE")
        yield


def test_ray_has_all_that_is_reached_for(caplog: pytest.LogCaptureFixture) -> None:
    """... in the version that is installed: each of these is missed in silence but for a line of log."""
    with pytest.MonkeyPatch.context() as patch:
        for module, names in {
            "ray._private.node": [f"Node.{name}" for name in private.UNASKED],
            "ray._private.utils": ["set_sigterm_handler"],
            "ray._private.services": ["ConsolePopen"],
        }.items():
            for name in names:
                owner, _, last = name.rpartition(".")
                patch.setattr(reach(module, owner) if owner else import_module(module), last, reach(module, name))
        private.start_nothing_unasked()
        private.leave_sigterm()
        private.shield_from_signals()
        assert str(private.bootstrap_address("127.0.0.1:9")).endswith(":9")
    assert not caplog.messages


@pytest.mark.usefixtures("hidden")
def test_ray_without_them_is_started_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """... by what is public alone, and what is lost is said."""
    with pytest.raises(StartError, match=r"^Ray did not start: no node answered within 30 s$"):
        cluster.start(Cluster())
    missed = [*(f"Node.{name}" for name in private.UNASKED), "ConsolePopen", "set_sigterm_handler"]
    assert len(caplog.messages) == len(missed)
    for name, message in zip(missed, caplog.messages, strict=True):
        assert message.startswith(f"ray {ray.__version__} has no ray._private.")
        assert f".{name}: " in message


@pytest.mark.usefixtures("hidden")
def test_addresses_are_asked_without_it(silent: str) -> None:
    assert _refused("127.0.0.1:9").endswith("Connection refused")
    assert _refused(silent).endswith("timed out")
    assert "no node answered within 30 s" in _refused("auto")  # by Ray


@pytest.mark.parametrize("gone", [False, True])
def test_tune_passes_no_credentials_on(
    gone: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from ray.tune.execution import class_cache

    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", {"AWS_SECRET_ACCESS_KEY", "KEPT"})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("KEPT", "x")
    if gone:
        passed = class_cache.ENV_VARS_TO_PROPAGATE
        request.getfixturevalue("hidden")
    with private.no_credentials():
        names = passed if gone else class_cache.ENV_VARS_TO_PROPAGATE
        assert {name for name in names if name in os.environ} == {"KEPT"}
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "planted"


def test_the_commands_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.locate(EmbeddedModel(), tmp_path / "cache", print).mkdir(parents=True)  # nothing is to be made
    words = [f"cache={tmp_path / 'cache'}", "tracking=disabled"]
    assert main(["+grid=smoke", f"out={tmp_path / 'smoke'}", *words]) == 1
    assert train([f"out={tmp_path / 'single'}", *words]) == 1
    assert capsys.readouterr().err == 2 * "subnetray: Ray did not start: no node answered within 30 s\n"
    assert not list(tmp_path.glob("*/runs/*"))
