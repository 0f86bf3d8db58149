"""Override strings to dataclasses: the files in conf/ are the schema's defaults, every mistake is one sentence."""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path

import pytest

from subnetray.config import (
    DPO,
    GRPO,
    SFT,
    ArithmeticTask,
    Checkpointing,
    Cluster,
    ConfigError,
    EmbeddedModel,
    Evaluation,
    Measurement,
    PretrainedModel,
    ReasoningGymTask,
    Rollout,
    RunConfig,
    Tracking,
)
from subnetray.config.compose import GROUPS, RUN_KEYS, Composer, parse

ALGORITHMS = "dpo, grpo, kto, orpo, ppo, prime, raft, raft_plus_plus, rloo, sft, simpo"


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def run(composer: Composer, *overrides: str) -> RunConfig:
    (config,) = composer.runs([overrides])
    return config


def test_without_overrides_everything_has_the_schema_s_default(composer: Composer) -> None:
    sweep = composer.sweep([])
    assert sweep.run == RunConfig(
        EmbeddedModel(), ArithmeticTask(), GRPO(), Rollout(), Evaluation(), Measurement(), "fp32_master", 0
    )
    assert (sweep.cluster, sweep.tracking, sweep.grid) == (Cluster(), Tracking(), None)
    assert sweep.checkpoint == Checkpointing()
    assert (sweep.out, sweep.cache, sweep.dry_run, sweep.resume) == (None, None, False, "auto")


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ("grid", "recipe")])
def test_every_file_of_a_group_can_be_chosen(composer: Composer, group: str) -> None:
    for name in composer.choices(group):
        own = ["task.path=my.jsonl"] if name == "jsonl" else []
        sweep = composer.sweep([f"{group}={name}", *own])
        chosen = getattr(sweep.run, group) if group in RUN_KEYS else getattr(sweep, group)
        assert group not in ("model", "task", "algorithm") or chosen.name == name
        assert dataclasses.is_dataclass(chosen)


def test_every_grid_can_be_chosen(composer: Composer) -> None:
    for name in composer.choices("grid"):
        pairs = composer.pairs([f"+grid={name}"])
        grid = composer.sweep([f"+grid={name}"]).grid if pairs is None else pairs.grid
        assert (name == "checkpoints") == (pairs is not None)
        assert grid is not None
        assert grid.name == name


def test_a_recipe_is_a_list_of_overrides(composer: Composer, tmp_path: Path) -> None:
    assert composer.recipe(["algorithm=sft", "seed=3"]) == ("", [])
    name, texts = composer.recipe(["algorithm=sft", "+recipe=smollm2_chain_sum"])
    assert name == "smollm2_chain_sum"
    assert {"algorithm=grpo", "model=smollm2_135m", "task=reasoning_gym"} < set(texts)
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("overrides: [algorithm.lr=1e-3]\n")
    assert Composer(tmp_path).recipe(["+recipe=mine"]) == ("mine", ["algorithm.lr=1e-3"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["+recipe=nope"], "recipe=nope is unknown: choose one of dpo_tulu_3_8b, "),
        (["recipe=smollm2_chain_sum"], "recipe=smollm2_chain_sum must be written +recipe=smollm2_chain_sum"),
        (["+recipe=[a,b]"], "recipe=[a,b] is unknown: choose one of dpo_tulu_3_8b, "),
        (["+recipe=a", "+recipe=b"], "+recipe=b: write +recipe=NAME once, with one of dpo_tulu_3_8b, "),
        (["+recipe.overrides=[a]"], "+recipe.overrides=[a]: write +recipe=NAME once, with one of dpo_tulu_3_8b, "),
        (["+recipe=empty"], "recipe=empty must have overrides: a list of overrides in quotes, not None"),
        (["+recipe=table"], "recipe=table must have overrides: a list of overrides in quotes, not {'lr': '1'}"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, words: list[str], sentence: str) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "empty.yaml").write_text("about: nothing\n")
    (tmp_path / "recipe" / "table.yaml").write_text("overrides: {lr: 1}\n")
    with pytest.raises(ConfigError) as error:
        Composer(tmp_path).recipe(words)
    assert str(error.value).startswith(sentence)


def test_overrides_reach_their_place_and_no_other(composer: Composer) -> None:
    config = run(
        composer,
        "algorithm.lr=3e-4",
        "algorithm.max_grad_norm=null",
        "algorithm=sft",
        "algorithm.data=rejection",
        "task.operators=['*','-']",
        "model=llama_3_1_8b",
        "model.revision=main",
        "measurement.tolerances=[0,1e-5]",
        "precision=bf16",
        "seed=4",
    )
    assert config == RunConfig(
        PretrainedModel("llama_3_1_8b", "meta-llama/Llama-3.1-8B", "main"),
        ArithmeticTask(operators=("*", "-")),
        SFT(lr=3e-4, max_grad_norm=None, data="rejection"),
        Rollout(),
        Evaluation(),
        Measurement(tolerances=(0.0, 1e-5)),
        "bf16",
        4,
    )
    assert type(config.measurement.tolerances[0]) is float


def test_parameters_of_a_generator_are_free(composer: Composer) -> None:
    task = run(composer, "task=reasoning_gym", "task.generator=leg_counting", "task.parameters={max_animals:3}").task
    assert task == ReasoningGymTask(generator="leg_counting", parameters={"max_animals": 3})
    assert run(composer, "task=reasoning_gym").task.parameters == {}


def test_runs_are_composed_independently(composer: Composer) -> None:
    configs = list(composer.runs([["algorithm=dpo"], ["algorithm.beta=0.5"], []]))
    assert [config.algorithm for config in configs] == [DPO(), GRPO(beta=0.5), GRPO()]


def test_keys_are_those_of_the_chosen_configs(composer: Composer) -> None:
    keys = composer.keys(["algorithm=dpo"])
    assert {f"algorithm.{field.name}" for field in dataclasses.fields(DPO)} == {
        key for key in keys if key.startswith("algorithm.")
    }
    assert {"seed", "out", "rollout.engines", "measurement.tolerances"} <= keys


def test_a_user_s_own_directory_adds_to_the_choices(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [tiny, _self_]\nname: mine\nlayers: 3\n")
    own = Composer(tmp_path)
    assert run(own, "model=mine").model == EmbeddedModel(name="mine", layers=3)
    with pytest.raises(ConfigError, match=r"^model=nope is unknown: choose one of .*, mine, "):
        run(own, "model=nope")


def test_a_directory_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--config-dir must be a directory"):
        Composer(tmp_path / "nope")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("layers: [", "FILE is not valid YAML: line 1: expected the node content"),
        (
            "defaults: [schema_embedded, _self_]\nlayers: many\n",
            "FILE: line 2: layers must be a whole number, not 'many'",
        ),
        ("defaults: [schema_embedded, _self_]\nlayrs: 2\n", "there is no config key model.layrs: choose one of heads,"),
        ("defaults: [nope, _self_]\n", "FILE: line 1: defaults must be a list of deepseek_math_7b_instruct, "),
        ("defaults: [mine, _self_]\n", "FILE begins with itself"),
        ("layers: 2\n", "model: its file must begin with defaults: [SCHEMA, _self_], where SCHEMA is one of"),
    ],
)
def test_a_user_s_broken_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        run(Composer(tmp_path), "model=mine")
    assert str(caught.value).replace(str(tmp_path / "model" / "mine.yaml"), "FILE").startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("algorithm.lr=abc", "algorithm.lr must be a number, not 'abc'"),
        ("algorithm.lr=", "algorithm.lr must be a number, not ''"),
        ("algorithm.steps=1.5", "algorithm.steps must be a whole number, not '1.5'"),
        ("algorithm.steps=-3", "algorithm.steps must be a finite number >= 1, not -3"),
        ("algorithm.foo=1", "there is no config key algorithm.foo: choose one of batch_size, beta,"),
        ("algorithm=sft algorithm.beta=1", "there is no config key algorithm.beta: choose one of batch_size, data,"),
        ("algorithm=nope", f"algorithm=nope is unknown: choose one of {ALGORITHMS}"),
        ("algorithm=null", f"algorithm=null is unknown: choose one of {ALGORITHMS}"),
        ("algorithm=[sft]", f"algorithm=[sft] is unknown: choose one of {ALGORITHMS}"),
        ("algorithm={lr:1}", "algorithm={lr:1} is unknown: choose one of"),
        ("algorithm=", f"algorithm=: write algorithm=NAME with one of {ALGORITHMS}"),
        ("~algorithm", "~algorithm: write algorithm=NAME with one of"),
        ("+algorithm=sft", "+algorithm=sft must be written algorithm=sft"),
        ("algorithm.name=sft", "algorithm.name must be left alone"),
        ("+algorithm.lr=1", "algorithm.lr has a value already: write algorithm.lr=value, without +"),
        ("algorithm.lr=1,2", "algorithm.lr takes one value, or a list in brackets"),
        ("algorithm.lr=${nope}", "algorithm.lr: "),
        ("model=nope", "model=nope is unknown: choose one of"),
        ("task=nope", "task=nope is unknown: choose one of arithmetic, gsm8k, jsonl,"),
        ("cluster=nope", "cluster=nope is unknown: choose one of gpu, laptop"),
        ("tracking=nope", "tracking=nope is unknown: choose one of disabled, offline, online"),
        (
            "+grid=nope",
            "grid=nope is unknown: choose one of algorithms, checkpoints, early, factorial, origins, overlap,"
            " pretrained, screening, single, smoke, subnetwork, transfer",
        ),
        ("grid=origins", "grid=origins must be written +grid=origins"),
        ("grid.seeds=[0]", "grid needs a grid: name one with +grid=NAME"),
        ("+grid=origins grid.seeds=3", "grid.seeds must be a list, as in grid.seeds=[0]"),
        ("+grid=origins grid.seeds=[a]", "grid.seeds must be a list of whole numbers, and holds 'a'"),
        ("+grid=origins grid.nope=3", "there is no config key grid.nope: choose one of about,"),
        ("+grid=origins grid.factors.kl=3", "grid.factors.kl must be a table of about, baseline and levels, not 3"),
        ("+grid=origins +grid.factors.kl.x=3", "there is no config key grid.factors.kl.x: choose one of about,"),
        ("+grid=smoke grid.factors.method.levels.grpo=3", "grid.factors.method.levels.grpo must be a list of texts"),
        ("model=nope/nope", "model=nope/nope is unknown: choose one of"),
        ("rollout.engines=null", "rollout.engines must not be null"),
        ("rollout.max_new_tokens=64", "rollout.max_new_tokens must be from 1 to below rollout.max_model_len (64)"),
        ("measurement.tolerances=0", "measurement.tolerances must be a list"),
        ("evaluation=3", "evaluation must be a table of keys"),
        ("precision=int8", "precision must be one of fp32_master, bf16, fp32, not 'int8'"),
        ("seed=-1", "seed must be a whole number from 0 to 2147483647, not -1"),
        ("seed=a", "seed must be a whole number, not 'a'"),
        ("dry_run=maybe", "dry_run must be true or false, not 'maybe'"),
        ("resume=maybe", "resume must be one of auto, never, must, not 'maybe'"),
        ("on_failed_runs=2", "on_failed_runs must be one of exit1, exit0, not '2'"),
        ("out=", "out must be a directory, not ''"),
        ("foo=1", "there is no config key foo: choose one of algorithm, cache,"),
        ("+foo=1", "there is no config key foo: choose one of algorithm, cache,"),
        ("~foo", "there is no config key foo to delete"),
        ("~seed", "~seed: seed always has a value: write seed=value"),
        ("seeds=[0]", "there is no config key seeds: choose one of algorithm, cache,"),
        ("hydra.run.dir=x", "there is no config key hydra.run.dir"),
        ("junk", "'junk' is no override: write key=value, or +grid=NAME"),
        ("algorithm.lr=[1", "'algorithm.lr=[1' is no override"),
        ("--help", "'--help' is no override"),
        ("", "'' is no override"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_key(composer: Composer, overrides: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composer.sweep(overrides.split(" "))
    text = str(caught.value)
    assert text.startswith(sentence)
    assert "\n" not in text
    assert "hydra" not in text.lower().removeprefix("there is no config key hydra.run.dir: hydra")


def test_composing_again_after_a_mistake_works(composer: Composer) -> None:
    with pytest.raises(ConfigError):
        composer.sweep(["model=nope"])
    assert composer.sweep([]).run.model == EmbeddedModel()


def test_every_folder_of_configs_is_a_package() -> None:
    # What is none would be missing from the wheel, and found by nobody who works in a checkout.
    conf = files("subnetray.conf")
    folders = [entry for entry in conf.iterdir() if entry.is_dir() and entry.name != "__pycache__"]
    assert sorted(folder.name for folder in folders) == sorted(GROUPS)
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_parse_keeps_order_and_text() -> None:
    assert [o.input_line for o in parse(["b=1", "+grid=x", "a.c=[1,2]"])] == ["b=1", "+grid=x", "a.c=[1,2]"]
