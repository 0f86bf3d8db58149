"""Bad words about grids: of runs, and of pairs of checkpoints."""

from __future__ import annotations

from tests.bad_inputs.refusal import case

CASES = [
    case("sweep", [], "no grid is named: write +grid=NAME with one of"),
    case("sweep", "seed=1 +grid=smoke", "seed is set by the grid"),
    *(
        case("sweep", ["+grid=smoke", word], says)
        for word, says in {
            "grid.seeds=[]": "grid.seeds must name at least one seed",
            "grid.seeds=[0,0]": "names 0 more than once",
            "grid.seeds=[-1]": "grid.seeds must be whole numbers from 0",
            "grid.seeds=[2147483648]": "grid.seeds must be whole numbers from 0",
            "grid.seeds=[1.5]": "grid.seeds must be a list of whole numbers",
            "grid.seeds=[true]": "grid.seeds must be a list of whole numbers",
            "grid.seeds=[x]": "grid.seeds must be a list of whole numbers",
            "grid.seeds=[0,[0]]": "grid.seeds",
            "grid.seeds=[{a:0}]": "grid.seeds",
            "grid.overrides=[[seed=1]]": "grid.overrides",
            "grid.one_at_a_time=[[method]]": "grid.one_at_a_time",
            "grid.crossed=[[method]]": "grid.crossed",
            "grid.seeds=0": "grid.seeds must be a list",
            "grid.seeds=null": "grid.seeds must not be null",
            "grid.name=../x": "grid.name must be a name",
            "grid.name=": "grid.name must be a name",
            "grid.name=.hidden": "grid.name must be a name",
            "grid.name=[/x]": "grid.name must be a name",
            "grid.name=a/b": "grid.name must be a name",
            f"grid.name={'n' * 300}": "grid.name must be a name",
            "grid.name=\x1b[2J": "grid.name must be a name",
            "~grid.name": "grid.name must be a name",
            "grid.nope=1": "there is no config key grid.nope",
            "+grid.nope=1": "there is no config key grid.nope",
            "grid.factors=3": "grid.factors must be",
            "grid.factors.method=3": "grid.factors.method must be a table of about, baseline and levels",
            "+grid.factors.x={}": "grid.factors.x.levels must name at least one level",
            "+grid.factors.seed={baseline:a,levels:{a:[]}}": "a factor must not be called seed",
            "+grid.factors.status={baseline:a,levels:{a:[]}}": "a factor must not be called status",
            "+grid.factors.a-b={baseline:a,levels:{a:[]}}": "a factor's name must be letters, digits and _",
            "grid.factors.method.baseline=nope": "grid.factors.method.baseline must be one of",
            "+grid.factors.method.levels.x=3": "grid.factors.method.levels.x must be a list of texts",
            "+grid.factors.method.levels.x=[seed=1]": "must not set seed",
            "+grid.factors.method.levels.x=[out=y]": "must set keys of a run",
            "+grid.factors.method.levels.x=[junk]": "'junk' is no override",
            "+grid.factors.method.levels.x=[+algorithm.lr=1]": "must set keys as key=value",
            "grid.factors.method.levels.grpo=[algorithm.lr=x]": "algorithm.lr must be a number",
            "grid.factors.method.levels.grpo=[algorithm.nope=1]": "algorithm.nope",
            "grid.factors.method.levels.grpo=[algorithm=nope]": "algorithm=nope is unknown",
            "grid.one_at_a_time=[nope]": "names the factor nope, which grid.factors lacks",
            "grid.one_at_a_time=method": "grid.one_at_a_time must be a list",
            "grid.crossed=[{nope:[a]}]": "names the factor nope",
            "grid.crossed=[{method:[nope]}]": "method has no level 'nope'",
            "grid.crossed=[{}]": "grid.crossed must name at least one factor",
            "grid.crossed=[{method:[]}]": "grid.crossed must name at least one level of method",
            "grid.overrides=[foo=1]": "grid.overrides must set keys of a run",
            "grid.overrides=junk": "grid.overrides must be a list",
            "grid.overrides=['a=${oc.env:X}']": "nothing is taken from the environment",
            "algorithm=dpo": "algorithm is what the factor method varies",
            "algorithm.nope=1": "there is no config key algorithm.nope in any cell of the grid",
        }.items()
    ),
    *(
        case("sweep", ["+grid=checkpoints", word], says)
        for word, says in {
            "pairs=[]": "pairs must be a list of pairs of the grid",
            "pairs=[nope]": "pairs must be one of",
            "pairs=[1e5,007]": "pairs must be one of",
            "pairs=dpo-tulu-8b": "pairs must",
            "dtype=int8": "dtype must be one of bfloat16, float16, float32",
            "threads=0": "threads must be",
            "threads=x": "threads must be a whole number",
            "models_dir=nope": "models_dir",
            "models_dir=": "models_dir must be a directory",
            "out=": "out must be a directory",
            "grid.name=../../x": "grid.name must be a name",
            "algorithm.lr=1": "there is no config key algorithm",
            "+grid.pairs.x={init:a}": "grid.pairs.x.final must be",
            "+grid.pairs.x=3": "grid.pairs.x must be a table of init and final",
        }.items()
    ),
]
