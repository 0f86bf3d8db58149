"""Whatever a policy writes, a grader gives 0 or 1, and soon."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subnetray.tasks import rewards
from subnetray.tasks.grading import maths, numbers
from subnetray.tasks.grading.characters import plain
from tests.fuzzing import fuzz

PIECES = r"""
\boxed{ \boxed \fbox{ } { ( ) [ ] $ $$ \( \) \[ \] \{ \} , ; = < > \le \in \cup \pm + - * / ^ _ ! % \% . \frac \frac12
\sqrt \text{ cm} \begin{pmatrix} \end{pmatrix} & \\ \infty \pi \log \sin \binom \overline{ ^\circ # ####
<think> </think> <answer> The answer is and or
0 1 9 12 10,000 1e9 99999999999 0.5 1/2 x y (B) ½ ² − ٣ six percent \left \right \, {,}
""".split()  # noqa: SIM905
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from([*PIECES, " ", "\n"]), max_size=14).map("".join),
    st.lists(st.sampled_from([*PIECES, " ", "\n"]), max_size=14).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "\\boxed{" + "".join(pieces) + "}"),
)
LIMIT_S = 6.0  # of processor time: more than the 2 s of a comparison, and far less than what hangs takes


def in_time(reward: Callable[[Any, str, Any], float], completion: str, reference: str, limit_s: float) -> float:
    start = time.process_time()
    value = reward("", completion, reference)
    assert time.process_time() - start < limit_s
    assert value in (0.0, 1.0)
    return value


@fuzz(200)
@given(TEXTS, TEXTS)
def test_number_is_0_or_1_of_any_text(completion: str, reference: str) -> None:
    in_time(rewards.number, completion, reference, 1.0)
    if numbers.final(reference) is not None:
        assert rewards.number("", reference, reference) == 1.0


@fuzz(80)
@example("0", "\\boxed$0$")  # a box that is none, in a reference
@given(TEXTS, TEXTS)
def test_math_is_0_or_1_of_any_text(completion: str, reference: str) -> None:
    maths.ready()
    in_time(rewards.math, completion, reference, LIMIT_S)


@given(st.text())
def test_characters_are_made_plain_once_and_for_all(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 20_000,
        "1," * 10_000,
        "1,000" * 4_000,
        "1 " * 10_000,
        "1 000 " * 4_000,
        "1/" * 10_000,
        "1:" * 10_000,
        "1." * 10_000,
        "-" * 20_000,
        "(" * 20_000,
        "{" * 20_000,
        "\\boxed{" * 3_000,
        "\\boxed{" * 3_000 + "1" + "}" * 3_000,
        "\\frac{" * 3_000,
        "\\text{" * 3_000,
        "$" * 20_001,
        "$1$ " * 5_000,
        "\\(" * 10_000,
        "answer is " * 2_000,
        "answer:\n" * 2_000,
        "#### " * 4_000,
        "#### 1 x\n" * 2_000,
        "<think>" * 3_000,
        "x^" * 10_000,
        "2^" * 10_000,
        "\\sqrt" * 4_000,
        "**1" * 6_000,
        " " * 20_000,
        "a" * 20_000,
        "½" * 10_000,
        "²" * 10_000,
        "one hundred " * 2_000,
        "\\begin{pmatrix}" * 5_000,
        "10^" + "9" * 100,
        "9" * 50 + "^" + "9" * 3,
        "1e" + "9" * 50,
        "\\boxed{" + "(" * 3_000 + "1" + ")" * 3_000 + "}",
        "\\boxed{" + "1," * 900 + "1}",
        "\\boxed{" + "x+" * 900 + "1}",
        "\\boxed{" + "(1," * 400 + "1" + ")" * 400 + "}",
        "\\boxed{" + "\\sqrt{" * 200 + "2" + "}" * 200 + "}",
        "\\boxed{" + "2^{" * 200 + "2" + "}" * 200 + "}",
        "\\boxed{" + "!" * 200 + "}",
        "\\boxed{\\int_0^1 \\int_0^1 \\int_0^1 \\sin(x^y) dx dy dz}",
        "\\boxed{\\sum_{n=1}^{10^9} \\frac{1}{n}}",
        "\\boxed{\\prod_{n=1}^{1000000} n}",
        "\\boxed{\\lim_{x \\to 0} \\frac{\\sin x}{x}}",
    ],
    ids=lambda text: f"{text[:12]}-{len(text)}",
)
@pytest.mark.parametrize("name", ["number", "math"])
def test_no_text_takes_long(name: str, text: str) -> None:
    maths.ready()
    in_time(getattr(rewards, name), text, "7", LIMIT_S)
