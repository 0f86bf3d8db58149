"""Whatever words a command line has: exit code 2 and one sentence, or what was asked for; never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray import sweep, train
from tests.bad_inputs.refusal import COMMANDS, check_line, listing
from tests.fuzzing import fuzz

# Good words, to be taken as they are and to be altered.
_GOOD = (
    *("algorithm=sft", "algorithm=prime", "algorithm.lr=1e-4", "algorithm.max_grad_norm=null", "algorithm.steps=6"),
    *("model=tiny_sft", "model.layers=3", "task=multiplication", "task=reasoning_gym", "task.operators=['*','-']"),
    *("task.parameters={a:1,b:[2,x]}", "measurement.tolerances=[0,1e-5]", "measurement.early=[1,2]", "seed=3", "out=x"),
    *("subnetwork.mask=random", "subnetwork.source=[algorithm=sft,'algorithm.lr=1e-3']", "precision=bf16", "cache=~/c"),
    *("+grid=smoke", "+grid=checkpoints", "+recipe=smollm2_chain_sum", "grid.seeds=[0,1]", "pairs=[dpo-tulu-8b]"),
    *("+grid.factors.x={baseline:a,levels:{a:[],b:[seed=1]}}", "~grid.factors.method.levels.dpo", "resume=auto"),
    *(
        "cluster.workers=2",
        "tracking.project=p",
        "rollout=hf",
        "init=a/b",
        "final=c",
        "ulps=[2]",
        "rank=true",
        "sweep=x",
    ),
)
_KEYS = tuple(dict.fromkeys(word.partition("=")[0] for word in _GOOD))
# What Hydra's grammar, YAML, the shell, terminals and markup give a meaning to.
_PIECES = (
    *(
        "=",
        ",",
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        "'",
        '"',
        "\\",
        "$",
        "${",
        "}",
        ":",
        "~",
        "+",
        "++",
        "@",
        "/",
        ".",
        "#",
        "%",
    ),
    *(
        "null",
        "true",
        "nan",
        "inf",
        "1e5",
        "1_0",
        "-1",
        "0x1",
        "9" * 30,
        "choice(",
        "range(1,3)",
        "tag(",
        "int(",
        "glob(*)",
    ),
    *(
        " ",
        "\t",
        "\n",
        "\x1b[2J",
        "\x07",
        "\u202e",
        "\ud800",
        "ü",
        "[/x]",
        "<b>",
        "..",
        "--",
        "-h",
        "&",
        "|",
        "*",
        "?",
        "!",
    ),
    *("oc.env:HOME", "hydra.", "_target_", "???", "grid", "algorithm", "x"),
)
_TEXTS = st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=4)), max_size=6).map("".join)


@st.composite
def _altered(draw: st.DrawFn) -> str:
    word = draw(st.sampled_from(_GOOD))
    begin = draw(st.integers(0, len(word)))
    end = draw(st.integers(begin, min(len(word), begin + 4)))
    return word[:begin] + draw(_TEXTS) + word[end:]


WORDS = st.lists(
    st.one_of(st.sampled_from(_GOOD), _altered(), st.builds("{}={}".format, st.sampled_from(_KEYS), _TEXTS), _TEXTS),
    max_size=5,
)


def try_words(command: str, words: list[str]) -> int:
    """Run a command in an empty directory; fails unless it does as asked or refuses in one line, and writes nothing."""
    if command in ("sweep", "train"):
        words = [*(word for word in words if "dry_run" not in word), "dry_run=true"]
    out, err, here = io.StringIO(), io.StringIO(), Path.cwd()
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("error", category=UserWarning)
        os.chdir(scratch)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = COMMANDS[command](words)
        finally:
            os.chdir(here)
        assert listing(Path(scratch)) == {}
    if code:
        check_line(code, out.getvalue(), err.getvalue())
    else:
        assert err.getvalue() == ""
    return code


@pytest.fixture(autouse=True, scope="module")
def _offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@fuzz(60)
@pytest.mark.parametrize("command", ["sweep", "train", "diff", "report"])
@given(words=WORDS)
def test_no_words_end_in_a_traceback(command: str, words: list[str]) -> None:
    try_words(command, words)


def test_good_words_are_taken() -> None:
    """What the altered words are altered from is good by itself."""
    assert try_words("train", ["algorithm=sft", "seed=3"]) == 0
    assert {sweep.main, train.main} < set(COMMANDS.values())
