"""Tables, figures and pages of a record, as W&B shows them. Of W&B's own process, as it needs W&B."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def media(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be logged, by key. A file that is gone is left out."""
    import wandb

    shown: dict[str, Any] = {
        key: wandb.Table(columns=table["columns"], data=table["data"], allow_mixed_types=True)
        for key, table in record["tables"].items()
    }
    for key, path in record["files"].items():
        if Path(path).is_file():
            shown[key] = wandb.Html(path, inject=False) if path.endswith(".html") else wandb.Image(path)
    return shown
