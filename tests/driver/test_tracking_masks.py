"""Masks that W&B has: fetched before a plan is made, and said in one sentence where they cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from subnetray.config import ConfigError, Subnetwork
from subnetray.config.compose import Composer
from subnetray.driver.tracking import ask, masks
from subnetray.grid import plan
from subnetray.mask_file import inspect
from tests.driver.sweeps import OVERRIDES, random_masks, write_init
from tests.driver.wandb_server import KEY, Server

NAME = "me/p/mask-1:latest"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(fault: int | str | None = None) -> Server:
        servers.append(Server(fault))
        monkeypatch.setenv("WANDB_BASE_URL", servers[-1].url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    "name", ["", "a", "a/b", "a/b/c", "a/b:c", "a/b/c:", "/b/c:d", "a/b/c/d:e", "a/b/c:d:e", "a/b/../c:d"]
)
def test_a_bad_name_is_one_sentence_and_nobody_is_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "fetch", lambda *_: pytest.fail("it was asked for"))
    with pytest.raises(ConfigError, match=r"subnetwork\.mask must be wandb:ENTITY/PROJECT/NAME:ALIAS"):
        Subnetwork(mask=f"wandb:{name}")
    assert Subnetwork(mask=f"wandb:{NAME}").artifact == NAME
    assert Subnetwork(mask=f"wandb:{NAME}").file is None


def test_a_plan_has_the_file_of_the_artifact_and_the_identity_of_its_content(tmp_path: Path) -> None:
    mask = random_masks(write_init(tmp_path / "init"), [0.5])[0]
    mask.save(tmp_path / "mask.safetensors", {})
    asked: list[tuple[str, Path | None]] = []

    def fetch(name: str, place: Path | None) -> Path:
        asked.append((name, place))
        return tmp_path / "mask.safetensors"

    words = [*OVERRIDES, f"cache={tmp_path}"]
    named = plan(Composer(), [*words, f"subnetwork.mask=wandb:{NAME}"], fetch)[1]
    by_file = plan(Composer(), [*words, f"subnetwork.mask={tmp_path / 'mask.safetensors'}"])[1]
    assert [run.run_id for run in named.runs] == [run.run_id for run in by_file.runs]
    assert set(asked) == {(NAME, tmp_path)}
    with pytest.raises(ConfigError, match="is fetched by a sweep or a run"):
        plan(Composer(), [*words, f"subnetwork.mask=wandb:{NAME}"])


def test_a_mask_by_reference_is_copied_and_a_version_is_asked_for_once(
    tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = random_masks(write_init(tmp_path / "init"), [0.5])[0]
    mask.save(tmp_path / "mask.safetensors", {})
    entry = {"digest": "d", "ref": (tmp_path / "mask.safetensors").as_uri(), "size": 3}
    server = serve()
    server.artifacts["mask-1:latest"] = {"mask.safetensors": entry}
    found = masks.fetch(NAME, tmp_path / "cache")
    assert found == tmp_path / "cache" / "masks" / "me" / "p" / "mask-1" / "v3" / "mask.safetensors"
    assert inspect(found).digest == inspect(tmp_path / "mask.safetensors").digest
    monkeypatch.setattr(ask, "ask", lambda *_: pytest.fail("it was asked for"))
    assert masks.fetch("me/p/mask-1:v3", tmp_path / "cache") == found


def test_an_artifact_that_is_not_there_is_said(tmp_path: Path, serve: Callable[..., Server]) -> None:
    serve()
    with pytest.raises(ConfigError, match=f"subnetwork.mask: W&B has no artifact {NAME}"):
        masks.fetch(NAME, tmp_path)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "AuthenticationError: returned error 401: {}"}, r"refuses the key \(401\)"),
        (
            {"error": "giving up after 3 attempt(s)\nwhile retrying: HTTP 429"},
            r"limits how often it may be asked \(429\)",
        ),
        ({"error": f"no {KEY}"}, r"could not be asked \(no \*\*\*\)"),
        ({}, r"did not answer within 60 s"),
        ({"without": "the artifact a holds no mask.safetensors"}, "the artifact a holds no mask.safetensors"),
    ],
)
def test_what_keeps_it_from_being_fetched_is_said_without_the_key(
    answer: dict[str, str], said: str, tmp_path: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    late = None if answer else 60.0
    monkeypatch.setattr(ask, "ask", lambda *_: ask.Answered(answer, late))
    with pytest.raises(ConfigError, match=said) as error:
        masks.fetch(f"me/p/{len(json.dumps(answer))}:latest", tmp_path)
    assert KEY not in str(error.value)
