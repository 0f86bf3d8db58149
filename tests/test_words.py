"""Text is what was typed, in words and in files, and nothing is read from elsewhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from subnetray.config import ConfigError
from subnetray.config.compose import Composer
from subnetray.config.hints import COMMAND, hints_at, is_text
from tests.test_compose import run


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


# Names that Hydra or YAML would read as something else, or not at all.
NAMES = (
    *("1_000", "2024_12_01", "1e5", "1.50", "0x10", "007", "+5", "-1", "1870288932e0", "nan", "inf", "1.0"),
    *("true", "False", "yes", "on", "Null", "~", "none", "[a]", "{a:b}", "a,b", "a=b", "=", "#1", "(x)", "a b", " "),
    *(
        "it's",
        'say "x"',
        "'a'b",
        "back\\slash",
        "end\\",
        "\\'",
        "100%",
        "a@b",
        "a:b",
        "über/größe",
        "$HOME",
        "*",
        "a;b",
    ),
    *(
        "choice(1,2)",
        "range(1,3)",
        "new\nline",
        "tab\t",
        "日本",
        "-",
        "_",
        "...",
        "!x",
        "|",
        "&a",
    ),
)


@pytest.mark.parametrize("name", NAMES)
def test_text_is_what_was_typed(composer: Composer, name: str) -> None:
    words = [f"out={name}", f"cache={name}", "model=llama_3_1_8b", f"model.path={name}", f"model.revision={name}"]
    words += [f"cluster.address={name}", f"subnetwork.mask={name}", "task=jsonl", f"task.path={name}"]
    sweep = composer.sweep(words)
    run = sweep.run
    assert {run.model.revision, sweep.cluster.address} == {name}
    assert {sweep.out, sweep.cache, run.model.path, run.subnetwork.mask, run.task.path} == {
        name if name != "~" else str(Path.home())
    }


@pytest.mark.parametrize("name", NAMES)
def test_text_is_what_a_list_of_overrides_holds(composer: Composer, name: str) -> None:
    (config,) = composer.runs([["subnetwork.mask=random", "subnetwork.source=['task=jsonl',\"a\",b=[1,2]]"]])
    assert config.subnetwork.source == ("task=jsonl", "a", "b=[1,2]")
    if not set(name) & set("[]{}(),\\'\"") and name.strip() == name:
        (config,) = composer.runs([["subnetwork.mask=random", f"subnetwork.source=[{name}, x={name}]"]])
        assert config.subnetwork.source == (name, f"x={name}")


def test_quotes_are_hydra_s_and_null_is_none(composer: Composer) -> None:
    sweep = composer.sweep(["out='null'", 'cache="it\'s"', "model=llama_3_1_8b", "model.revision=null"])
    assert (sweep.out, sweep.cache, sweep.run.model.revision) == ("null", "it's", None)
    assert composer.sweep(["out=null"]).out is None


def test_numbers_are_as_python_writes_them(composer: Composer) -> None:
    config = run(composer, "algorithm.steps=1_000", "algorithm.lr=1_0e-5", "algorithm.weight_decay=1")
    assert (config.algorithm.steps, config.algorithm.lr, config.algorithm.weight_decay) == (1000, 1e-4, 1.0)
    assert type(config.algorithm.weight_decay) is float


def test_a_user_s_file_keeps_its_text(tmp_path: Path) -> None:
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "1_0.yaml").write_text(
        "# @package grid\nname: 1_0\nseeds: [0]\noverrides: [subnetwork.mask=1870288932e0]\n"
        "factors: {f: {baseline: 1.50, levels: {1.50: [], 1e5: [], off: [], null: [], 0x10: []}}}\n"
        "crossed: [{f: [1e5, off]}]\none_at_a_time: [f]\n"
    )
    grid = Composer(tmp_path).sweep(["+grid=1_0"]).grid
    assert grid is not None
    assert (grid.name, grid.overrides) == ("1_0", ["subnetwork.mask=1870288932e0"])
    assert (grid.factors["f"].baseline, [*grid.factors["f"].levels]) == ("1.50", ["1.50", "1e5", "off", "null", "0x10"])
    assert grid.crossed == [{"f": ["1e5", "off"]}]
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text(
        "defaults: [jsonl, _self_]\nname: 1e5\npath: 1870288932e0\nsubset: null\nsplit: ~\naccept: 1e-2\nchat: yes\n"
    )
    task = run(Composer(tmp_path), "task=mine").task
    assert (task.name, task.path, task.subset, task.split) == ("1e5", "1870288932e0", None, "~")
    assert (task.accept, task.chat) == (0.01, True)


def test_a_file_of_ours_is_not_replaced_in_silence(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("defaults: [schema_embedded, _self_]\nlayers: 3\n")
    with pytest.raises(
        ConfigError, match=r"tiny.yaml has the name of a config of subnetray itself: call it otherwise$"
    ):
        run(Composer(tmp_path), "model=tiny")


@pytest.mark.parametrize(
    "resolver", ["oc.env:PLANTED_SECRET", "oc.decode:${oc.env:PLANTED_SECRET}", "hydra:run.dir", "x"]
)
def test_nothing_is_read_from_the_environment(
    resolver: str, composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... by a word, by a file that is somebody else's, nor by what either says of a level; escapes make no way in."""
    monkeypatch.setenv("PLANTED_SECRET", "hunter2")
    (tmp_path / "grid").mkdir()
    file = tmp_path / "grid" / "theirs.yaml"
    for text in (f"${{{resolver}}}", f"a${{{resolver}}}b", f"\\\\${{{resolver}}}"):
        for place in ("about: %s", "factors: {%s: {}}", "overrides: ['model.path=%s']", "seeds: [%s]"):
            file.write_text(f"name: theirs\n{place % json.dumps(text)}\n")
            with pytest.raises(
                ConfigError, match=rf"^{file}: line 2: .* nothing is taken from the environment"
            ) as error:
                Composer(tmp_path).sweep(["+grid=theirs"])
            assert "hunter2" not in str(error.value)
        for word in (f"out={text}", f"out='{text}'", f"algorithm.lr={text}", f"task.operators=[{text}]"):
            with pytest.raises(ConfigError, match="is not read, as nothing is taken from the environment"):
                composer.sweep([word])


def test_the_schema_says_of_every_key_whether_it_holds_text(composer: Composer) -> None:
    """Keys of several algorithms, models or tasks are text in all of them or in none."""
    for group in ("model", "task", "algorithm"):
        names = {field.name for kind in COMMAND[group] for field in dataclasses.fields(kind)}
        for name in names:
            hints = hints_at(COMMAND, [group, name])
            assert hints
            assert is_text(hints) == all(is_text([hint]) for hint in hints), name
    assert {key.split(".")[0] for key in composer.keys([])} <= COMMAND.keys()
