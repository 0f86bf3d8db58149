"""Bad words of command lines: what is no override, what no key is called, what cannot be run together."""

from __future__ import annotations

from tests.bad_inputs.refusal import Case, case

_LONG = "x" * 9000


def _each(commands: str, words: tuple[str, ...], says: str) -> list[Case]:
    return [case(command, [word], says) for command in commands.split() for word in words]


# Words that no command reads, whatever it does.
_NO_WORDS = (
    *(
        "junk",
        "",
        " ",
        "=",
        "=x",
        "==",
        "+",
        "++",
        "~",
        "+=",
        "++=1",
        "@",
        "@=1",
        "a b",
        "{",
        "[1,2]",
        "outputs/origins",
    ),
    *("'quoted'", "\x1b[31mred", "new\nline", "日本", "[/x]", "%s%s", "\t"),
)
NO_WORDS = [
    case(command, [word], "is no override") for command in ("sweep", "train", "diff", "report") for word in _NO_WORDS
]
OPTIONS = [
    *(
        case(command, [word], word.split("=")[0].split(" ")[0])
        for command in ("sweep", "train", "diff", "report")
        for word in ("--nope", "--conf=x", "-x", "-1", "--version", "--config", "--Help")
    ),
    case("sweep", ["--config-dir"], "--config-dir"),
    case("sweep", ["--config-dir", "nope", "+grid=smoke"], "--config-dir must be a directory"),
    case("train", ["--config-dir=", "seed=1"], "--config-dir must be a directory"),
    case("diff", ["--config-dir=x"], "--config-dir"),
    case("report", ["--config-dir=x"], "--config-dir"),
    case("sweep", ["--cfg", "jobs", "+grid=smoke"], "argument --cfg: invalid choice: 'jobs'"),
    case("sweep", ["--cfg", "job", "+grid=checkpoints"], "--cfg must be grid or all with +grid=checkpoints"),
    case("diff", ["--cfg=all"], "--cfg"),
]
NO_KEYS = [
    *_each(
        "sweep train",
        ("foo=1", "+foo=1", "++foo=1", "seeds=[0]", "Model=tiny", "model_=tiny"),
        "there is no config key",
    ),
    *_each(
        "train", ("algorithm.foo=1", "+algorithm.foo=1", "++algorithm.foo=1", "algorithm.lr.x=1", "model.a.b.c=1"), ""
    ),
    *_each(
        "train", ("+cluster.x=1", "++cluster.x=1", "cluster.x=1"), "there is no config key cluster.x: choose one of"
    ),
    *_each(
        "train",
        ("hydra.run.dir=x", "+hydra.x=1", "hydra/launcher=basic", "hydra=x", "~hydra", "hydra.mode=MULTIRUN"),
        "hydra",
    ),
    *_each("train", ("model@x=tiny", "+model@x=tiny", "algorithm@=sft"), "is no override"),
    *_each(
        "train",
        ("~seed", "+seed=1", "~algorithm.lr", "~cluster.workers=0", "~out", "~model.name"),
        "always has a value: write",
    ),
    *_each("train", ("~algorithm", "~model=tiny", "~task"), "=NAME with one of"),
    *_each("train", ("~foo", "~algorithm.foo", "~model.x.y"), "there is no config key"),
    *_each("train", ("+algorithm.lr=1e-5", "+out=x", "+cluster.workers=1"), "has a value already: write"),
    *_each("diff", ("foo=1", "+init=a", "~init", "model=tiny", "ulps.0=2", "hydra.x=1"), "is not an option"),
    *_each("report", ("foo=1", "+sweep=a", "~sweep", "out=x", "hydra.x=1"), "is not an option of a report"),
]
CHOICES = [
    *_each("train", ("algorithm=", "model=", "model=''"), "=NAME with one of"),
    *(
        case("train", [f"{group}={name}"], f"{group}={name} is unknown: choose one of")
        for group in ("algorithm", "model", "task", "rollout", "cluster", "tracking")
        for name in (
            "nope",
            "null",
            "1",
            "[tiny]",
            "{a:1}",
            "../model/tiny",
            "/etc/passwd",
            "tiny,sft",
            "tiny.yaml",
            "__init__",
        )
    ),
    case("sweep", "+grid=nope", "grid=nope is unknown: choose one of algorithms, checkpoints,"),
    case("sweep", "+grid=../grid/smoke", "grid=../grid/smoke is unknown"),
    case("sweep", "grid=smoke", "must be written +grid=smoke"),
    case("sweep", "++grid=smoke", "must be written +grid=smoke"),
    case("sweep", "+grid", "is no override"),
    case("sweep", "+grid=", "write +grid=NAME"),
    case("train", "+grid=smoke", "one run has no grid"),
    case("train", "+model=tiny", "must be written model=tiny"),
    case("train", "+recipe=nope", "recipe=nope is unknown"),
    case("train", "recipe=smollm2_chain_sum", "must be written +recipe=smollm2_chain_sum"),
    case("train", "+recipe=dpo_tulu_3_8b +recipe=smollm2_chain_sum", "write +recipe=NAME once"),
    case("train", "+recipe.overrides=[seed=1]", "write +recipe=NAME once"),
]
VALUES = [
    *_each(
        "train",
        ("seed=1,2", "algorithm.lr=1e-3,1e-4", "seed=range(3)", "seed=choice(1,2)", "algorithm.lr=interval(0,1)"),
        "takes one value",
    ),
    *_each(
        "train",
        ("seed=[0", "seed=(1", "algorithm.lr={a", "seed='1", "seed=1)", "algorithm.lr=]", "seed=nope(1)"),
        "is no override",
    ),
    *_each(
        "train",
        ("seed=--1", "seed=1.5", "seed=1e3", "seed=0x10", "seed=\uff11\uff12", "seed=''", "seed='1'", "seed=true"),
        "whole number",
    ),
    *_each("train", ("seed=-1", "seed=2147483648"), "seed must be a whole number from 0 to 2147483647"),
    *_each(
        "train",
        (f"seed={'9' * 400}", f"algorithm.lr={'9' * 400}", f"algorithm.steps=-{2**63}"),
        "must be a number below",
    ),
    case("train", [f"seed={'9' * 5000}"], "is no override"),
    *_each(
        "train",
        ("dry_run=maybe", "dry_run=1", "dry_run=yes", "dry_run=[true]", "dry_run=null", "dry_run="),
        "dry_run must be true or false",
    ),
    *_each(
        "train",
        ("resume=maybe", "resume=1", "resume=", "resume=[auto]", "resume=null"),
        "resume must be one of auto, never, must",
    ),
    *_each("train", ("precision=int8", "precision=", "precision=null", "precision=FP32"), "precision must be one of"),
    *_each(
        "train",
        (f"out={_LONG}", f"algorithm.lr={_LONG}", f"task.parameters=[{'1,' * 5000}1]"),
        "write what has more than 8192",
    ),
    *_each(
        "train",
        (f"out={'x' * 300}", f"cache=a/{'ü' * 130}", f"out={'a/' * 3000}"),
        "must be a path of at most 4095 bytes",
    ),
    *_each("train", ("out=", "cache=", "out=''"), "must be a directory"),
    *_each("train", ("out=s3://bucket/x", "out=hdfs://x"), "out must be a directory on a file system"),
    *_each("train", ("out=~nobody_of_this_name/x", "cache=~nobody_of_this_name"), "there is no home directory"),
    *_each("train", ("out=a\0b", "tracking.project=\0"), "the character NUL"),
    *_each("train", ("out=\udcff", "cluster.address=\ud800"), "is not UTF-8"),
    *_each(
        "train",
        (
            "tracking.project=",
            "tracking.project=a/b",
            "tracking.project=a\nb",
            f"tracking.project={'p' * 129}",
            "tracking.project=100%",
        ),
        "tracking.project must be a W&B project name",
    ),
    *(
        case(command, [word], "nothing is taken from the environment")
        for command, words in {
            "train": (
                "out=${oc.env:HOME}",
                "seed=${seed}",
                "algorithm.lr=${oc.env:X,1}",
                "model.path='${oc.decode:1}'",
                "task.parameters={a:${x}}",
                "out=a${hydra:run.dir}",
            ),
            "sweep": ("+grid=${oc.env:G}", "grid.seeds=[${a}]", "out=\\\\${x}"),
            "diff": ("init=${oc.env:HOME}", "final=${x}", "tolerances=[${x}]"),
            "report": ("sweep=${oc.env:HOME}",),
        }.items()
        for word in words
    ),
    *_each(
        "train",
        ("task.parameters=" + "[" * 400 + "]" * 400, "task.parameters=" + "{a:" * 300 + "1" + "}" * 300),
        "task.parameters",
    ),
    *_each("train", ("task.parameters=1", "task.parameters=[1]", "task.parameters=x"), "task.parameters"),
    *_each("train", ("evaluation=3", "measurement=[1]", "subnetwork=x"), "must be a table of keys"),
    *_each(
        "train",
        ("measurement.tolerances=0", "measurement.early=1", "subnetwork.source=algorithm=sft"),
        "must be a list",
    ),
    *_each(
        "train",
        ("measurement.tolerances=[a]", "measurement.tolerances=[true]", "measurement.tolerances=[[0]]"),
        "must be a list of numbers, and holds",
    ),
    *_each(
        "train",
        ("measurement.early=[1.5]", "measurement.early=[a]", "measurement.early=[null]"),
        "must be a list of whole numbers, and holds",
    ),
    *_each(
        "train",
        (
            f"measurement.tolerances=[{','.join(['1'] * 1000)}]",
            f"measurement.early=[{','.join(map(str, range(1, 66)))}]",
        ),
        "must be a list of at most 64",
    ),
    *_each(
        "train",
        (
            "measurement.tolerances=[-1]",
            "measurement.tolerances=[nan]",
            "measurement.tolerances=[0,inf]",
            "measurement.tolerances=[]",
        ),
        "measurement.tolerances must be",
    ),
    *_each(
        "train",
        ("measurement.early=[0]", "measurement.early=[2,2]", "measurement.early=[3,1]", "measurement.early=[1000]"),
        "measurement.early must be",
    ),
]
TOGETHER = [
    case("train", "algorithm.warmup_steps=60", "algorithm.warmup_steps must be below algorithm.steps (60)"),
    case("train", "algorithm.batch_size=9", "algorithm.batch_size must be a multiple of algorithm.group_size (8)"),
    case("train", "algorithm.micro_batch_size=100", "algorithm.micro_batch_size must divide"),
    case("train", "algorithm=kto algorithm.micro_batch_size=1", "must be at least 2 with algorithm=kto"),
    case("train", "cluster.workers=3", "algorithm.batch_size must be a multiple of cluster.workers (3)"),
    case("train", "cluster.sharding=full", "cluster.workers must be at least 2"),
    case("train", "cluster.sharding=full cluster.workers=2 measurement.early=[1]", "measurement.early must be []"),
    case("train", "checkpoint.every_steps=5 cluster.workers=2", "must be 0 with cluster.workers=2: only runs of one"),
    case("train", "checkpoint.every_steps=-1", "checkpoint.every_steps must be"),
    case("train", "checkpoint.every_minutes=soon", "checkpoint.every_minutes must be a number"),
    case("train", "checkpoint=5", "checkpoint must be a table of keys"),
    case("train", "algorithm=rloo rollout.staleness=1", "rollout.staleness must be 0 with algorithm=rloo"),
    case("train", "algorithm=prime algorithm.accuracy_low=0.9", "algorithm.accuracy_high must be"),
    case("train", "algorithm.beta=1 algorithm=sft", "algorithm.beta"),
    case("train", "algorithm.group_size=1", "algorithm.group_size must be"),
    case("train", "model.heads=3", "model.h"),
    case("train", "model.layers=2 model=qwen2_5_0_5b", "model.layers"),
    case(
        "train",
        "rollout.max_new_tokens=64",
        "rollout.max_new_tokens must be from 1 to below rollout.max_model_len (64)",
    ),
    case("train", "rollout.max_new_tokens=2", "rollout.max_new_tokens must hold the longest gold completion"),
    case("train", "rollout.max_model_len=8", "rollout.max_model_len must hold the longest prompt"),
    case("train", "rollout.max_model_len=1000000", "rollout.max_model_len must be at most the model's context"),
    case("train", "rollout.kv_cache_mib=1 rollout.max_model_len=64 model.layers=200", "rollout.kv_cache_mib must hold"),
    case("train", "rollout.tensor_parallel=2", "rollout.tensor_parallel must be 1 on CPUs"),
    case("train", "rollout.gpus_per_engine=3", "rollout.gpus_per_engine must be at most 1"),
    case(
        "train",
        "rollout=hf rollout.tensor_parallel=2 rollout.gpus_per_engine=2",
        "rollout.tensor_parallel must be 1 with rollout=hf",
    ),
    case("train", "subnetwork.at=3", "subnetwork.at needs an arm"),
    case("train", "subnetwork.mask=gradient", "subnetwork.at must be a step of the source"),
    case("train", "subnetwork.mask=random subnetwork.at=3", "subnetwork.at must be left alone"),
    case("train", "subnetwork.mask=0123456789ab", "there is no finished run 0123456789ab"),
    case("train", "subnetwork.mask=1870288932e0", "there is no finished run 1870288932e0"),
    case("train", "subnetwork.mask=nope.safetensors", "subnetwork.mask: nope.safetensors cannot be read"),
    case("train", "subnetwork.mask=random subnetwork.source=[seed=1]", "subnetwork.source must not set seed"),
    case("train", "subnetwork.mask=random subnetwork.source=[1]", "subnetwork.source: '1' is no override"),
    case("train", "subnetwork.mask=random subnetwork.source=[out=x]", "subnetwork.source must set keys of a run"),
    case("train", "task=jsonl", "task.path must be given"),
    case("train", "task=jsonl task.path=nope.jsonl", "nope.jsonl"),
    case("train", "task=gsm8k", "the embedded model reads only"),
    case("train", "task.operators=[/]", "task.operators must be one of +, -, *"),
    case(
        "train",
        "task=reasoning_gym model=smollm2_135m task.parameters={seed:1}",
        "task.parameters must be without size and seed",
    ),
    case("train", "task=reasoning_gym task.generator=", "task.generator must be the name of a generator"),
    case("train", "model=qwen2_5_0_5b model.path=", "model.path must be"),
    case("train", "grid.seeds=[0]", "one run has no grid"),
]
DIFF = [
    case("diff", [], "init= must name a directory, a file or a Hugging Face id"),
    case("diff", "init=a", "final= must name"),
    case("diff", "init= final=b", "init= must name"),
    case("diff", "init=a final=''", "final= must name"),
    *(
        case("diff", ["init=a", "final=b", word], says)
        for word, says in {
            "out=~nobody_of_this_name/x": "there is no home directory",
            f"out={'x' * 300}": "out must be a path of at most",
            "tolerances=0": "tolerances must be a list of numbers",
            "tolerances=[a]": "tolerances must be a list of numbers, and holds 'a'",
            "tolerances=[-1]": "tolerances must be a list of numbers >= 0",
            "tolerances=[nan]": "tolerances must be a list of numbers >= 0",
            "tolerances=null": "tolerances must be a list of numbers",
            "tolerances=[true]": "tolerances must be a list of numbers, and holds",
            f"tolerances=[{','.join(['0'] * 65)}]": "tolerances must be a list of at most 64",
            f"tolerances=[{','.join(['0'] * 10000)}]": "write what has more than",
            "relative=[inf]": "relative must be a list of numbers >= 0",
            "relative=x": "relative must be a list of numbers",
            "ulps=[0]": "ulps must be a list of whole numbers >= 1",
            "ulps=[1.5]": "ulps must be a list of whole numbers, and holds '1.5'",
            "ulps=2": "ulps must be a list of whole numbers",
            "dtype=int8": "dtype must be one of",
            "dtype=": "dtype must be one of",
            "threads=0": "threads must be a whole number >= 1",
            "threads=1.5": "threads must be a whole number",
            "threads=x": "threads must be a whole number",
            "threads=true": "threads must be a whole number",
            "cluster=nope": "cluster must be local or ray",
            "rank=1": "rank must be true or false",
            "rank=yes": "rank must be true or false",
            "geometry=[true]": "geometry must be true or false",
            "geometry=null": "geometry must be true or false",
            "init=1,2": "",
            "rank=true,false": "rank takes one value",
        }.items()
    ),
    case("diff", "init=./~x final=b", "init must be a local directory or file"),
    case("diff", "init=a final=b cluster=ray threads=2", "threads is for cluster=local"),
]
REPORT = [
    case("report", [], "a report is of one sweep"),
    case("report", "sweep=a sweep=b", "a report is of one sweep"),
    case("report", "sweep=", "sweep must be a directory"),
    case("report", ["sweep=''"], "sweep must be a directory"),
    *(
        case("report", [f"sweep={name}"], f"{name}/sweep.yaml does not exist")
        for name in ("nope", "1e5", "null", "[a]", "a,b", "a=b")
    ),
    case("report", ["sweep=~nobody_of_this_name"], "there is no home directory"),
    case("report", [f"sweep={'x' * 300}"], "sweep must be a path of at most"),
]
CASES = [*NO_WORDS, *OPTIONS, *NO_KEYS, *CHOICES, *VALUES, *TOGETHER, *DIFF, *REPORT]
