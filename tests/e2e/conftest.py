"""The end-to-end tests share the embedded model, made once where sweeps keep theirs, and an engine a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from subnetray import models, rollout
from subnetray.config import Cluster, EmbeddedModel
from subnetray.driver import cluster
from tests.e2e.engines import ROLLOUT


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The embedded model's directory, in the cache that sweeps use by default."""
    return models.prepare(EmbeddedModel(), models.default_cache(), print)


@pytest.fixture(scope="module")
def vllm_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where vLLM keeps what it finds out about models: nothing yet."""
    path = tmp_path_factory.mktemp("vllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CACHE_ROOT", str(path))
        yield path


@pytest.fixture(scope="module")
def engine(tiny: Path, vllm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Started before there is anything of its model, and from all of it but weights."""
    cache = tmp_path_factory.mktemp("cache")
    late, blank = cache / "late", cache / "blank"
    cluster.start(Cluster())
    try:
        pool = rollout.start([(late, ROLLOUT), (tiny, ROLLOUT)], dict.fromkeys((late, tiny), blank))
        assert pool.names[late, ROLLOUT] == pool.names[tiny, ROLLOUT]
        blank.symlink_to(shutil.copytree(tiny, cache / "copy", ignore=shutil.ignore_patterns("*.safetensors")))
        pool.wait(300)
        yield pool.handles[0]
    finally:
        cluster.stop()
