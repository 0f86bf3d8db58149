"""Bad files: those of a user's own directory of configs, and those of a sweep's directory that a report reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.bad_inputs.refusal import Case, case


def file(name: str, content: str | bytes) -> Callable[[Path], None]:
    """Return a function that writes one file, and the directories above it."""

    def make(directory: Path) -> None:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def _model(content: str | bytes, says: str) -> Case:
    return case("train", "--config-dir conf model=mine", says, file("conf/model/mine.yaml", content))


def _grid(content: str, says: str) -> Case:
    return case("sweep", "--config-dir conf +grid=mine", says, file("conf/grid/mine.yaml", content))


def _levels(name: str) -> str:
    return f"name: mine\nfactors: {{f: {{baseline: {json.dumps(name)}, levels: {{{json.dumps(name)}: []}}}}}}\n"


_BEGIN = "defaults: [schema_embedded, _self_]\n"
_BOMB = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}' if i else '1'] * 10)}]\n" for i in range(9))
CONFIGS = [
    *(
        case(
            "report",
            "sweep=s",
            says,
            file("s/sweep.yaml", f"version: 1\ngrid: {grid}\n"),
        )
        for grid, says in {
            "{name: 0, seeds: [0]}": "grid.name must be a text, not 0",
            "{name: x, seeds: [0, [0]]}": "grid.seeds[1] must be a whole number, not [0]",
            "{name: x, seeds: [0], factors: {f: {baseline: a, levels: {0: []}}}}": "levels must have names",
            "{name: x, seeds: null}": "grid.seeds must not be null",
        }.items()
    ),
    _grid("name: mine\nseeds: [0, [0]]\n", "grid.seeds[1] must be a whole number, not [0]"),
    _grid("name: mine\nseeds: [0]\noverrides: [[seed=1]]\n", "grid.overrides[0] must be one value"),
    _grid("name: mine\nseeds: [0]\none_at_a_time: [{a: b}]\n", "grid.one_at_a_time[0] must be one value"),
    _model("layers: [", "mine.yaml is not valid YAML: line 1"),
    _model("\tlayers: 1", "line 1: a tab cannot start any token"),
    _model(_BEGIN + "layers: 2\nlayers: 3\n", "line 3: layers stands there twice"),
    _model(_BEGIN + "layers: many\n", "line 2: layers must be a whole number, not 'many'"),
    _model(_BEGIN + "layers: yes\n", "line 2: layers must be a whole number, not 'yes'"),
    _model(_BEGIN + "layers: 1.5\n", "line 2: layers must be a whole number"),
    _model(_BEGIN + "layers: -1\n", "model.layers must be"),
    _model(_BEGIN + "pretrain_lr: .nan\n", "model.pretrain_lr must be"),
    _model(_BEGIN + "layers: [1]\n", "model.layers"),
    _model(_BEGIN + "layers: null\n", "model.layers must not be null"),
    _model(_BEGIN + "nope: 1\n", "there is no config key model.nope"),
    _model("layers: 2\n", "its file must begin with defaults: [SCHEMA, _self_]"),
    _model("", "its file must begin with defaults"),
    _model("- 1\n", "must hold a table of keys, not a list"),
    _model("text", "must hold a table of keys, not 'text'"),
    _model("a: 1\n---\nb: 2\n", "another document"),
    _model("? [a]\n: 1\n", "must have names for keys"),
    _model("a: !!python/object/apply:os.system [ls]\n", "has the tag"),
    _model("a: !x 1\n", "has the tag !x"),
    _model("a: &a [*a]\n", "holds too much"),
    _model(_BOMB, "holds too much"),
    _model("a: " + "[" * 100 + "]" * 100, "holds too much"),
    _model("a: " + "[" * 20000, "nested too deeply"),
    _model("a: " + "9" * 5000, "holds a number that cannot be read"),
    _model("a: x\x00", "not valid YAML"),
    _model("# " + "x" * (1 << 20), "is larger than 1 MiB"),
    _model("layers: 2\n".encode("utf-16"), "is not UTF-8 (line 1)"),
    _model("# ok\nname: größe\n".encode("latin-1"), "is not UTF-8 (line 2)"),
    _model(_BEGIN + "name: ${oc.env:HOME}\n", "line 2: name holds ${…}, and nothing is taken from the environment"),
    _model(_BEGIN + "name: ${name}\n", "nothing is taken from the environment"),
    _model("defaults: [mine]\n", "begins with itself"),
    _model("defaults: [nope]\n", "defaults must be a list of"),
    _model("defaults: {model: tiny}\n", "defaults must be a list of"),
    _model("defaults: [/task/arithmetic]\n", "defaults must be a list of"),
    _model("defaults: [../../x]\n", "defaults must be a list of"),
    _model("defaults: [{override /task: jsonl}]\n", "defaults must be a list of"),
    _model("# @package _global_\nseed: 3\n", "# @package must be model, or left out, not _global_"),
    _model("# @package hydra\nx: 3\n", "# @package must be model, or left out, not hydra"),
    case(
        "train",
        "--config-dir conf model=tiny",
        "has the name of a config of subnetray itself",
        file("conf/model/tiny.yaml", _BEGIN),
    ),
    case("train", "--config-dir conf model=mine", "model=mine is unknown", file("conf/model/mine.yml", _BEGIN)),
    case(
        "train",
        "--config-dir conf model=x",
        "must be a file of YAML",
        lambda to: (to / "conf/model/x.yaml").mkdir(parents=True),
    ),
    case("train", "--config-dir conf", "--config-dir must be a directory", file("conf", "")),
    case("train", ["--config-dir", "x" * 300], "--config-dir must be a directory"),
    case(
        "train", "--config-dir conf +recipe=r", "recipe=r must have overrides", file("conf/recipe/r.yaml", "about: x\n")
    ),
    case(
        "train",
        "--config-dir conf +recipe=r",
        "recipe=r must have overrides",
        file("conf/recipe/r.yaml", "overrides: {a: 1}\n"),
    ),
    case(
        "train",
        "--config-dir conf +recipe=r",
        "recipe=r: 'x' is no override",
        file("conf/recipe/r.yaml", "overrides: [x]\n"),
    ),
    case(
        "train",
        "--config-dir conf +recipe=r",
        "choose one of about, overrides",
        file("conf/recipe/r.yaml", "overrides: []\nlr: 1\n"),
    ),
    case(
        "train",
        "--config-dir conf +recipe=r",
        "recipe=r: there is no config key algorithm.nope",
        file("conf/recipe/r.yaml", "overrides: [algorithm.nope=1]\n"),
    ),
    *(
        _grid(f"name: {json.dumps(name)}\n", "grid.name must be a name")
        for name in ("../x", "a/b", ".x", "-x", "[/x]", "a b", "", "\x1b[2J", "x" * 61)
    ),
    *(
        _grid(_levels(name), "a level's name must have")
        for name in ("a/b", "..", ".x", "[/x]", "<b>", "a\nb", "\x1b[2J", " x", "", "x" * 61, "a|b", "`x`", "$x$")
    ),
    *(
        _grid(f"name: mine\nfactors: {{{json.dumps(name)}: {{baseline: a, levels: {{a: []}}}}}}\n", "a factor")
        for name in ("a/b", "..", "a.b", "a b", "[/x]", "x" * 61, "run_id", "1a")
    ),
    _grid("name: mine\nseeds: 3\n", "grid.seeds must be a list"),
    _grid("name: mine\nseeds: [a]\n", "seeds.0 must be a whole number, not 'a'"),
    _grid("name: mine\nfactors: [a]\n", "grid.factors must be a table of keys"),
    _grid("name: mine\nfactors: {f: 3}\n", "grid.factors.f must be a table of about, baseline and levels"),
    _grid("name: mine\nfactors: {f: {baseline: a, levels: {a: 3}}}\n", "grid.factors.f.levels.a"),
    _grid("name: mine\nfactors: {f: {baseline: a, levels: {a: [{b: 1}]}}}\n", "grid.factors.f.levels.a"),
    _grid(
        "name: mine\nfactors: {f: {baseline: a, levels: {a: ['model.path=${oc.env:HOME}']}}}\n",
        "nothing is taken from the environment",
    ),
    _grid("name: mine\nnope: 3\n", "there is no config key grid.nope"),
    _grid("name: mine\npairs: {../../x: {init: a, final: b}}\n", "grid.pairs.../../x must be a name"),
    _grid("name: ../../x\npairs: {x: {init: a, final: b}}\n", "grid.name must be a name"),
    _grid("name: mine\npairs: {x: {init: a}}\n", "grid.pairs.x.final must be"),
    _grid("name: mine\npairs: {x: {init: a, final: b, table_6: {nope: 1}}}\n", "grid.pairs.x.table_6 must be one of"),
    _grid(
        "name: mine\nfactors:\n"
        + "".join(
            f"  f{i}: {{baseline: a, levels: {{{', '.join(f'{c}: []' for c in 'abcdefgh')}}}}}\n" for i in range(9)
        )
        + "crossed: [{"
        + ", ".join(f"f{i}: [a, b, c, d, e, f, g, h]" for i in range(9))
        + "}]\n",
        "a sweep at most 100000 runs",
    ),
]


def _sweep(content: str | bytes, says: str) -> Case:
    return case("report", "sweep=s", says, file("s/sweep.yaml", content))


def _pipe(directory: Path) -> None:
    (directory / "s").mkdir()
    os.mkfifo(directory / "s/sweep.yaml")


def _link_to_nowhere(directory: Path) -> None:
    (directory / "s").mkdir()
    (directory / "s/sweep.yaml").symlink_to("nowhere")


REPORTS = [
    _sweep("", "is not readable as the description of a sweep"),
    _sweep("[", "is not readable as the description of a sweep"),
    _sweep("- 1\n", "is not readable as the description of a sweep"),
    _sweep("grid: 3\n", "is not readable as the description of a sweep"),
    _sweep("method: grid\nmetric: {name: loss}\n", "is not readable as the description of a sweep"),
    _sweep(b"\x91B\xdf\xff", "is not readable as the description of a sweep"),
    _sweep("version: 1\ngrid: größe\n".encode("latin-1"), "is not readable as the description of a sweep"),
    _sweep("version: 1\nwhen: 2024-13-45\n", "is not readable as the description of a sweep"),
    _sweep("when: !!timestamp x\n", "is not readable as the description of a sweep"),
    _sweep("a: " + "[" * 20000, "is not readable as the description of a sweep"),
    case("report", "sweep=s", "sweep.yaml does not exist", _pipe),
    case("report", "sweep=s", "sweep.yaml does not exist", _link_to_nowhere),
    _sweep("!!python/object/apply:os.system [ls]\n", "is not readable as the description of a sweep"),
    case("report", "sweep=s", "sweep.yaml does not exist", lambda to: (to / "s").mkdir()),
    case("report", "sweep=s", "sweep.yaml does not exist", file("s", "")),
    case("report", "sweep=s", "sweep.yaml does not exist", lambda to: (to / "s/sweep.yaml").mkdir(parents=True)),
]
CASES = [*CONFIGS, *REPORTS]
