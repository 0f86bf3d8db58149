"""What can be known to be wrong with a run before any work: lengths, batches, the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from subnetray import models, tasks
from subnetray.config import (
    KTO,
    PRIME,
    RLOO,
    Algorithm,
    ArithmeticTask,
    ConfigError,
    DatasetTask,
    EmbeddedModel,
    Rollout,
    RunConfig,
    Subnetwork,
)
from subnetray.mask_file import inspect
from subnetray.models.tokenizer import VOCABULARY
from subnetray.tasks import dataset
from subnetray.tasks.arithmetic import MARK

_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_BLOCK = 128  # tokens that vLLM's cache on a CPU is handed out in


def check_run(config: RunConfig, workers: int, sharded: bool = False) -> None:
    """Raise ConfigError for a run that could not be executed on ``workers`` data-parallel workers.

    ``sharded``: whether they share one copy of the model.
    """
    algorithm = config.algorithm
    if algorithm.warmup_steps >= algorithm.steps:
        raise ConfigError(
            f"algorithm.warmup_steps must be below algorithm.steps ({algorithm.steps}), not {algorithm.warmup_steps}"
        )
    if algorithm.batch_size % workers:
        raise ConfigError(
            f"algorithm.batch_size must be a multiple of cluster.workers ({workers}), not {algorithm.batch_size}"
        )
    if config.rollout.staleness and isinstance(algorithm, RLOO):
        raise ConfigError(
            "rollout.staleness must be 0 with algorithm=rloo, whose loss takes rollouts for the present policy's,"
            f" not {config.rollout.staleness}"
        )
    if sharded and config.measurement.early:
        raise ConfigError(
            "measurement.early must be [] with cluster.sharding=full: no worker holds the gradients of all weights,"
            f" not {list(config.measurement.early)}"
        )
    if sharded and config.subnetwork.arm in Subnetwork.SCORES:
        raise ConfigError(
            f"subnetwork.mask={config.subnetwork.arm} is made of scores of early steps, which runs with"
            " cluster.sharding=full do not keep"
        )
    _check_micro_batch(config.algorithm, workers)
    models.check(config.model)
    tasks.check(config.task)
    check_offers(config)
    if config.subnetwork.file is not None:
        inspect(config.subnetwork.file)
    architecture = models.architecture(config.model)
    if architecture is not None:
        check_engine(architecture, config.rollout)
    # Only the embedded model's tokenizer is known without loading it: a character is a token.
    if isinstance(config.model, EmbeddedModel):
        _check_lengths(config)


def check_engine(architecture: Mapping[str, Any], rollout: Rollout) -> None:
    """Raise ConfigError unless a model with this ``config.json`` has the context of an engine, its cache the room, and
    its heads can be shared out.

    What the file does not say is left to vLLM.
    """
    shape = architecture.get("text_config", architecture)
    positions = shape.get("max_position_embeddings")
    # Scaled rotary embeddings reach further than the file says.
    scaled = "factor" in (shape.get("rope_scaling") or shape.get("rope_parameters") or {})
    if positions is not None and not scaled and rollout.max_model_len > positions:
        raise ConfigError(
            f"rollout.max_model_len must be at most the model's context of {positions} tokens,"
            f" not {rollout.max_model_len}"
        )
    try:
        heads = shape["num_attention_heads"]
        kv_heads = shape.get("num_key_value_heads", heads)
        size = shape.get("head_dim") or shape["hidden_size"] // heads
        per_token = 2 * shape["num_hidden_layers"] * kv_heads * size * _BYTES[rollout.dtype]
    except KeyError:
        return
    parts = rollout.tensor_parallel
    # Each part has as many heads, and heads for keys and values of its own, or one that several parts repeat.
    if heads % parts or (kv_heads % parts and parts % kv_heads):
        raise ConfigError(
            f"rollout.tensor_parallel must divide the model's {heads} attention heads, and divide its {kv_heads} heads"
            f" for keys and values or be a multiple of them, not {parts}"
        )
    hf = rollout.name == "hf"
    block = 1 if hf else _BLOCK
    needed = -(-rollout.max_model_len // block) * block * per_token
    # On GPUs vLLM gives the cache what is left of its share.
    if (hf or rollout.gpus_per_engine == 0) and needed > rollout.kv_cache_mib << 20:
        raise ConfigError(
            f"rollout.kv_cache_mib must hold one sequence of rollout.max_model_len ({rollout.max_model_len} tokens of"
            f" {per_token / 1024:g} KiB{'' if hf else f', in blocks of {_BLOCK}'}), so at least {-(-needed >> 20)}, not"
            f" {rollout.kv_cache_mib}"
        )


def _check_micro_batch(algorithm: Algorithm, workers: int) -> None:
    """What a worker passes through the model at once must part its share evenly, and give KTO something to compare."""
    share = algorithm.batch_size // workers
    size = algorithm.micro_batch_size or share
    if share % size:
        raise ConfigError(
            f"algorithm.micro_batch_size must divide a worker's share of the batch ({share} sequences), not {size}"
        )
    if isinstance(algorithm, KTO) and size < 2:
        raise ConfigError(
            f"algorithm.micro_batch_size, or a worker's share of algorithm.batch_size, must be at least 2 with"
            f" algorithm=kto, which compares the completions of a forward pass, not {size}"
        )
    if isinstance(algorithm, PRIME) and share * algorithm.minibatches % algorithm.group_size:
        raise ConfigError(
            f"algorithm.batch_size must leave every worker whole groups with algorithm=prime, and a share of {share}"
            f" sequences is no multiple of algorithm.group_size ({algorithm.group_size})"
        )


def check_offers(config: RunConfig) -> None:
    """Raise ConfigError for training data that the task does not have."""
    algorithm, offered = config.algorithm, tasks.offers(config.task)
    source = getattr(algorithm, "data", "on_policy")
    known = {
        "on_policy": ("reward", "a reward for completions of the policy"),
        "rejection": ("reward", "a reward for completions of the init"),
        **dict.fromkeys(("gold", "shuffled"), ("gold", "gold completions")),
        "off_policy": ("pairs", "pairs of a better and a worse completion"),
    }
    needs, what = known.get(source, ("", ""))  # what another package's algorithm trains on, it knows itself
    if not needs or needs in offered:
        return
    setting = f"algorithm={algorithm.name}" + (f" algorithm.data={source}" if hasattr(algorithm, "data") else "")
    missing = {"reward": "task.reward", "gold": "task.gold", "pairs": "task.gold and task.rejected"}[needs]
    how = f"set {missing}, or choose" if isinstance(config.task, DatasetTask) else "choose"
    raise ConfigError(f"{setting} needs {what}, which task={config.task.name} does not offer: {how} another task")


def _check_lengths(config: RunConfig) -> None:
    rollout = config.rollout
    prompt, gold = _longest(config.task) if isinstance(config.task, ArithmeticTask) else _longest_record(config)
    if prompt + rollout.max_new_tokens > rollout.max_model_len:
        raise ConfigError(
            f"rollout.max_model_len must hold the longest prompt ({prompt} tokens) and rollout.max_new_tokens "
            f"({rollout.max_new_tokens}), so at least {prompt + rollout.max_new_tokens}, not {rollout.max_model_len}"
        )
    if gold + 1 > rollout.max_new_tokens:
        raise ConfigError(
            f"rollout.max_new_tokens must hold the longest gold completion of {config.task.name} ({gold} tokens) and "
            f"the end of sequence, so at least {gold + 1}, not {rollout.max_new_tokens}"
        )


def _longest_record(config: RunConfig) -> tuple[int, int]:
    """The same of a data set, which must be one that the embedded model can read."""
    task = config.task
    if not isinstance(task, DatasetTask) or not dataset.local(task) or task.chat:
        raise ConfigError(
            f"the embedded model reads only {''.join(VOCABULARY[2:])}, one character a token, and has no chat template:"
            f" task={task.name} needs another model, such as model=smollm2_135m"
        )
    problems = dataset.Records(task).problems
    for text in [each for problem in problems for each in (problem.prompt, problem.gold, problem.rejected or "")]:
        if not isinstance(text, str) or not set(text) <= set(VOCABULARY[2:]):
            raise ConfigError(
                f"task.path: the embedded model reads only {''.join(VOCABULARY[2:])}, not {str(text)[:40]!r}: choose"
                " another model, such as model=smollm2_135m"
            )
    return (
        max(len(problem.prompt) for problem in problems),
        max(max(len(problem.gold), len(problem.rejected or "")) for problem in problems),
    )


def _longest(task: ArithmeticTask) -> tuple[int, int]:
    """Characters of the longest prompt and of the longest gold completion: the extremes lie in the range's corners."""
    left, right = task.max_left, task.max_right
    values = {"+": (left + right,), "-": (left, -right), "*": (left * right,)}
    golds = [len(f"{value}{MARK}") for symbol in task.operators for value in values[symbol]]
    return len(f"{left}+{right}="), max(golds)
