"""What the init makes of completions: a trainer's reference, asked once for each and then let go.

It never changes, and completions sampled from the init come by again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from subnetray.algorithms.shared.batches import OnExamples, Row, labelled, pad_id
from subnetray.algorithms.shared.setting import Example

# Sequences of a pass by rows of the trainer's own, which are of two: without gradients a pass keeps next to nothing.
_PASS = 8


class AskedOnce(OnExamples):
    """Mixin before a trainer of TRL with a reference model: its rows (:class:`Row`) are told what that makes of them.

    When training begins, which it is a part of; from then on there is no such model.
    """

    train_dataset: Any
    ref_model: Any
    precompute_ref_logps: bool

    def get_train_dataloader(self) -> Any:
        """TRL's, of rows that have their reference."""
        if self.ref_model is not None:
            found = reference_logps(self, [row.examples for row in self.train_dataset])
            rows = zip(self.train_dataset, found, strict=True)
            self.train_dataset = [Row(row.examples, row.desirable, logps) for row, logps in rows]
            self.ref_model, self.precompute_ref_logps = None, True
        return super().get_train_dataloader()  # type: ignore[misc]


def reference_logps(trainer: Any, pairs: Sequence[tuple[Example, Example]]) -> list[tuple[float, float]]:
    """Log-probabilities of completions by the reference model of a ``trainer`` of TRL.

    Called by all workers, which share the passes.
    """
    accelerator = trainer.accelerator
    workers, size = accelerator.num_processes, _PASS * trainer.args.per_device_train_batch_size
    distinct = {example.key: example for pair in pairs for example in pair}
    # In order of their tokens: those that begin alike are in one pass.
    keys = sorted(distinct, key=lambda key: (key[0] + key[1], len(key[0])))
    # All workers have as many: of a model that they have in parts, all must take part in a pass.
    share = -(-len(keys) // workers)
    asked = keys + keys[-1:] * (share * workers - len(keys))
    own = [distinct[key] for key in asked[share * accelerator.process_index :][:share]]
    found = torch.cat([_logps(trainer, own[start : start + size]) for start in range(0, share, size)])
    values = dict(zip(asked, accelerator.gather(found).tolist(), strict=True))
    return [(values[one.key], values[other.key]) for one, other in pairs]


@torch.no_grad()
def _logps(trainer: Any, examples: Sequence[Example]) -> Tensor:
    batch = labelled(examples, pad_id(trainer.processing_class))
    batch = {name: tensor.to(trainer.accelerator.device) for name, tensor in batch.items()}
    with trainer.accelerator.autocast():
        logps: Tensor = trainer.ref_model(**batch, use_cache=False, fused_lm_head=True).log_probs.sum(1)
    return logps
