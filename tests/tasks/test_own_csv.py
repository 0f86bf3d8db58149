"""Tables of one's own: every cell of CSV is the text that it is; what is missing in Parquet is no answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subnetray.tasks.dataset import Records
from tests.tasks.test_own_data import ROWS, lines, of, refused

TABLE = "prompt,answer\n" + "".join(f'"{row["prompt"]}",{row["answer"]}\n' for row in ROWS)

READ: dict[str, tuple[str, bytes]] = {
    "commas": (".csv", TABLE.encode()),
    "a mark of UTF-8": (".csv", b"\xef\xbb\xbf" + TABLE.encode()),
    "line ends of Windows": (".csv", TABLE.replace("\n", "\r\n").encode()),
    "semicolons": (".csv", TABLE.replace(",", ";").encode()),
    "tabs": (".tsv", TABLE.replace(",", "\t").encode()),
    "blank lines": (".csv", TABLE.replace("\n", "\n\n").encode()),
    "capitals": (".CSV", TABLE.encode()),
}


@pytest.mark.parametrize("kind", READ)
def test_it_is_read(kind: str, tmp_path: Path) -> None:
    suffix, content = READ[kind]
    (tmp_path / f"my{suffix}").write_bytes(content)
    task = Records(of(tmp_path / f"my{suffix}"))
    assert {(each.prompt, each.gold) for each in task.problems} == {(row["prompt"], row["answer"]) for row in ROWS}


@pytest.mark.parametrize("written", ["007", "1.50", "NA", "2024-01-05", "1" + "0" * 30, "true", "1e5", "a, b", "nan"])
@pytest.mark.parametrize("place", ["file", "directory"])
def test_an_answer_is_compared_as_it_is_written(
    written: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "data" / "train.csv"
    path.parent.mkdir()
    path.write_text("prompt,answer\n" + "".join(f'q{n},"{written}"\n' for n in range(60)))
    task = Records(of(path if place == "file" else path.parent))
    assert {problem.reference for problem in task.problems} == {written}


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", r"my\.csv holds no records: write a line of names"),
    "only names": (b"prompt,answer\n", r"my\.csv holds no records"),
    "a row that is longer": (
        TABLE.encode() + b"a,b,c\n",
        r"line 62 of .*: 3 cells, and the first line has 2: put text",
    ),
    "a row that is shorter": (TABLE.encode() + b"a\n", r"line 62 of .*: 1 cells, and the first line has 2"),
    "a quote without an end": (TABLE.encode() + b'"a,b\n', r"line 62 of .*: no CSV \(unexpected end of data\)"),
    "two columns of one name": (b"prompt,prompt\na,b\n", r"line 1 of .*: the first line must name each column"),
    "a column without a name": (b",prompt,answer\n0,a,b\n", r"line 1 of .*: the first line must name each column"),
    "Latin-1": ((TABLE + "größe,1\n").encode("latin-1"), r"line 62 of .*: not UTF-8 \(byte 0xf6 at 3\)"),
    "UTF-16": (TABLE.encode("utf-16"), r"is UTF-16, and must be UTF-8"),
    "a NUL byte": (TABLE.encode() + b"a\0,b\n", r"line 62 of .*: a NUL byte"),
    "no such column": (b"question,answer\na,b\n", r"have no column prompt, but question, answer$"),
    "an empty answer": (TABLE.encode() + b"a,\n", r"answer of line 62 of .* must be text or a number, not \"\"$"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    content, sentence = REFUSED[kind]
    (tmp_path / "my.csv").write_bytes(content)
    refused(of(tmp_path / "my.csv"), sentence)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_a_table_has_where_nothing_is_is_no_answer(value: float, tmp_path: Path) -> None:
    table = pa.table(
        {"prompt": [str(n) for n in range(60)], "answer": [value if n == 6 else float(n) for n in range(60)]}
    )
    pq.write_table(table, tmp_path / "my.parquet")
    refused(
        of(tmp_path / "my.parquet", gold=None, reference="answer"), r"answer of row 7 of .* must be text or a number"
    )


def test_a_column_may_be_a_key_of_the_objects_in_one(tmp_path: Path) -> None:
    """verl's data have their answers there."""
    rows: list[Any] = [{"prompt": row["prompt"], "reward_model": {"ground_truth": row["answer"]}} for row in ROWS]
    (tmp_path / "my.jsonl").write_bytes(lines(rows))
    keys: dict[str, Any] = {"gold": None, "reference": "reward_model.ground_truth"}
    task = Records(of(tmp_path / "my.jsonl", **keys))
    assert {str(each.reference) for each in task.problems} == {row["answer"] for row in ROWS}
    rows[6] = {"prompt": "x", "reward_model": "none"}
    (tmp_path / "my.jsonl").write_bytes(lines(rows))
    refused(of(tmp_path / "my.jsonl", **keys), r"line 7 of .* has no reward_model\.ground_truth$")
