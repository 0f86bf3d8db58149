"""Problems from records: a local file, a directory in the hub's layout, or a data set of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from subnetray.config import ConfigError, DatasetTask
from subnetray.tasks import rewards
from subnetray.tasks.base import Problem, Prompt, RewardError
from subnetray.tasks.judging import Judge
from subnetray.tasks.split import Split, chat, is_held_out

_BUILDERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# Quick whatever the text; others get a process and a time limit.
_HERE: dict[str, Callable[[Any, str, Any], float]] = {"exact": rewards.exact, "number": rewards.number}


class Records(Split):
    """Records with the columns that the config names, all of them read and checked."""

    def __init__(self, config: DatasetTask) -> None:
        """Read the records; what is missing or of a wrong type raises ``ConfigError`` with its column and row."""
        self.name = config.name
        problems = list(_problems(config, config.split))
        if config.held_out_split is None:
            training = [problem for problem in problems if not is_held_out(problem.prompt)]
            held_out = [problem for problem in problems if is_held_out(problem.prompt)]
        else:
            training, held_out = problems, list(_problems(config, config.held_out_split))
        if not training or not held_out:
            raise ConfigError(
                f"task.path: {config.path} must have records for training and held-out, and has {len(training)} and"
                f" {len(held_out)} (task.held_out_split=null holds out a tenth)"
            )
        super().__init__(training, held_out)
        self._reward = None if config.reward is None else _HERE.get(config.reward) or _judge(config).score

    def reward(self, problem: Problem, completion: str) -> float:
        """What the config's function gives; 0 for an empty completion."""
        assert self._reward is not None, "grid.checks refuses what asks for a reward where there is none"
        if not completion.strip():
            return 0.0
        return self._reward(problem.prompt, completion, problem.reference)

    def corrupted(self, problem: Problem, rng: random.Random) -> str:
        """The completion that the data reject."""
        assert problem.rejected is not None, "grid.checks refuses what asks for pairs where there are none"
        return problem.rejected


def check(config: DatasetTask) -> None:
    """Raise ``ConfigError`` for a path or a reward that cannot be; nothing is downloaded or imported."""
    path = Path(config.path)
    if path.is_file() and path.suffix not in _BUILDERS:
        raise ConfigError(f"task.path: {path} must end in one of {', '.join(_BUILDERS)}")
    if not path.exists() and (path.suffix in _BUILDERS or not _HUB_ID.fullmatch(config.path)):
        raise ConfigError(f"task.path: there is no file or directory {config.path}")
    if config.reward is not None and config.reward not in config.REWARDS:
        _module(config.reward)


def prepare(config: DatasetTask, log: Callable[[str], None]) -> None:
    """Raise ``ConfigError`` for records or a reward that a run could not use; a hub's data set is downloaded."""
    if not Path(config.path).exists():
        log(f"fetching {config.path} from the Hugging Face hub, unless it is on this machine already")
    Records(config)
    if config.reward == "math" and find_spec("math_verify") is None:
        raise ConfigError("task.reward=math needs math-verify, which is not installed: pip install 'subnetray[train]'")
    if config.reward is not None and config.reward not in config.REWARDS:
        try:
            _judge(config).start()
        except RewardError as error:
            raise ConfigError(str(error)) from error


def key(config: DatasetTask) -> dict[str, Any]:
    """What identifies the records, wherever a local copy lies, and the module that a reward of one's own is in."""
    path = Path(config.path)
    content: dict[str, Any] = {}
    if path.exists():
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        content["path"] = [
            [str(file.relative_to(path.parent if path.is_file() else path)), _digest(file)] for file in files
        ]
        if path.is_file():
            content["path"] = content["path"][0][1]
    if config.reward is not None and config.reward not in config.REWARDS:
        content["reward_source"] = _digest(_module(config.reward))
    return content


def local(config: DatasetTask) -> bool:
    """Whether the records can be read without a network."""
    return Path(config.path).exists()


def _problems(config: DatasetTask, split: str) -> Iterator[Problem]:
    records = _read(config, split)
    wanted = {key: getattr(config, key) for key in ("prompt", "gold", "rejected", "reference")}
    for key, column in wanted.items():
        if column is not None and column not in records.column_names:
            columns = ", ".join(records.column_names)
            raise ConfigError(f"task.{key}: the records of {config.path} have no column {column}, but {columns}")
    for row, record in enumerate(records):
        values = {key: None if column is None else record[column] for key, column in wanted.items()}
        gold, rejected = (
            None if values[key] is None and wanted[key] is None else _completion(config, key, values[key], row)
            for key in ("gold", "rejected")
        )
        reference = gold if wanted["reference"] is None else values["reference"]
        yield Problem(_prompt(config, values["prompt"], row), gold or "", rejected, reference)


def _read(config: DatasetTask, split: str) -> Any:
    import datasets

    path = Path(config.path)
    quiet = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        if path.is_file():
            if config.held_out_split is not None or config.split != "train":
                raise ConfigError(f"task.split and task.held_out_split: one file, {path.name}, has no splits but train")
            return datasets.load_dataset(_BUILDERS[path.suffix], data_files=str(path), split="train")
        return datasets.load_dataset(
            str(path.resolve()) if path.is_dir() else config.path, config.subset, revision=config.revision, split=split
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
        raise ConfigError(f"task.path: {config.path} (split {split}) could not be read: {reason}") from error
    finally:
        if quiet:
            datasets.enable_progress_bars()


def _prompt(config: DatasetTask, value: Any, row: int) -> Prompt:
    if isinstance(value, str) and value:
        return chat(value, config.instruction, config.chat)
    if _is_messages(value):
        return tuple({"role": message["role"], "content": message["content"]} for message in value)
    raise ConfigError(f"task.prompt: {config.prompt} of row {row} must be text or messages, not {_short(value)}")


def _completion(config: DatasetTask, key: str, value: Any, row: int) -> str:
    if isinstance(value, str):
        return value
    if _is_messages(value):
        return str(value[-1]["content"])
    raise ConfigError(f"task.{key}: {getattr(config, key)} of row {row} must be text or messages, not {_short(value)}")


def _is_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(each, dict) and isinstance(each.get("role"), str) and isinstance(each.get("content"), str)
            for each in value
        )
    )


def _judge(config: DatasetTask) -> Judge:
    name = f"task.reward={config.reward}"
    if config.reward == "math":
        return Judge(name, f"{rewards.__name__}.{rewards.make_math.__name__}", {}, config.timeout_s)
    return Judge(name, str(config.reward), None, config.timeout_s)


def _module(reward: str) -> Path:
    """The file of the module that a dotted path names; nothing is imported, as what is could end this process."""
    name = reward.rpartition(".")[0]
    first, *parts = name.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        spec = None
    for part in parts:
        if spec is not None:
            spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations or [])
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(f"task.reward={reward}: there is no module {name} to import it from (see PYTHONPATH)")
    return Path(spec.origin)


def _digest(file: Path) -> str:
    status = file.stat()
    return _digest_of(file, status.st_size, status.st_mtime_ns)


@cache
def _digest_of(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
