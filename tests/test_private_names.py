"""Private names of other libraries stand in three places, where each has its reason and its way back."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import subnetray

PACKAGE = Path(subnetray.__file__).parent
PLACES = ("rollout/cpu", "driver/cluster", "algorithms/shared")
LIBRARIES = ("accelerate", "hydra", "numba", "omegaconf", "ray", "transformers", "trl", "vllm", "wandb")
# Public by their names, and inner parts by what their libraries say, or by what they do not say, of them.
INNER = (
    *("vllm.v1", "vllm.model_executor", "vllm.forward_context", "vllm.entrypoints.llm"),
    *("ray.tune.execution", "ray.train.v2", "ray.air", "ray._raylet"),
    *(
        "trl.trainer.utils",
        "trl.import_utils",
        "transformers.trainer_pt_utils",
        *("numba.core.caching", "numba.core.dispatcher", "numba.core.typing"),
        "wandb.sdk",
        "hydra.core",
    ),
)
# Of Ray's environment, what its manual names: all else that it reads is its own.
DOCUMENTED = {"RAY_ADDRESS", "RAY_TMPDIR", "RAY_TEMP_DIR"}
# What stands elsewhere, each with the reason why moving it is worse.
EXCEPTIONS = {
    # subnetwork/ may import none of the three places. Its function has a way back, which test_compiled.py takes.
    ("subnetwork/loops/compiled.py", "_cache"),
    ("subnetwork/loops/compiled.py", "_cache_file"),
    ("subnetwork/loops/compiled.py", "_source_stamp"),
    # Hydra's parser of overrides and its store of schemas, which its manual has its plugins and users import from here.
    *(
        (file, f"hydra.core.{module}")
        for file, module in (
            *((file, "override_parser.types") for file in ("cli.py", "config/compose.py", "config/words.py")),
            *((f"grid/{file}.py", "override_parser.types") for file in ("fitting", "plan", "settings", "sources")),
            ("config/words.py", "override_parser.overrides_parser"),
            ("config/compose.py", "config_store"),
            ("config/compose.py", "global_hydra"),
        )
    ),
    # What its public function does, but refuses to do offline. A test takes its way back.
    ("driver/tracking/artifacts.py", "_log_artifact"),
    # What a workspace is called in its address, by which it is found again: once made, not once more. As above.
    ("driver/dashboard/worker.py", "_internal_name"),
    # Public, whatever its name: ends a process at once.
    *((file, "_exit") for file in ("driver/session/signals.py", "driver/tracking/worker.py", "tasks/judge.py")),
}


# What every named tuple has, with an underscore only so that no field can be called so.
_OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}


def _is_private(name: str) -> bool:
    return name not in _OF_NAMED_TUPLES and name.startswith("_") and not name.startswith("__") and name != "_"


def _own(tree: ast.AST) -> set[str]:
    """Find the names with an underscore that a file itself defines, as functions, fields or variables."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in ("self", "cls")
        ):
            found.add(node.attr)
    return found


def _modules(tree: ast.AST) -> dict[str, str]:
    """Find the names in a file that are modules of the libraries, or from them."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                found[each.asname or each.name.partition(".")[0]] = each.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                found[each.asname or each.name] = f"{node.module}.{each.name}"
    return {name: module for name, module in found.items() if module.partition(".")[0] in LIBRARIES}


def reaches(source: str) -> Iterator[tuple[int, str]]:
    """Find line and name of each private name of another library in a file's ``source``."""
    tree = ast.parse(source)
    own, modules = _own(tree), _modules(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Attribute):
            root = ast.unparse(node.value)
            inherited = root in ("self", "cls")
            if _is_private(node.attr) and node.attr not in own and not inherited:
                yield line, node.attr
            if isinstance(node.ctx, ast.Store) and root.partition(".")[0] in modules:
                yield line, f"{root}.{node.attr} ="
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names]
            paths = names if isinstance(node, ast.Import) else [f"{node.module}.{name}" for name in names]
            for path in paths:
                library = path.partition(".")[0]
                inner = next((each for each in INNER if f"{path}.".startswith(f"{each}.")), None)
                if library in LIBRARIES and (inner or any(map(_is_private, path.split(".")))):
                    yield line, node.module if isinstance(node, ast.ImportFrom) and node.module else path
        elif isinstance(node, ast.Call):
            yield from (
                (line, each.arg) for each in node.keywords if each.arg and _is_private(each.arg) and each.arg not in own
            )
            called = ast.unparse(node.func).rpartition(".")[2]
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            for text in (each for each in texts if isinstance(each, str)):
                if called in ("getattr", "setattr", "hasattr", "delattr") and _is_private(text) and text not in own:
                    yield line, text
                if called in ("import_module", "reach", "replace", "load") and any(
                    f"{text}.".startswith(f"{each}.") for each in INNER
                ):
                    yield line, text
            if called == "setattr" and node.args and ast.unparse(node.args[0]).partition(".")[0] in modules:
                yield line, f"{ast.unparse(node.args[0])} ="
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if text.startswith("RAY_") and text.isidentifier() and text not in DOCUMENTED:
                yield line, text
            if text.partition(".")[0] in LIBRARIES and "._" in text and " " not in text:
                yield line, text


def _overridden() -> set[str]:
    """Private names that trainers of TRL have, which a class of ours that is one may override or read."""
    import trl
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    trainers = (
        trl.GRPOTrainer,
        trl.RLOOTrainer,
        trl.SFTTrainer,
        trl.DPOTrainer,
        trl.KTOTrainer,
        CPOTrainer,
        ORPOTrainer,
    )
    found = {name for trainer in trainers for name in dir(trainer) if _is_private(name)}
    for trainer in trainers:
        for kind in trainer.__mro__:
            if kind.__module__.partition(".")[0] in ("trl", "transformers"):
                tree = ast.parse(Path(str(sys.modules[kind.__module__].__file__)).read_text())
                found |= {name for name in _own(tree) if _is_private(name)}
    return found


def _files() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if not _place(path).startswith(PLACES)]


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_they_stand_in_three_places() -> None:
    found = {
        (_place(path), name): f"{_place(path)}:{line}: {name}"
        for path in _files()
        for line, name in reaches(path.read_text())
    }
    assert not [text for key, text in found.items() if key not in EXCEPTIONS]
    assert not EXCEPTIONS - found.keys()


def test_algorithms_override_none_of_trl_s_themselves() -> None:
    """... nor read what its trainers keep: their bases in ``shared`` do."""
    theirs = _overridden()
    assert {"_compute_loss", "_metrics", "_generate_and_score_completions", "_last_loaded_step"} <= theirs
    found = []
    for path in (PACKAGE / "algorithms").glob("*.py"):
        tree = ast.parse(path.read_text())
        for owner in ast.walk(tree):
            if not isinstance(owner, ast.ClassDef):
                continue
            for node in ast.walk(owner):
                name = node.name if isinstance(node, ast.FunctionDef) else getattr(node, "attr", "")
                if name in theirs:
                    found.append(f"{path.name}:{node.lineno}: {name}")  # type: ignore[attr-defined]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "from ray._private import services",
        "import ray._private.node as node",
        "from vllm.v1.core.sched.scheduler import Scheduler",
        "from vllm.entrypoints import llm",
        "import vllm\nvllm.envs.X = 3",
        "from trl.trainer import utils",
        "import ray\nray.worker._global_node",
        "config._attn_implementation",
        "getattr(config, '_attn_implementation')",
        "import trl\nsetattr(trl, 'x', 3)",
        "import ray\nray.init(_temp_dir='x')",
        "os.environ['RAY_prestart_worker_first_driver'] = '0'",
        "import_module('trl.import_utils')",
        "reach('ray._private.node', 'Node')",
    ],
)
def test_a_new_one_is_found(source: str) -> None:
    assert list(reaches(source))


@pytest.mark.parametrize(
    "source",
    [
        "import ray\nray.init(address='auto')",
        "from vllm import LLM",
        "class A:\n    def _x(self): self._y = 1\n\nA()._x()",
        "os.environ['RAY_ADDRESS']",
        "place._replace(line=1)",
        "from __future__ import annotations",
    ],
)
def test_what_is_public_or_our_own_is_not(source: str) -> None:
    assert not list(reaches(source))


def test_errors_of_omegaconf_are_not_read() -> None:
    """Class, key and our schema say what an error is about; its words change from version to version."""
    names = {
        node.names[0].name
        for node in ast.walk(ast.parse((PACKAGE / "config/explain.py").read_text()))
        if isinstance(node, ast.Import)
    }
    assert "re" not in names
