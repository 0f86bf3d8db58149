"""Files of one's own as people have them: read as they are written, or one sentence that names file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray import tasks
from subnetray.config import ConfigError, DatasetTask
from subnetray.tasks.dataset import Records
from tests.fuzzing import fuzz

ROWS = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(60)]


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def of(path: Path, **keys: Any) -> DatasetTask:
    return DatasetTask(**{"name": "mine", "path": str(path), "gold": "answer", "reward": "exact", **keys})


def answers(written: str) -> bytes:
    return "".join(f'{{"prompt": "{n}", "answer": {written}}}\n' for n in range(60)).encode()


def changed(row: int, **keys: Any) -> bytes:
    return lines([{**each, **keys} if place == row else each for place, each in enumerate(ROWS, start=1)])


READ: dict[str, tuple[bytes, str]] = {
    "a mark of UTF-8": (b"\xef\xbb\xbf" + lines(ROWS), ".jsonl"),
    "line ends of Windows": (lines(ROWS).replace(b"\n", b"\r\n"), ".jsonl"),
    "line ends of old Macs": (lines(ROWS).replace(b"\n", b"\r"), ".jsonl"),
    "blank lines": (lines(ROWS).replace(b"\n", b"\n \n\n"), ".jsonl"),
    "no end of the last line": (lines(ROWS).rstrip(), ".jsonl"),
    "an array": (json.dumps(ROWS).encode(), ".json"),
    "an array over many lines": (json.dumps(ROWS, indent=1).encode(), ".json"),
    "an array called lines": (b"\xef\xbb\xbf\n" + json.dumps(ROWS).encode() + b"\n", ".jsonl"),
    "lines called an array": (lines(ROWS), ".json"),
    "capitals": (lines(ROWS), ".JSONL"),
    "other columns": (changed(7, other={"a": [1, {"b": None}]}), ".jsonl"),
    "line separators of Unicode in text": (changed(7, other="a\u2028b\u0085c"), ".jsonl"),
}


@pytest.mark.parametrize("kind", READ)
def test_it_is_read(kind: str, tmp_path: Path) -> None:
    content, suffix = READ[kind]
    (tmp_path / f"my{suffix}").write_bytes(content)
    task = Records(of(tmp_path / f"my{suffix}"))
    assert {(problem.prompt, problem.gold) for problem in task.problems} == {
        (row["prompt"], row["answer"]) for row in ROWS
    }


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("7", "7"),
        ("1.50", "1.50"),
        ("1e25", "1e25"),
        ("10000000000000000000000001", "10000000000000000000000001"),
        ("9" * 5000, "9" * 5000),
        ("-0", "-0"),
        ("true", "true"),
        ('"2024-01-05"', "2024-01-05"),
        ('"2024-01-05T00:00:00Z"', "2024-01-05T00:00:00Z"),
        ('"007"', "007"),
        ('"1e25"', "1e25"),
    ],
)
@pytest.mark.parametrize("column", ["gold", "reference"])
@pytest.mark.parametrize("place", ["file", "directory"])
def test_an_answer_is_compared_as_it_is_written(
    written: str, text: str, column: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "data" / ("my.jsonl" if place == "file" else "train.jsonl")
    path.parent.mkdir()
    path.write_bytes(answers(written))
    keys: dict[str, Any] = {"gold": None, "reference": None, column: "answer"}
    task = Records(of(path if place == "file" else path.parent, **keys))
    assert {problem.reference for problem in task.problems} == {text}
    assert {type(problem.reference) for problem in task.problems} == {str}
    assert task.reward(task.training[0], text) == 1.0
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("*.arrow"))


def test_types_may_be_mixed(tmp_path: Path) -> None:
    (tmp_path / "my.jsonl").write_bytes(changed(7, answer=8))
    assert {type(problem.gold) for problem in Records(of(tmp_path / "my.jsonl")).problems} == {str}


def test_a_reward_of_one_s_own_has_python_s_numbers(tmp_path: Path) -> None:
    answer = [7, 1.5, 10**25, True, None, "x", {"a": [3]}]
    (tmp_path / "my.jsonl").write_bytes(lines([{**row, "answer": answer} for row in ROWS]))
    task = Records(of(tmp_path / "my.jsonl", gold=None, reference="answer", reward="os.getcwd"))
    found = task.training[0].reference
    assert found == answer
    assert [type(each) for each in found] == [type(each) for each in answer]


def test_the_content_of_a_message_may_come_in_parts(tmp_path: Path) -> None:
    rows = [
        {
            **row,
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": n}]}],
        }
        for n, row in zip(map(str, range(60)), ROWS, strict=True)
    ]
    (tmp_path / "my.jsonl").write_bytes(lines(rows))
    prompts = [problem.prompt for problem in Records(of(tmp_path / "my.jsonl")).problems]
    assert ({"role": "user", "content": "Say 7"},) in prompts


REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "nothing": (b"", {}, r"my\.jsonl holds no records"),
    "only blank lines": (b"\n \n\r\n", {}, r"my\.jsonl holds no records"),
    "an empty array": (b"[]", {}, r"my\.jsonl holds no records"),
    "Latin-1": (
        changed(7, prompt="Größe").decode().encode("latin-1"),
        {},
        r"line 7 of .*: not UTF-8 \(byte 0xf6 at 15\)",
    ),
    "Windows-1252": (changed(60, prompt="“a”").decode().encode("cp1252"), {}, r"line 60 of .*: not UTF-8 .*iconv"),
    "Shift JIS": (changed(2, prompt="加算").decode().encode("shift-jis"), {}, r"line 2 of .*: not UTF-8"),
    "Latin-1 in an array": (
        json.dumps([*ROWS, {"prompt": "ö", "answer": ""}], ensure_ascii=False, indent=1).encode("latin-1"),
        {},
        r"line 243 of .*: not UTF-8",
    ),
    "UTF-16": (lines(ROWS).decode().encode("utf-16"), {}, r"is UTF-16, and must be UTF-8: .*iconv -f UTF-16"),
    "UTF-16 without a mark": (lines(ROWS).decode().encode("utf-16-le"), {}, r"is UTF-16, and must be UTF-8"),
    "UTF-32": (lines(ROWS).decode().encode("utf-32"), {}, r"is UTF-32, and must be UTF-8"),
    "a NUL byte": (lines(ROWS[:3]) + b'{"prompt": "a\0"}', {}, r"line 4 of .*: a NUL byte"),
    "NUL bytes": (bytes(10_000), {}, r"line 1 of .*: a NUL byte"),
    "half a character": (
        lines(ROWS[:3]) + rb'{"prompt": "\ud83d", "answer": "1"}',
        {},
        r"line 4 of .*: half a character",
    ),
    "gzip": (gzip.compress(lines(ROWS)), {}, r"is compressed \(gzip\): unpack it"),
    "Parquet": (b"PAR1....PAR1", {}, r"is a Parquet file: let its name end in \.parquet"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", {}, r"is a pointer of Git LFS .*git lfs pull"),
    "a comment": (b"# mine\n" + lines(ROWS), {}, r"line 1 of .*: a comment, which JSON has not"),
    "no JSON": (lines(ROWS[:8]) + b"prompt,answer\n", {}, r"line 9 of .*: no JSON \(Expecting value at character 1\)"),
    "a cut off line": (lines(ROWS)[:-10], {}, r"line 60 of .*: no JSON"),
    "two objects on a line": (b'{"a": 1} {"a": 2}\n', {}, r"line 1 of .*: more than one value \(from character 10\)"),
    "an object over lines": (json.dumps(ROWS[0], indent=1).encode(), {}, r"line 1 of .*: an object over several lines"),
    "an array that goes on": (json.dumps(ROWS).encode() + b"x", {}, r"line 1 of .*: something follows the array"),
    "an array without an end": (
        json.dumps(ROWS, indent=1).encode()[:-2],
        {},
        r"line 241 of .*: the array of records has no",
    ),
    "an array of text": (b'["a",\n"b"]', {}, r'line 1 of .*: a record must be an object, \{\.\.\.\}, not "a"'),
    "text": (lines(ROWS[:8]) + b'"a"\n', {}, r'line 9 of .*: a record must be an object, \{\.\.\.\}, not "a"'),
    "a number": (b"7\n", {}, r"line 1 of .*: a record must be an object, \{\.\.\.\}, not 7"),
    "NaN": (lines(ROWS[:8]) + b'{"prompt": "a", "answer": NaN}', {}, r"line 9 of .*: NaN is no number of JSON"),
    "infinity": (b'{"prompt": "a", "answer": -Infinity}', {}, r"line 1 of .*: -Infinity is no number of JSON"),
    "a key twice": (b'{"prompt": "a", "prompt": "b"}', {}, r"line 1 of .*: an object has prompt twice"),
    "deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, r"line 1 of .*: brackets in brackets"),
    "no such column": (lines(ROWS), {"gold": "x"}, r"^task\.gold: .* have no column x, but prompt, answer$"),
    "many columns": (
        lines([{f"c{n}": 1 for n in range(9999)}]),
        {},
        r"^task\.prompt: .* have no column prompt, but c0, .*, c11, \.\.\.$",
    ),
    "no such column in one line": (
        lines([*ROWS, {"prompt": "x"}]),
        {},
        r"^task\.gold: line 61 of .*my\.jsonl has no answer$",
    ),
    "no prompt": (
        changed(7, prompt=""),
        {},
        r'^task\.prompt: prompt of line 7 of .* must be text or messages, not ""$',
    ),
    "a blank prompt": (changed(7, prompt=" \n"), {}, r"^task\.prompt: prompt of line 7 of .* must be text or messages"),
    "a number as prompt": (changed(7, prompt=7), {}, r"^task\.prompt: prompt of line 7 of .*, not 7$"),
    "a message without text": (
        changed(7, prompt=[{"role": "user", "content": None}]),
        {},
        r"^task\.prompt: prompt of line 7 of .* must be text or messages, not \[\{",
    ),
    "null": (changed(7, answer=None), {}, r"^task\.gold: answer of line 7 of .* must be text or messages, not null$"),
    "null as reference": (
        changed(7, answer=None),
        {"gold": None, "reference": "answer"},
        r"^task\.reference: answer of line 7 of .* must be text or a number, not null$",
    ),
    "a list as reference": (
        changed(7, answer=["1", "2"]),
        {"gold": None, "reference": "answer"},
        r'^task\.reference: answer of line 7 of .* must be text or a number, not \["1", "2"\]$',
    ),
    "an answer that no completion equals": (changed(7, answer=" "), {}, r"^task\.gold: answer of line 7 of "),
    "an answer without a number": (
        changed(7, answer="none"),
        {"reward": "number"},
        r'^task\.gold: answer of line 7 of .* must be text with a number for task\.reward=number, not "none"$',
    ),
    "a value that a terminal obeys": (changed(7, answer=["\x1b[31m"]), {}, r"answer of line 7 of .*, not \[\"\\u001b"),
    "five records": (lines(ROWS[:5]), {}, r"has 5 records with 5 prompts, of which none is held out: .* so add others"),
    "one prompt": (lines(ROWS[:1] * 60), {}, r"has 60 records with 1 prompt, of which none is held out"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    content, keys, sentence = REFUSED[kind]
    (tmp_path / "my.jsonl").write_bytes(content)
    refused(of(tmp_path / "my.jsonl", **keys), sentence)
    assert [file.name for file in tmp_path.iterdir()] == ["my.jsonl"]


def refused(config: DatasetTask, sentence: str) -> None:
    """Refused by the check before any work, and by the reader."""
    said = set()
    for use in (tasks.check, Records):
        with pytest.raises(ConfigError, match=sentence) as error:
            use(config)
        said.add(str(error.value))
    for text in said:
        assert text.isprintable()
        assert len(text) <= 500
        assert text.startswith("task.")


@pytest.mark.parametrize("value", [b"\xff\xfe", 2**70, {"a": 1}])
def test_parquet_is_refused_by_row_too(value: Any, tmp_path: Path) -> None:
    column = [*[str(n) for n in range(6)], value] if isinstance(value, bytes) else [value] * 7
    column = [each.encode() if isinstance(each, str) else each for each in column]
    kind = pa.binary() if isinstance(value, bytes) else pa.decimal128(38) if isinstance(value, int) else None
    array = pa.array(column, kind)
    table = pa.table({"prompt": [str(n) for n in range(7)], "answer": array})
    if isinstance(value, bytes):  # text that is none: the file says that it is
        table = pa.table({"prompt": table["prompt"], "answer": array.view(pa.string())})
    pq.write_table(table, tmp_path / "my.parquet")
    row = 7 if isinstance(value, bytes) else 1
    refused(of(tmp_path / "my.parquet"), rf"row {row} ")


def test_rows_that_stand_twice_are_on_one_side_of_the_split(tmp_path: Path) -> None:
    rows = [*ROWS, *ROWS, *({**row, "prompt": f" {row['prompt']}\n"} for row in ROWS)]
    (tmp_path / "my.jsonl").write_bytes(lines(rows))
    task = Records(of(tmp_path / "my.jsonl"))
    held_out = {str(problem.prompt).strip() for problem in task.held_out(999)}
    assert held_out
    assert not held_out & {str(problem.prompt).strip() for problem in task.training}
    assert task.repeated > 0
    said: list[str] = []
    tasks.prepare(of(tmp_path / "my.jsonl"), said.append)
    total = len(task.training) + task.repeated
    assert said == [
        f"{task.repeated} of {total} training records have a prompt that is held out too: they are left out of training"
    ]


def test_a_held_out_split_has_no_prompt_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_bytes(lines(ROWS))
    (tmp_path / "data" / "test.jsonl").write_bytes(lines(ROWS[:10]))
    task = Records(of(tmp_path / "data", held_out_split="test"))
    assert (len(task.training), len(task.held_out(99)), task.repeated) == (50, 10, 10)
    (tmp_path / "data" / "test.jsonl").write_bytes(lines(ROWS))
    sentence = (
        r"must have records for training and held-out, and its splits train and test have 60 \(60 of them held out"
    )
    refused(of(tmp_path / "data", held_out_split="test"), sentence)


def test_the_split_of_records_without_repetition_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "my.jsonl").write_bytes(lines(ROWS))
    task = Records(of(tmp_path / "my.jsonl"))
    assert [problem.prompt for problem in task.held_out(4)] == ["45+1=", "51+1=", "27+1=", "16+1="]
    assert task.repeated == 0


SCRAPS = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.sampled_from(
            [b'{"prompt": "', b'", "answer": "', b'"}', b"\n", b"\r", b"[", b"]", b",", b"\\ud800", b"NaN", b"1e9"]
        ),
        st.builds(
            lambda row: json.dumps(row).encode() + b"\n",
            st.dictionaries(
                st.sampled_from(["prompt", "answer"]), st.one_of(st.text(), st.integers(), st.floats(), st.none())
            ),
        ),
    ),
    max_size=12,
).map(b"".join)


@fuzz(150)
@given(SCRAPS, st.booleans())
def test_any_bytes_are_records_or_one_sentence(tmp_path: Path, content: bytes, with_rows: bool) -> None:
    path = tmp_path / "my.jsonl"
    path.write_bytes(lines(ROWS) + content if with_rows else content)
    said = ""
    try:
        task = Records(of(path))
    except ConfigError as error:
        said = str(error)
    if said:
        assert len(said) <= 500
        assert said.isprintable()
        assert said.startswith("task.")
    else:
        assert all(isinstance(problem.gold, str) and problem.gold.encode() for problem in task.problems)
