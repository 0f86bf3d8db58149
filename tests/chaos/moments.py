"""Moments of a sweep, known by its files, its processes and what it says."""

from __future__ import annotations

import os
from pathlib import Path

from tests.chaos.command import Command

# Titles that Ray gives the processes of trials and of engines.
TRIALS = ("ray::ImplicitFunc", "ray::trial")
ENGINES = ("ray::VLLMEngine", "ray::HFEngine")
RAY = ("gcs_server", "raylet")
MAKING = ("subnetray.models.making",)


def at_step(out: Path) -> Path | None:
    """The directory of a run that has taken a step and is not done."""
    for metrics in out.glob("runs/*/metrics.jsonl"):
        if not (metrics.parent / "result.json").exists() and metrics.stat().st_size > 0:
            return metrics.parent
    return None


def between(out: Path) -> Path | None:
    """The directory of a run whose delta is written and whose result is not."""
    try:
        directories = [entry.path for entry in os.scandir(out / "runs")]
    except FileNotFoundError:
        return None
    for directory in directories:
        if os.path.exists(f"{directory}/delta.safetensors") and not os.path.exists(f"{directory}/result.json"):  # noqa: PTH110 - a thousand times a second
            return Path(directory)
    return None


def writing(out: Path, name: str) -> Path | None:
    """The temporary file that is about to become ``name``."""
    try:
        return next((Path(entry.path) for entry in os.scandir(out) if entry.name.startswith(f".{name}.")), None)
    except FileNotFoundError:
        return None


def said(command: Command, text: str) -> bool:
    """Return whether the command has said ``text``."""
    return text in command.said
