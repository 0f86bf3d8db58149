"""Tasks from records: files of one's own, directories in the layouts of the hub's data sets, rewards by dotted path."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subnetray import tasks
from subnetray.config import ConfigError, DatasetTask
from subnetray.config.compose import Composer
from subnetray.tasks import dataset
from subnetray.tasks.dataset import Records
from subnetray.tasks.split import is_held_out


def half(prompt: Any, completion: str, reference: Any) -> float:
    return 0.5 * len(completion)


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def sums(count: int = 60) -> list[dict[str, Any]]:
    return [{"prompt": f"{n}+1=", "answer": str(n + 1), "wrong": str(n + 2)} for n in range(count)]


def of(path: Path, **keys: Any) -> DatasetTask:
    return DatasetTask(name="mine", path=str(path), **{"gold": "answer", "reward": "exact", **keys})


def chosen(name: str, *overrides: str) -> DatasetTask:
    (config,) = Composer().runs([[f"task={name}", *overrides]])
    assert isinstance(config.task, DatasetTask)
    return config.task


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_a_file_is_read_and_a_tenth_held_out(tmp_path: Path, suffix: str) -> None:
    task = Records(of(write(tmp_path / f"my{suffix}", sums()), rejected="wrong"))
    assert {(problem.prompt, problem.gold, problem.rejected) for problem in task.problems} == {
        (record["prompt"], record["answer"], record["wrong"]) for record in sums()
    }
    assert not any(is_held_out(problem.prompt) for problem in task.training)
    assert all(is_held_out(problem.prompt) for problem in task.held_out(99))
    problem = task.train_prompts(1, 0)[0]
    assert task.reward(problem, problem.gold) == 1.0
    assert task.reward(problem, "x") == task.reward(problem, "") == 0.0
    assert task.corrupted(problem, random.Random(0)) == problem.rejected


def test_prompts_are_text_or_messages(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1+1="}]
    records = [{"prompt": messages, "answer": str(n)} for n in range(2)]
    config = of(write(tmp_path / "my.jsonl", records), held_out_split=None)
    problems = list(dataset._problems(config, "train"))
    assert [list(problem.prompt) for problem in problems] == [messages, messages]
    plain = of(write(tmp_path / "plain.jsonl", sums(1)), chat=True, instruction="Only the number.")
    (problem,) = dataset._problems(plain, "train")
    assert problem.prompt == ({"role": "user", "content": "0+1=\n\nOnly the number."},)


def test_gsm8k_in_the_hub_s_layout(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        records = [
            {"question": f"{split} {n} eggs and 2 more?", "answer": f"{n}+2 = <<{n}+2={n + 2}>>\n#### {n + 2}"}
            for n in range(count)
        ]
        write(tmp_path / "gsm8k" / "main" / f"{split}-00000-of-00001.parquet", records)
        write(tmp_path / "gsm8k" / "socratic" / f"{split}-00000-of-00001.parquet", records[:1])
    (tmp_path / "gsm8k" / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(
            f"- config_name: {name}\n  data_files:\n"
            + "".join(f"  - split: {split}\n    path: {name}/{split}-*\n" for split in ("train", "test"))
            for name in ("main", "socratic")
        )
        + "---\n"
    )
    task = Records(chosen("gsm8k", f"task.path={tmp_path / 'gsm8k'}"))
    assert (len(task.training), len(task.held_out(99))) == (3, 2)
    problem = task.training[2]
    assert str(problem.prompt[0]["content"]).startswith("train 2 eggs and 2 more?\n\nLet's")  # type: ignore[index]
    assert task.reward(problem, "2 and 2, so it is #### 4") == task.reward(problem, problem.gold) == 1.0
    assert task.reward(problem, "#### 5") == 0.0


def test_math_in_the_hub_s_layout(tmp_path: Path) -> None:
    for split in ("train", "test"):
        records = [{"problem": f"{split} {n}/4?", "solution": rf"It is $\boxed{{\frac{{{n}}}{{4}}}}$."} for n in (1, 2)]
        write(tmp_path / "math" / "data" / f"{split}-00000-of-00001.parquet", records)
    task = Records(chosen("math", f"task.path={tmp_path / 'math'}"))
    problem = task.training[1]
    assert task.reward(problem, r"So \boxed{0.5}") == task.reward(problem, problem.gold) == 1.0
    assert task.reward(problem, r"So \boxed{0.25}") == 0.0


def test_ultrafeedback_in_the_hub_s_layout(tmp_path: Path) -> None:
    def answer(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]

    for split in ("train_prefs", "test_prefs"):
        records = [{"prompt": f"{split} {n}", "chosen": answer("good"), "rejected": answer("bad")} for n in range(2)]
        write(tmp_path / "uf" / "data" / f"{split}-00000-of-00001.parquet", records)
    config = chosen("ultrafeedback", f"task.path={tmp_path / 'uf'}")
    assert tasks.offers(config) == {"gold", "pairs"}
    task = Records(config)
    assert {(problem.gold, problem.rejected) for problem in task.problems} == {("good", "bad")}
    assert task.training[0].prompt == ({"role": "user", "content": "train_prefs 0"},)


def test_a_reward_of_one_s_own(tmp_path: Path) -> None:
    config = of(write(tmp_path / "my.jsonl", sums()), reward=f"{__name__}.half", gold=None)
    tasks.check(config)
    tasks.prepare(config, print)
    task = Records(config)
    assert task.reward(task.training[0], "abc") == 1.5
    missing = dataclasses.replace(config, reward=f"{__name__}.nope")
    with pytest.raises(ConfigError, match=r"^task\.reward=.* has no attribute 'nope'$"):
        tasks.prepare(missing, print)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"prompt": "question"},
            r"^task\.prompt: the records of .* have no column question, but prompt, answer, wrong$",
        ),
        ({"gold": "gold"}, r"^task\.gold: the records of .* have no column gold, but "),
        ({"reference": "x"}, r"^task\.reference: the records of .* have no column x, but "),
        ({"prompt": "number"}, r"^task\.prompt: number of line 1 of .* must be text or messages, not 3$"),
        ({"held_out_split": "test"}, r"^task\.split and task\.held_out_split: one file, "),
    ],
)
def test_records_that_do_not_suit_are_one_sentence(tmp_path: Path, keys: dict[str, Any], sentence: str) -> None:
    records = [record | ({"number": 3} if keys.get("prompt") == "number" else {}) for record in sums(3)]
    with pytest.raises(ConfigError, match=sentence):
        Records(of(write(tmp_path / "my.jsonl", records), **keys))


def test_a_split_that_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "d" / "data" / "train-00000-of-00001.parquet", sums())
    with pytest.raises(ConfigError, match=r"^task\.path: .*/d \(split test\) could not be read: .*test"):
        Records(of(tmp_path / "d", held_out_split="test"))


def test_a_file_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "my.jsonl").write_text('{"prompt": "1+1=", "answer"\n')
    with pytest.raises(ConfigError, match=r"^task\.path: line 1 of .*/my\.jsonl: no JSON "):
        Records(of(tmp_path / "my.jsonl"))


@pytest.mark.parametrize(
    ("path", "keys", "sentence"),
    [
        ("nope.jsonl", {}, r"^task\.path: there is no file or directory nope\.jsonl$"),
        ("/no/such/place", {}, r"^task\.path: there is no file or directory /no/such/place$"),
        (__file__, {}, r"^task\.path: .*\.py must end in one of \.jsonl, \.json, \.csv, \.tsv, \.parquet$"),
        ("a/b", {"reward": "no_such.module.function"}, r"^task\.reward=no_such\.module\.function: there is no module"),
    ],
)
def test_what_cannot_be_is_known_without_reading(path: str, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tasks.check(of(Path(path), **keys))


def test_the_key_is_of_the_content(tmp_path: Path) -> None:
    one, same, other = (
        write(tmp_path / name / f"{name}.jsonl", sums(count)) for name, count in (("a", 5), ("b", 5), ("c", 6))
    )
    assert tasks.task_key(of(one)) == tasks.task_key(of(same)) != tasks.task_key(of(other))
    assert tasks.task_key(of(tmp_path / "a")) != tasks.task_key(of(tmp_path / "c"))
    assert tasks.task_key(of(one, timeout_s=1.0)) == tasks.task_key(of(one)) != tasks.task_key(of(one, accept=0.5))
    assert "reward_source" in tasks.task_key(of(one, reward=f"{__name__}.half"))
    hub = DatasetTask(name="x", path="openai/gsm8k", gold="answer")
    assert tasks.task_key(hub) == tasks.task_key(dataclasses.replace(hub, name="y"))
    assert tasks.task_key(hub) != tasks.task_key(dataclasses.replace(hub, revision="abc"))
