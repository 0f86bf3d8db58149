"""Ask every node of a joined cluster, before any work, whether it has what runs need.

A small task a node looks for itself: is the package there and the same, does the node see the sweep's directory and the
models, and can it write. What is wrong is one sentence that names the node.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import subnetray
from subnetray.config import ConfigError
from subnetray.text import shown

_ANSWER_S = 60.0  # a node's first task of a job starts a process, which imports Ray


@dataclass(frozen=True)
class Wanted:
    """Runs need this of every node: ``out`` to write to, and ``inits`` to read, those that are there already.

    ``asked`` are resources of one node by what asks for them, such as ``{"a run": {"CPU": 1.0}}``.
    """

    out: Path
    cache: Path
    inits: tuple[Path, ...]
    asked: Mapping[str, Mapping[str, float]]


def check(wanted: Wanted, say: Callable[[str], None]) -> None:
    """Raise ConfigError for the first node that lacks something; a node that is yet to come is waited for by Ray.

    Ray must have joined the cluster.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    for line in too_small(nodes, wanted.asked):
        say(line)
    with _nonces(wanted) as nonces:
        answers = _ask(nodes, {key: (str(path), nonce) for key, (path, nonce) in nonces.items()}, wanted)
    for name, answer in answers:
        if (problem := what_is_wrong(answer)) is not None:
            raise ConfigError(f"cluster: node {shown(name)} {problem}")


def too_small(nodes: Iterable[Mapping[str, Any]], asked: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Say what no node of the cluster has room for by itself, which a cluster that grows may have later."""
    nodes = list(nodes)
    for what, resources in asked.items():
        needed = {name: amount for name, amount in resources.items() if amount}
        if not any(
            all(node["Resources"].get(name, 0.0) >= amount for name, amount in needed.items()) for node in nodes
        ):
            text = " and ".join(f"{amount:g} {name}{'s' if amount != 1 else ''}" for name, amount in needed.items())
            yield f"no node of the cluster has {text}, which {what} asks for: it waits until one joins"


def look(files: Mapping[str, tuple[str, str]], directories: Iterable[str]) -> dict[str, Any]:
    """Look, on a node: ``files`` are paths and what they must hold, by key; ``directories`` must be there.

    It is sent to nodes as it is, and so uses nothing but Python's own library: the package may be missing there.
    """
    import hashlib
    import importlib.metadata
    import importlib.util
    import os
    import pathlib

    found: dict[str, Any] = {"unseen": [], "unwritable": [], "missing": [], "code": None, "plugins": []}
    for key, (path, content) in files.items():
        try:
            seen = pathlib.Path(path).read_text() == content
        except OSError:
            seen = False
        if not seen:
            found["unseen"].append((key, str(pathlib.Path(path).parent)))
        elif not os.access(pathlib.Path(path).parent, os.W_OK):
            found["unwritable"].append((key, str(pathlib.Path(path).parent)))
    found["missing"] = [each for each in directories if not pathlib.Path(each).is_dir()]
    spec = importlib.util.find_spec("subnetray")
    if spec is not None and spec.origin is not None:
        package, digest = pathlib.Path(spec.origin).parent, hashlib.sha256()
        for source in sorted(package.rglob("*.py"), key=lambda each: each.relative_to(package).as_posix()):
            digest.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
        found["code"] = digest.hexdigest()
    plugins = set()
    for each in importlib.metadata.distributions():
        named = [(entry.group, entry.name, entry.value) for entry in each.entry_points]
        plugins |= {(*entry, each.version) for entry in named if entry[0].startswith("subnetray.")}
    found["plugins"] = sorted(plugins)
    return found


def what_is_wrong(answer: Mapping[str, Any] | str) -> str | None:
    """Return what is wrong with a node by its answer, or by why there is none; the end of a sentence."""
    if isinstance(answer, str):
        return answer
    if answer["code"] is None:
        return f"has no package subnetray: install version {subnetray.__version__} there, or use one image for all"
    here = look({}, ())
    if answer["code"] != here["code"]:
        return "has another version of subnetray's code: install the same everywhere, or use one image for all"
    if odd := {each[:3] for each in {*answer["plugins"]} ^ {*here["plugins"]}}:
        group, name, value = min(odd)
        return (
            f"and this one do not have the same {shown(f'{name} = {value}')} of {shown(group)}: install the same"
            " packages that extend subnetray everywhere"
        )
    for key, directory in answer["unseen"]:
        return f"does not see {key}={shown(directory)}: choose a directory with {key}= that all nodes share"
    for key, directory in answer["unwritable"]:
        return f"may not write to {key}={shown(directory)}: give its user the right to, or choose another with {key}="
    for directory in answer["missing"]:
        return f"has no model at {shown(directory)}: choose a place for models that all nodes share (cache=, HF_HOME)"
    return None


@contextlib.contextmanager
def _nonces(wanted: Wanted) -> Iterator[dict[str, tuple[Path, str]]]:
    """Files that hold what nobody else can know, while entered, in the directories that nodes must share."""
    written: dict[str, tuple[Path, str]] = {}
    try:
        for key, directory in (("out", wanted.out), ("cache", wanted.cache)):
            directory.mkdir(parents=True, exist_ok=True)
            path, nonce = directory / f".node-check-{secrets.token_hex(8)}", secrets.token_hex(16)
            path.write_text(nonce)
            written[key] = path, nonce
        yield written
    finally:
        for path, _ in written.values():
            path.unlink(missing_ok=True)


def _ask(
    nodes: Iterable[Mapping[str, Any]], files: Mapping[str, tuple[str, str]], wanted: Wanted
) -> list[tuple[str, dict[str, Any] | str]]:
    """Ask every node; return its address with its answer, or with why there is none."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # By value: a node that lacks this module, or has another, is to say so, and not to fail.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(look)
        calls = {}
        for node in nodes:
            here = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            call = task.options(scheduling_strategy=here).remote(files, [str(each) for each in wanted.inits])
            calls[call] = node["NodeManagerAddress"]
        done, _ = ray.wait([*calls], num_returns=len(calls), timeout=_ANSWER_S) if calls else ([], [])
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    return [(name, _answer(call, call in done)) for call, name in calls.items()]


def _answer(call: Any, is_there: bool) -> dict[str, Any] | str:
    import ray

    if not is_there:
        return f"did not answer within {_ANSWER_S:g} s: see whether it can start processes of Ray"
    try:
        found: dict[str, Any] = ray.get(call)
        return found
    except ray.exceptions.RayError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return f"could not be asked: {shown(reason)}"
