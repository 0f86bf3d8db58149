"""Rewards that come with the project, on texts whose worth is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray.tasks import rewards


@pytest.mark.parametrize(
    ("completion", "reference", "right"),
    [(" yes\n", "yes", True), ("yes.", "yes", False), ("", "yes", False), ("7", 7, True)],
)
def test_exact(completion: str, reference: object, right: bool) -> None:
    assert rewards.exact("", completion, reference) == right


@pytest.mark.parametrize(
    ("completion", "reference", "right"),
    [
        ("9 + 9 is 18.", "First 3, then so on.\n#### 18", True),
        ("18 apples for 5", "#### 18", False),
        ("It costs $1,250.00", "#### 1250", True),
        ("-3", "#### 3", False),
        ("−3", "#### -3", True),  # the typographic minus
        (".5", "0.50", True),
        ("no number", "#### 3", False),
        ("no number", "none either", False),
        ("10000000000000001", "10000000000000000", False),  # apart in decimal, the same in binary floating point
    ],
)
def test_number(completion: str, reference: str, right: bool) -> None:
    assert rewards.number("", completion, reference) == right


@pytest.mark.parametrize(
    ("completion", "reference", "right"),
    [
        (r"so \boxed{\frac{1}{2}}", r"Thus $x = 3$ and the answer is \boxed{0.5}.", True),
        (r"so \boxed{\dfrac12}", r"\frac{1}{2}", True),
        (r"first \boxed{3}, no, \boxed{4}", r"\boxed{4}", True),
        (r"\boxed{(x+1)^2}", r"\boxed{x^2+2x+1}", True),
        (r"\boxed{(1, 2]}", r"\boxed{(1,2)}", False),
        (r"\boxed{5}", r"\boxed{6}", False),
        ("nothing to see", r"\boxed{6}", False),
        (r"\boxed{", r"\boxed{6}", False),
        (r"\boxed{\text{Monday}}", r"\boxed{\text{Monday}}", True),
    ],
)
def test_math(completion: str, reference: str, right: bool) -> None:
    assert rewards.math("", completion, reference) == right


@pytest.mark.parametrize("frame", [r"\boxed{%s}", "$%s$", "%s", r"\boxed{\text{%s}}", "The answer is %s"])
def test_math_executes_nothing(frame: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    text = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    assert rewards.math("", frame % text, r"\boxed{6}") == 0
    assert not canary.exists()
