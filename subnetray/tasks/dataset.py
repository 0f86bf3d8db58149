"""Problems from records: a local file, a directory in the hub's layout, or a data set of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from subnetray.config import ConfigError, DatasetTask
from subnetray.tasks import json_rows, records, rewards
from subnetray.tasks.base import Problem, Prompt, RewardError
from subnetray.tasks.judging import Judge
from subnetray.tasks.split import Split, chat, is_held_out
from subnetray.text import shown

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# Quick whatever the text; others get a process and a time limit.
_HERE: dict[str, Callable[[Any, str, Any], float]] = {"exact": rewards.exact, "number": rewards.number}
_NAMES = 12  # of columns in a sentence


class Records(Split):
    """Records with the columns that the config names, all of them read and checked.

    ``repeated``: how many training records were left out, as their prompt is held out too, white space aside.
    """

    def __init__(self, config: DatasetTask) -> None:
        """Read the records; what is missing or of a wrong type raises ``ConfigError`` with its column and line."""
        self.name = config.name
        records.check(config)
        problems = list(_problems(config, config.split))
        if config.held_out_split is None:
            training = [problem for problem in problems if not is_held_out(problem.prompt)]
            held_out = [problem for problem in problems if is_held_out(problem.prompt)]
        else:
            training, held_out = problems, list(_problems(config, config.held_out_split))
        known = {_spelt(problem.prompt) for problem in held_out}
        only = [problem for problem in training if _spelt(problem.prompt) not in known]
        self.repeated = len(training) - len(only)
        if not only or not held_out:
            raise ConfigError(_too_few(config, training, held_out, self.repeated))
        super().__init__(only, held_out)
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
    """Raise ``ConfigError`` for a path, local records or a reward that cannot be; nothing is downloaded or written."""
    path = Path(config.path)
    there = os.path.exists(config.path)  # noqa: PTH110 - False for a name too long, where Path.exists raises
    if not there and (path.suffix.lower() in records.SUFFIXES or not _HUB_ID.fullmatch(config.path)):
        raise ConfigError(f"task.path: there is no file or directory {shown(config.path)}")
    records.check(config)
    if config.reward is not None and config.reward not in config.REWARDS:
        _module(config.reward)
    if there:
        _readable(config, _state(path))


def prepare(config: DatasetTask, log: Callable[[str], None]) -> None:
    """Raise ``ConfigError`` for records or a reward that a run could not use; a hub's data set is downloaded."""
    if not local(config):
        log(f"fetching {config.path} from the Hugging Face hub, unless it is on this machine already")
    task = Records(config)
    if task.repeated:
        log(
            f"{task.repeated} of {task.repeated + len(task.training)} training records have a prompt that is held out"
            " too: they are left out of training"
        )
    if config.reward == "math" and find_spec("math_verify") is None:
        raise ConfigError("task.reward=math needs math-verify, which is not installed: pip install 'subnetray[train]'")
    if config.reward is not None and config.reward not in _HERE:
        try:
            _judge(config).start()
        except RewardError as error:
            raise ConfigError(str(error)) from error


def key(config: DatasetTask) -> dict[str, Any]:
    """What identifies the records, wherever a local copy lies, and the module that a reward of one's own is in."""
    path = Path(config.path)
    content: dict[str, Any] = {}
    if local(config):
        records.check(config)
        content["path"] = (
            _digest(path)
            if path.is_file()
            else [[str(file.relative_to(path)), _digest(file)] for file in records.files(path)]
        )
    if config.reward is not None and config.reward not in config.REWARDS:
        content["reward_source"] = _digest(_module(config.reward))
    return content


def local(config: DatasetTask) -> bool:
    """Return whether the records can be read without a network."""
    return os.path.exists(config.path)  # noqa: PTH110 - see check


def _problems(config: DatasetTask, split: str) -> Iterator[Problem]:
    columns, rows = records.read(config, split)
    wanted = {key: getattr(config, key) for key in ("prompt", "gold", "rejected", "reference")}
    for key, column in wanted.items():
        if column is not None and column not in columns and column.partition(".")[0] not in columns:
            names = ", ".join(shown(name, 20) for name in columns[:_NAMES]) + (", ..." if len(columns) > _NAMES else "")
            names = names or "no other either"
            raise ConfigError(
                f"task.{key}: the records of {shown(config.path)} have no column {shown(column, 40)}, but {names}"
            )
    for row in rows:
        values = {key: None if column is None else _value(config, key, row) for key, column in wanted.items()}
        gold, rejected = (
            None if wanted[key] is None else _completion(config, key, values[key], row) for key in ("gold", "rejected")
        )
        reference = gold if wanted["reference"] is None else values["reference"]
        yield Problem(_prompt(config, values["prompt"], row), gold or "", rejected, _reference(config, reference, row))


def _value(config: DatasetTask, key: str, row: records.Row) -> Any:
    """The value of a column, or of a key of the objects in it, as in ``reward_model.ground_truth``."""
    column = getattr(config, key)
    value: Any = row.values
    for name in [column] if column in row.values else column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise ConfigError(f"task.{key}: {row.place} of {shown(config.path)} has no {shown(column, 40)}")
        value = value[name]
    return value


def _prompt(config: DatasetTask, value: Any, row: records.Row) -> Prompt:
    if isinstance(value, str) and value.strip() and not isinstance(value, json_rows.Number):
        return chat(value, config.instruction, config.chat)
    messages = _messages(value)
    if messages:
        return tuple(messages)
    raise _wrong(config, "prompt", "text or messages", value, row)


def _completion(config: DatasetTask, key: str, value: Any, row: records.Row) -> str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    messages = _messages(value)
    if messages:
        return messages[-1]["content"]
    raise _wrong(config, key, "text or messages", value, row)


def _reference(config: DatasetTask, value: Any, row: records.Row) -> Any:
    """Return what the reward compares with: text as it is written for those that come with the project."""
    key = "gold" if config.reference is None else "reference"
    if config.reward not in config.REWARDS:
        try:
            value = json_rows.plain(value)
            json.dumps(value)
        except (TypeError, ValueError):
            raise _wrong(config, key, "text, numbers or lists and objects of these", value, row) from None
        return value
    text = str(value) if isinstance(value, str | int | float | Decimal) else ""
    if isinstance(value, float) and not math.isfinite(value):  # what a table has where nothing is
        text = ""
    if not text.strip():
        raise _wrong(config, key, "text or a number", value, row)
    if config.reward == "number" and not _has_number(text):
        raise _wrong(config, key, "text with a number for task.reward=number", value, row)
    return text


def _has_number(text: str) -> bool:
    from subnetray.tasks.grading import numbers

    return numbers.final(text) is not None


def _wrong(config: DatasetTask, key: str, want: str, value: Any, row: records.Row) -> ConfigError:
    got = value if isinstance(value, json_rows.Number) else json.dumps(value, default=str, ensure_ascii=False)
    return ConfigError(
        f"task.{key}: {shown(getattr(config, key), 40)} of {row.place} of {shown(config.path)} must be {want}, not"
        f" {shown(got, 60)}"
    )


def _messages(value: Any) -> list[dict[str, str]]:
    """Messages with a role and a text, which may come in parts; empty for anything else."""
    if not isinstance(value, list) or not value:
        return []
    found = []
    for each in value:
        content = _text(each.get("content")) if isinstance(each, dict) else None
        if content is None or not isinstance(each.get("role"), str):
            return []
        found.append({"role": str(each["role"]), "content": content})
    return found


def _text(content: Any) -> str | None:
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        parts = [part.get("text") if part.get("type") == "text" else None for part in content]
        return "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else None
    return str(content) if isinstance(content, str) else None


def _spelt(prompt: Prompt) -> str:
    """The prompt's text, to which white space and the form of composed characters add nothing."""
    texts = [prompt] if isinstance(prompt, str) else [f"{each['role']}: {each['content']}" for each in prompt]
    return "\n".join(" ".join(unicodedata.normalize("NFC", text).split()) for text in texts)


def _too_few(config: DatasetTask, training: list[Problem], held_out: list[Problem], repeated: int) -> str:
    path = shown(config.path)
    if config.held_out_split is not None:
        splits = f"{shown(config.split, 40)} and {shown(config.held_out_split, 40)}"
        twice = f" ({repeated} of them held out too)" if repeated else ""
        return (
            f"task.path: {path} must have records for training and held-out, and its splits {splits} have"
            f" {len(training)}{twice} and {len(held_out)}"
        )
    prompts = len({_spelt(problem.prompt) for problem in (*training, *held_out)})
    return (
        f"task.path: {path} has {_count(len(training) + len(held_out), 'record')} with {_count(prompts, 'prompt')}, of"
        f" which none is {'held out' if training else 'for training'}: chance holds out one prompt in ten, so add"
        " others until both parts have some, which 50 prompts almost always do, or use a directory with a split for"
        " task.held_out_split"
    )


def _count(number: int, name: str) -> str:
    return f"{number} {name if number == 1 else name + 's'}"


@cache
def _readable(config: DatasetTask, state: tuple[int, ...]) -> None:
    """Read local records once for all runs that have them."""
    Records(config)


def _state(path: Path) -> tuple[int, ...]:
    """Return a digest of the content of a file, or of the files of a directory."""
    found = [path.stat()] if path.is_file() else [file.stat() for file in records.files(path)]
    return tuple(value for status in found for value in (status.st_size, status.st_mtime_ns))


def _judge(config: DatasetTask) -> Judge:
    name = f"task.reward={config.reward}"
    if config.reward == "math":
        # A completion that takes so long is wrong; it must not end the run.
        maker = f"{rewards.__name__}.{rewards.make_math.__name__}"
        return Judge(name, maker, {}, config.timeout_s, late=0.0)
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
        raise ConfigError(
            f"task.reward={shown(reward, 80)}: there is no module {shown(name, 80)} to import it from (see PYTHONPATH)"
        )
    return Path(spec.origin)


def _digest(file: Path) -> str:
    try:
        status = file.stat()
        return _digest_of(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"task.path: {shown(file)} cannot be read: {error.strerror}") from None


@cache
def _digest_of(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
