"""The reference of all keys: made of the schema, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import subnetray
from subnetray import explain
from subnetray.config import ConfigError
from subnetray.config.compose import RUN_KEYS, Composer
from subnetray.config.reference import Key, page, sections

KEYS = [key for section in sections() for key in section.keys]


def _key(name: str, owner: str = "") -> Key:
    (found,) = (key for key in KEYS if key.name == name and owner in key.owner.split(", "))
    return found


def test_every_key_of_a_command_line_is_there_with_a_meaning() -> None:
    composer = Composer()
    known = {key.name for key in KEYS} | {section.name for section in sections()}
    for choices in (
        [],
        ["algorithm=dpo"],
        ["model=smollm2_135m", "task=reasoning_gym"],
        ["task=gsm8k", "+grid=origins"],
    ):
        composed = composer.keys(choices)
        ours = {key for key in composed if key.count(".") < 2 and not key.endswith(".name") and key != "recipe"}
        assert ours <= known
    assert {key for key in RUN_KEYS if key not in known} == set()
    assert [key.name for key in KEYS if not key.meaning] == []


@pytest.mark.parametrize(
    ("name", "owner", "wanted", "default"),
    [
        ("algorithm.lr", "", "a finite number > 0", "0.0001"),
        ("algorithm.max_grad_norm", "", "a finite number > 0, or null", "1"),
        ("algorithm.batch_size", "dpo", "a whole number >= 1", "64"),
        ("algorithm.data", "sft", "one of gold, rejection, shuffled", "gold"),
        ("task.path", "dataset", "text", None),
        ("task.operators", "arithmetic", "a list of texts", "[+, -]"),
        ("rollout.max_new_tokens", "", "from 1 to below rollout.max_model_len (64)", "5"),
        ("precision", "", "one of fp32_master, bf16, fp32", "fp32_master"),
        ("grid.interactions", "", "a list of lists of texts", "[]"),
        ("tracking.system", "", "true or false or null", "null"),
    ],
)
def test_value_and_default_are_those_of_the_schema(name: str, owner: str, wanted: str, default: str | None) -> None:
    key = _key(name, owner)
    assert (key.wanted, key.default) == (wanted, default)


def test_defaults_can_be_typed() -> None:
    typed = [f"{key.name}={key.default}" for key in KEYS if not key.owner and key.default and "." in key.name]
    typed = [each for each in typed if not each.startswith("grid.")]
    assert Composer().sweep(typed) == Composer().sweep([])


def test_comments_above_and_beside_a_field_are_its_meaning() -> None:
    assert _key("algorithm.max_grad_norm").meaning.startswith("Global gradient norm above which gradients are scaled")
    assert _key("cluster.max_failures").meaning == "times a crashed run is started again"
    assert _key("algorithm.beta", "kto").meaning.startswith("weight of log-ratios to the init")
    assert _key("algorithm.beta", "grpo").meaning.startswith("Weight of the KL penalty to the init")


def test_the_page_is_what_the_schema_says() -> None:
    """``python -m subnetray.config.reference > docs/keys.md`` writes it again."""
    assert (Path(subnetray.__file__).parents[1] / "docs" / "keys.md").read_text() == page()


def test_a_key_and_a_section_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.main(["algorithm.warmup_steps", "checkpoint"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("algorithm.warmup_steps\n    a whole number >= 0; default 0\n    over which")
    assert "checkpoint.every_minutes\n" in said
    assert explain.main([]) == 0
    said = capsys.readouterr().out
    assert "  +grid=  one of algorithms, " in said
    assert all(f"  {key.name}\n" in said for key in KEYS)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("lr", "there is no key lr: there is algorithm.lr"),
        ("algorithm.warmup_step", "there is no key algorithm.warmup_step: there is algorithm.warmup_steps"),
        ("\x1b[31mred", "there is no key "),
        ("qqqqqqqq", "there is no key qqqqqqqq"),
    ],
)
def test_a_key_that_there_is_not_is_a_sentence(word: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.main([word]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"subnetray: {sentence}")
    assert said.count("\n") == 1
    assert "\x1b" not in said


def test_what_raises_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="there is no key nope"):
        list(explain._about("nope"))
