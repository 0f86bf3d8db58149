"""Texts of others on their way into results, tables and lines of progress."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subnetray.text import LIMIT, LINE, clean, reason

_PIECES = st.sampled_from(
    ["\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x1b", "\r", "\n", "\u202e", "a", "é", " ", "\ud800"]
)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)), st.sampled_from([LINE, LIMIT, 1, 10]))
def test_whatever_a_text_holds_it_is_one_visible_line_of_limited_length(text: str, limit: int) -> None:
    line = clean(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert line == line.strip()
    assert not {unicodedata.category(each) for each in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert clean(line, limit) == line
    line.encode()


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=LINE))
def test_a_text_that_is_such_a_line_stays_as_it_is(text: str) -> None:
    assert clean(text, LINE) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\x1b[1;31mred\x1b[0m text", "red text"),
        ("before\x1b]8;;http://evil\x07link\x1b]8;;\x07after", "beforelinkafter"),
        ("over\rwritten\x08", "over written"),
        ("one\n\n  two\u2028three", "one two three"),
        ("safe\u202eesrever", "safe esrever"),
    ],
)
def test_codes_of_terminals_and_ends_of_lines_are_taken_out(text: str, line: str) -> None:
    assert clean(text) == line


def test_a_long_text_is_cut_and_says_so() -> None:
    assert clean("x" * 3_000_000) == "x" * (LIMIT - 1) + "…"


def test_a_reason_is_the_innermost_error_and_of_a_traceback_its_last_line() -> None:
    inner = ValueError("Traceback (most recent call last):\n  File x\nKeyError: 'no such key'")
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert reason(outer) == "ValueError: KeyError: 'no such key'"
    assert reason(RuntimeError("size mismatch:\n  a is 1\n  b is 2")) == "RuntimeError: size mismatch: a is 1 b is 2"
    assert reason(ValueError()) == "ValueError: no message"
