"""The plans of the grids that ship, and what planning refuses."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from subnetray.config import (
    DPO,
    GRPO,
    KTO,
    RLOO,
    SFT,
    Algorithm,
    ConfigError,
    DatasetTask,
    ReasoningGymTask,
    SmolLM2Model,
)
from subnetray.config.compose import Composer
from subnetray.grid import Plan, plan, run_id
from subnetray.grid.checks import _longest, check_run
from subnetray.tasks.arithmetic import Arithmetic
from tests.grid.test_identity import make

SHARED = ["cluster.workers=2", "cluster.sharding=full"]


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


@pytest.fixture(scope="module")
def origins(composer: Composer) -> Plan:
    return plan(composer, ["+grid=origins"])[1]


def test_origins_crosses_learning_rate_and_method_and_varies_the_rest(origins: Plan) -> None:
    cells = {tuple(run.cell.items()) for run in origins.runs}
    assert len(cells) == 21
    assert len(origins.runs) == 63
    assert {run.seed for run in origins.runs} == {0, 1, 2}
    crossed = {
        (run.config.algorithm.name, run.config.algorithm.lr)
        for run in origins.runs
        if run.cell["method"] in ("grpo", "sft_gold", "dpo_on_policy")
    }
    assert crossed == {(method, lr) for method in ("grpo", "sft", "dpo") for lr in (1e-6, 1e-5, 1e-4)}


def test_runs_are_named_by_content_and_all_differ(origins: Plan) -> None:
    assert len({run.run_id for run in origins.runs}) == len(origins.runs)
    assert all(run.run_id == run_id(run.config, 1) for run in origins.runs)
    assert all(set(run.cell) == set(origins.grid.factors) for run in origins.runs)


def test_seeds_of_a_cell_differ_in_the_seed_alone(origins: Plan) -> None:
    for start in range(0, len(origins.runs), 3):
        first, *others = origins.runs[start : start + 3]
        for other in others:
            assert other.cell == first.cell
            assert dataclasses.replace(other.config, seed=first.seed) == first.config


def test_levels_reach_the_configs(composer: Composer, origins: Plan) -> None:
    config = {
        (name, level): run.config
        for run in origins.runs
        for name, level in run.cell.items()
        if level != origins.grid.factors[name].baseline
    }
    assert config["clip", "off"].algorithm.max_grad_norm is None
    assert [config["kl", level].algorithm.beta for level in ("0.1", "1")] == [0.1, 1.0]
    assert (config["prompts", "1"].task.size, config["prompts", "1"].task.data_seed) == (480, 1)
    assert [config["init", "after_sft"].model] == [run.model for run in composer.runs([["model=tiny_sft"]])]
    assert config["train_steps", "180"].algorithm.steps == 180
    assert config["data", "multiplication"].task.operators == ("*",)
    assert config["dtype", "bf16"].precision == "bf16"
    assert config["method", "sft_rejection"].algorithm == SFT(lr=1e-5, data="rejection")


def test_the_sweep_s_run_is_the_baseline(composer: Composer, origins: Plan) -> None:
    sweep, planned = plan(composer, ["+grid=origins", "grid.seeds=[5,3]", "cluster.workers=2"])
    assert sweep.run == planned.runs[0].config == dataclasses.replace(origins.runs[0].config, seed=5)
    assert sweep.cluster.workers == 2
    assert [run.seed for run in planned.runs[:4]] == [5, 3, 5, 3]
    assert planned.runs[0].run_id == run_id(sweep.run, 2)
    _, shared = plan(composer, ["+grid=origins", "grid.seeds=[5,3]", "cluster.workers=2", "cluster.sharding=full"])
    assert shared.runs[0].run_id == run_id(sweep.run, 2, sharded=True)


def test_how_it_executes_leaves_identities_alone(composer: Composer) -> None:
    names = [run.run_id for run in plan(composer, ["+grid=smoke"])[1].runs]
    elsewhere = ["cluster.workers=1", "rollout.engines=2", "tracking=disabled", "out=x", "model.name=other"]
    elsewhere += ["checkpoint.every_steps=5", "checkpoint.every_minutes=0.5"]
    assert [run.run_id for run in plan(composer, ["+grid=smoke", *elsewhere])[1].runs] == names


def test_smoke_is_small_and_can_be_made_smaller(composer: Composer) -> None:
    runs = plan(composer, ["+grid=smoke", "algorithm.steps=2", "algorithm.group_size=4"])[1].runs
    assert len(runs) == 6
    assert {(r.config.algorithm.steps, r.config.algorithm.batch_size, r.config.evaluation.prompts) for r in runs} == {
        (2, 32, 64)
    }
    assert {r.config.algorithm.group_size for r in runs if isinstance(r.config.algorithm, GRPO)} == {4}


def test_every_recipe_is_a_run(composer: Composer) -> None:
    names = composer.choices("recipe")
    runs = {name: plan(composer, ["+grid=single", f"+recipe={name}"])[1].runs for name in names}
    assert {run.config.algorithm.name for (run,) in runs.values()} >= {
        *("grpo", "prime", "dpo", "simpo", "orpo", "kto", "ppo")
    }
    # A rate of another model's would be no recipe.
    assert all(run.config.algorithm.lr < 1e-4 for (run,) in runs.values())
    prime = runs["prime_eurus_2_7b"][0].config
    assert (prime.algorithm.prm_update, prime.algorithm.prm_lr, prime.rollout.max_new_tokens) == ("before", 1e-6, 3072)
    assert prime.model.path == "PRIME-RL/Eurus-2-7B-SFT"


def test_a_recipe_within_a_sweep(composer: Composer) -> None:
    runs = plan(composer, ["+grid=smoke", "+recipe=smollm2_chain_sum", "algorithm.micro_batch_size=4"])[1].runs
    assert len(runs) == 6
    for run in runs:
        assert (run.config.model.name, run.config.task.generator) == ("smollm2_135m", "chain_sum")
        # Of the grid, of a level, of the command line, and of the recipe.
        assert run.config.algorithm.steps == 6
        assert f"{run.config.algorithm.lr:g}" == f"{float(run.cell['learning_rate']):g}"
        assert run.config.algorithm.micro_batch_size == 4
        assert run.config.rollout.max_new_tokens == 12


def test_a_task_of_one_s_own_on_a_command_line(composer: Composer, tmp_path: Path) -> None:
    (tmp_path / "sums.jsonl").write_text("".join(f'{{"prompt": "{n}+1=", "answer": "{n + 1}"}}\n' for n in range(99)))
    words = ["task=jsonl", f"task.path={tmp_path / 'sums.jsonl'}", "task.gold=answer", "task.reward=exact"]
    (run,) = plan(composer, ["+grid=single", *words])[1].runs
    assert isinstance(run.config.task, DatasetTask)
    with pytest.raises(ConfigError, match=r"^task\.path must be given"):
        plan(composer, ["+grid=single", "task=jsonl"])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["algorithm.lr=abc"], "algorithm.lr must be a number, not 'abc'"),
        (["algorithm.lr=1e-3"], "algorithm.lr is what the factor learning_rate varies"),
        (["algorithm.foo=1"], "there is no config key algorithm.foo in any cell of the grid"),
        (["algorithm.group_size=3"], "algorithm.batch_size must be a multiple of algorithm.group_size (3), not 32"),
        (["grid.seeds=[0,0]"], "grid.seeds must name each seed once"),
        (["cluster.sharding=full"], "cluster.workers must be at least 2 with cluster.sharding=full, not 0"),
        ([*SHARED, "measurement.early=[1]"], "measurement.early must be [] with cluster.sharding=full"),
        ([*SHARED, "subnetwork.mask=snip", "subnetwork.at=1"], "subnetwork.mask=snip is made of scores of early steps"),
        (["model=nope"], "model=nope is unknown: choose one of"),
        (["cluster=nope"], "cluster=nope is unknown: choose one of gpu, laptop"),
        (["model.hidden_size=100"], "model.hidden_size / model.heads must be one of"),
        (["algorithm.warmup_steps=6"], "algorithm.warmup_steps must be below algorithm.steps (6), not 6"),
        (["cluster.workers=5"], "algorithm.batch_size must be a multiple of cluster.workers (5), not 32"),
        (
            ["algorithm.micro_batch_size=5"],
            "algorithm.micro_batch_size must divide a worker's share of the batch (32 sequences), not 5",
        ),
        (
            ["grid.factors.method.levels.sft_gold=['algorithm=kto']", "cluster.workers=32"],
            "algorithm.micro_batch_size, or a worker's share of algorithm.batch_size, must be at least 2 with",
        ),
        (
            ["grid.factors.method.levels.sft_gold=['algorithm=prime']", "cluster.workers=16"],
            "algorithm.batch_size must leave every worker whole groups with algorithm=prime, and a share of 2",
        ),
        (
            ["grid.factors.method.levels.grpo=['algorithm=rloo','algorithm.group_size=1']"],
            "algorithm.group_size must be a finite number >= 2, not 1",
        ),
        (
            ["grid.factors.method.levels.grpo=['algorithm=rloo']", "rollout.staleness=1"],
            "rollout.staleness must be 0 with algorithm=rloo, whose loss takes rollouts for the present policy's",
        ),
        (["rollout.max_new_tokens=3"], "rollout.max_new_tokens must hold the longest gold completion"),
        (["rollout.max_model_len=10"], "rollout.max_model_len must hold the longest prompt (6 tokens)"),
        (
            ["rollout.max_model_len=129"],
            "rollout.max_model_len must be at most the model's context of 128 tokens, not 129",
        ),
        (["algorithm.samples_per_prompt=0"], "algorithm.samples_per_prompt must be a finite number >= 1, not 0 (in"),
        (
            ["grid.factors.method.levels.sft_gold=['algorithm=grpo']"],
            "grid.factors: the cells baseline and method=sft_gold are the same run",
        ),
        (["grid.factors.method.levels.sft_gold=['algorithm=nope']"], "algorithm=nope is unknown: choose one of"),
    ],
)
def test_a_mistake_is_found_before_any_run(composer: Composer, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(composer, ["+grid=smoke", *overrides])
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_grid_must_be_named(composer: Composer) -> None:
    names = ", ".join(sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "grid").glob("*.yaml")))
    assert {"algorithms", "origins", "transfer"} < set(names.split(", "))
    with pytest.raises(ConfigError, match=rf"^no grid is named: write \+grid=NAME with one of {names}$"):
        plan(composer, [])
    with pytest.raises(ConfigError, match=rf"^grid=nope is unknown: choose one of {names}$"):
        plan(composer, ["+grid=nope"])


def test_the_grids_of_a_user_s_own_directory(tmp_path: Path) -> None:
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "mine.yaml").write_text("# @package grid\ndefaults: [smoke, _self_]\nname: mine\nseeds: [4]\n")
    composer = Composer(tmp_path)
    assert set(composer.choices("grid")) == {*Composer().choices("grid"), "mine"}
    sweep, planned = plan(composer, ["+grid=mine"])
    assert sweep.grid is not None
    assert sweep.grid.name == "mine"
    assert [run.seed for run in planned.runs] == [4] * 6


@pytest.mark.parametrize("begin", ["defaults: [smoke, _self_]", "name: smoke", "name: origins"])
def test_a_copied_grid_that_keeps_its_name_is_refused_unless_it_writes_elsewhere(tmp_path: Path, begin: str) -> None:
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "mine.yaml").write_text(f"# @package grid\n{begin}\nseeds: [4]\n")
    with pytest.raises(ConfigError, match=r"^grid\.name must be of \+grid=mine alone, .* write name: mine in its file"):
        plan(Composer(tmp_path), ["+grid=mine"])
    assert plan(Composer(tmp_path), ["+grid=mine", "out=x"])[1].runs
    assert plan(Composer(tmp_path), ["+grid=mine", "grid.name=mine"])[1].runs


@pytest.mark.parametrize("task", [{}, {"operators": ("*",)}, {"operators": ("-",), "max_left": 7, "max_right": 120}])
def test_the_longest_texts_are_those_of_all_problems(task: dict[str, object]) -> None:
    config = dataclasses.replace(make().task, **{"max_left": 99, "max_right": 12} | task)
    loaded = Arithmetic(config)
    problems = [*loaded.training, *loaded.held_out(10**6)]
    assert _longest(config) == (max(len(p.prompt) for p in problems), max(len(p.gold) for p in problems))


def test_values_are_judged_together_with_the_grid_s_own(composer: Composer) -> None:
    # 33 is a multiple of 3, and so is not the default batch size of 128.
    grid = "grid.overrides=['algorithm.batch_size=33']"
    assert plan(composer, ["+grid=smoke", grid, "algorithm.group_size=3"])[0].run.algorithm.batch_size == 33


def test_exactly_enough_room_is_enough() -> None:
    config = make()  # one-digit operands: prompts of 4 tokens, gold completions of 3

    def check(max_new_tokens: int, max_model_len: int) -> None:
        rollout = dataclasses.replace(config.rollout, max_new_tokens=max_new_tokens, max_model_len=max_model_len)
        check_run(dataclasses.replace(config, rollout=rollout), 1)

    check(4, 8)
    with pytest.raises(ConfigError, match=r"^rollout\.max_new_tokens must .* at least 4, not 3$"):
        check(3, 8)
    with pytest.raises(ConfigError, match=r"^rollout\.max_model_len must .* at least 8, not 7$"):
        check(4, 7)


def test_planning_imports_nothing_heavy() -> None:
    script = """
import sys
from subnetray.config.compose import Composer
from subnetray.grid import plan
plan(Composer(), ["+grid=origins", "grid.seeds=[0]"])
print([name for name in ("torch", "ray", "transformers", "trl", "vllm", "wandb") if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


PAIRS = DatasetTask("pairs", "a/b", gold="chosen", rejected="rejected")
PROMPTS = DatasetTask("prompts", "a/b", gold=None, reference="answer", reward="number")


@pytest.mark.parametrize(
    ("algorithm", "task", "sentence"),
    [
        (
            GRPO(),
            PAIRS,
            "algorithm=grpo needs a reward for completions of the policy, which task=pairs does not offer: set",
        ),
        (RLOO(), PAIRS, "algorithm=rloo needs a reward"),
        (DPO(), PAIRS, "algorithm=dpo algorithm.data=on_policy needs a reward"),
        (SFT(data="rejection"), PAIRS, "algorithm=sft algorithm.data=rejection needs a reward"),
        (SFT(), PROMPTS, "algorithm=sft algorithm.data=gold needs gold completions, which task=prompts does not offer"),
        (
            DPO(data="off_policy"),
            PROMPTS,
            "algorithm=dpo algorithm.data=off_policy needs pairs of a better and a worse",
        ),
        (KTO(data="off_policy"), PROMPTS, "algorithm=kto algorithm.data=off_policy needs pairs"),
        (SFT(data="shuffled"), PROMPTS, "algorithm=sft algorithm.data=shuffled needs gold completions"),
    ],
)
def test_a_task_without_what_the_algorithm_trains_on(
    algorithm: Algorithm, task: DatasetTask | ReasoningGymTask, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        check_run(make(model=SmolLM2Model(), task=task, algorithm=algorithm), 1)


@pytest.mark.parametrize(
    ("algorithm", "task"),
    [(DPO(data="off_policy"), PAIRS), (SFT(), PAIRS), (GRPO(), PROMPTS), (DPO(), PROMPTS), (SFT(), ReasoningGymTask())],
)
def test_a_task_with_what_the_algorithm_trains_on(algorithm: Algorithm, task: DatasetTask | ReasoningGymTask) -> None:
    check_run(make(model=SmolLM2Model(), task=task, algorithm=algorithm), 1)


def test_a_task_that_the_embedded_model_cannot_read(tmp_path: Path) -> None:
    file = tmp_path / "my.jsonl"
    for prompt, sentence in [
        ("1+1=", None),
        ("what?", "task.path: the embedded model reads only 0123456789+-*=, not 'what?'"),
        ("1+" * 40 + "1=", "rollout.max_model_len must hold the longest prompt"),
    ]:
        records = [{"prompt": prompt, "answer": "2"}, *({"prompt": f"{n}+1=", "answer": "1"} for n in range(40))]
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        config = make(task=DatasetTask("mine", str(file), gold="answer", reward="exact"))
        if sentence is None:
            check_run(config, 1)
            continue
        with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
            check_run(config, 1)
    for task in (ReasoningGymTask(), PROMPTS):
        with pytest.raises(ConfigError, match=r"^the embedded model reads only .* needs another model"):
            check_run(make(task=task), 1)


def test_a_mask_that_cannot_be_used_is_found_before_any_run(composer: Composer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^subnetwork\.mask: .*none cannot be read"):
        plan(composer, ["+grid=smoke", f"subnetwork.mask={tmp_path / 'none'}"])
