"""What ``diff.json`` says of a comparison."""

from __future__ import annotations

import math
from typing import Any

from subnetray.checkpoints.compare import Difference
from subnetray.subnetwork.visible import Comparison


def describe(init: str, final: str, difference: Difference, seconds: float) -> dict[str, Any]:
    """The content of ``diff.json``; ``init`` and ``final`` as the user named them."""
    comparison = difference.comparison

    def part(each: Comparison) -> dict[str, Any]:
        return {
            "n": each.n,
            "changed_bitwise": each.changed_bitwise,
            "sparsity": _sparsity(each),
        }

    return {
        "init": init,
        "final": final,
        "coverage": difference.coverage.content(),
        "n": comparison.n,
        "nonfinite": comparison.nonfinite,
        "sparsity": _sparsity(comparison),
        "by_layer": {str(layer): part(each) for layer, each in comparison.by_layer().items()},
        "by_module": {kind: part(each) for kind, each in comparison.by_module().items()},
        "tensors": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "dtype": tensor.dtype,
                "n": tensor.n,
                "changed_bitwise": tensor.changed_bitwise,
                **{f"changed_{tau:g}": count for tau, count in tensor.changed_abs.items()},
                **{f"changed_{k}_ulps": count for k, count in tensor.changed_ulps.items()},
                **{f"changed_relative_{eta:g}": count for eta, count in tensor.changed_relative.items()},
                "nonfinite": tensor.nonfinite,
                "layer": tensor.layer,
                "module": tensor.module,
            }
            for tensor in comparison.tensors
        ],
        "renamed": difference.renamed,
        "skipped": [{"name": each.name, "reason": each.reason, "n": each.n} for each in difference.skipped],
        "notes": list(difference.notes),
        "no_delta": difference.delta,
        "seconds": seconds,
        "bytes_read": difference.bytes_read,
    }


def _sparsity(comparison: Comparison) -> dict[str, Any]:
    def unchanged(density: float) -> float | None:
        return None if math.isnan(density) else 1 - density

    bitwise = comparison.sparsity_bitwise
    return {
        "bitwise": None if math.isnan(bitwise) else bitwise,
        "abs": {f"{tau:g}": unchanged(density) for tau, density in comparison.density_abs.items()},
        "ulps": {str(k): unchanged(density) for k, density in comparison.density_ulps.items()},
        "relative": {f"{eta:g}": unchanged(density) for eta, density in comparison.density_relative.items()},
    }
