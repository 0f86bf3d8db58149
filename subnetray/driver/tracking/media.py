"""Tables, heat maps, figures and pages of a record, as W&B shows them. Of W&B's own process, as it needs W&B."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CELL, _LABELS = 0.42, 2.6  # inches


def media(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be logged, by key. A file that is gone is left out."""
    import wandb

    shown: dict[str, Any] = {
        key: wandb.Table(columns=table["columns"], data=table["data"], allow_mixed_types=True)
        for key, table in record["tables"].items()
    }
    shown |= {key: _heat_map(matrix) for key, matrix in record["matrices"].items()}
    for key, path in record["files"].items():
        if Path(path).is_file():
            shown[key] = wandb.Html(path, inject=False) if path.endswith(".html") else wandb.Image(path)
    return shown


def _heat_map(matrix: Mapping[str, Any]) -> Any:
    """A picture of shares by two labels; what is not known is left white."""
    import numpy as np
    import wandb
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    labels, values = matrix["labels"], matrix["values"]
    size = _LABELS + _CELL * max(4, len(labels))
    figure = Figure(figsize=(size, size), layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # Below 0 a pair shares less than its null expects.
    known = [value for row in values for value in row if value is not None]
    low = min(0.0, *known, 0.0)
    image = axes.imshow(
        [[float("nan") if value is None else value for value in row] for row in values],
        cmap="Blues" if low == 0 else "RdBu",
        vmin=-max(map(abs, known), default=1.0) if low < 0 else 0.0,
        vmax=max(map(abs, known), default=1.0),
    )
    # Names of factors and levels are no formulas.
    axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_title(matrix["title"], fontsize=9, parse_math=False)
    axes.tick_params(labelsize=7)
    if len(labels) <= 20:
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                if value is not None:
                    axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=6)
    figure.colorbar(image, ax=axes, shrink=0.6)
    canvas.draw()
    return wandb.Image(Image.fromarray(np.asarray(canvas.buffer_rgba())))
