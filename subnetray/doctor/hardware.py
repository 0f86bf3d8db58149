"""Processors, memory and GPUs, and what this process may use of them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil

from subnetray.doctor.finding import Finding
from subnetray.driver import container, machine
from subnetray.places import free_bytes

_ROOT = Path("/")
# What matters to the speed of bf16 and fp32, by the names that the kernel has on x86 and ARM.
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
_OVERRIDES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
# Of other libraries, for processes that share cores.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_LEAST_FILES, _LEAST_PROCESSES = 4096, 1024
_LEAST_GIB = 4.0
_LEAST_SHARED = 256 << 20


def processor_kind() -> tuple[str, list[str]]:
    """Return the processor's name, and the instructions that it has of those that matter to speed and to last bits."""
    known = dict(_lines(_ROOT / "proc/cpuinfo"))
    flags = set((known.get("flags") or known.get("Features") or "").split())
    return known.get("model name", os.uname().machine), [name for name in _FEATURES if name in flags]


def processor() -> Iterator[Finding]:
    """Check what the processor can compute with, and what keeps libraries from doing so."""
    model, has = processor_kind()
    what = f"processor: {model}, {', '.join(has) or 'no vector instructions known'}"
    if _BF16.intersection(has):
        yield Finding("ok", what)
    else:
        yield Finding("note", f"{what}: none for bf16", "bf16 is multiplied in fp32: right, and slower than with AMX")
    for name in _OVERRIDES:
        if value := os.environ.get(name):
            yield Finding("note", f"{name}={value} limits what libraries compute with", "unset it, unless it is meant")


def cores_and_memory() -> Iterator[Finding]:
    """Check the memory that is free, of the machine and of its container."""
    there, limit = os.cpu_count() or 1, container.cpu_limit()
    given = f", and time for {limit:g} by its container" if limit is not None else ""
    yield Finding("ok", f"cores: {machine.cores()} of {there} may be used{given}")
    for name in _THREADS:
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 1:
            yield Finding(
                "note", f"{name}={value} is taken over by every process of a run", "unset it: runs share the cores"
            )
    free, total = machine.memory_gib(), psutil.virtual_memory().total / machine.GIB
    what = f"memory: {free:.1f} GiB free of {total:.1f}"
    if container.memory_left() is not None:
        what += ", by the limit of the container"
    if free < _LEAST_GIB:
        yield Finding(
            "problem", what, f"free some: Ray, an engine and a run need {_LEAST_GIB:g} GiB with the embedded model"
        )
    else:
        yield Finding("ok", what)


def shared_memory() -> Iterator[Finding]:
    """``/dev/shm``, through which Ray passes what is large."""
    place = _ROOT / "dev/shm"
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield Finding("problem", f"{place} is no directory that can be written to", "mount a tmpfs there")
        return
    free = free_bytes(place)
    what = f"{place}: {free / machine.GIB:.2f} GiB free"
    if free < _LEAST_SHARED:
        do = "remove what is left there, or start the container with --shm-size=2g: Ray would use a slow disk"
        yield Finding("note", what, do)
    else:
        yield Finding("ok", what)


def gpus() -> Iterator[Finding]:
    """NVIDIA's, as far as files tell."""
    count = machine.gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    told = "" if visible is None else " (CUDA_VISIBLE_DEVICES is set)"
    what = f"GPUs: {count}{told}" + ("" if count else ", so that runs use processors")
    if count and find_spec("vllm") is not None and not _installed("vllm"):
        yield Finding("note", f"{what}, and vllm is that for processors", "write pip install 'subnetray[gpu]'")
    else:
        yield Finding("ok", what)


def limits() -> Iterator[Finding]:
    """Check what the shell allows a process (ulimit)."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < _LEAST_FILES:
        yield Finding(
            "note", f"open files: {files} a process", f"write ulimit -n {_LEAST_FILES} or more: Ray opens many"
        )
    else:
        yield Finding("ok", f"open files: {_number(files)} a process")
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if 0 <= processes < _LEAST_PROCESSES:
        yield Finding("note", f"processes: {processes} of this user", f"write ulimit -u {_LEAST_PROCESSES} or more")
    for name, what, do in (
        (resource.RLIMIT_AS, "address space (ulimit -v)", "write ulimit -v unlimited: Ray maps far more than it uses"),
        (resource.RLIMIT_FSIZE, "size of files (ulimit -f)", "write ulimit -f unlimited: weights are large"),
        (resource.RLIMIT_CPU, "processor time (ulimit -t)", "write ulimit -t unlimited: long runs would be killed"),
    ):
        value, _ = resource.getrlimit(name)
        if value != resource.RLIM_INFINITY:
            yield Finding("problem" if name == resource.RLIMIT_AS else "note", f"{what} is limited to {value}", do)


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _number(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Names and values; later ones, of other cores, say the same."""
    for line in path.read_text().splitlines() if path.is_file() else ():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()
