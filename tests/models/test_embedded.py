"""The embedded model, really pretrained for a few steps: transformers loads it, its bytes are decided by its config."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from subnetray import models
from subnetray.config import ArithmeticTask, ConfigError, EmbeddedModel
from subnetray.models import embedded, pretraining
from subnetray.models.tokenizer import EOS, PAD, VOCABULARY
from subnetray.tasks.arithmetic import MARK, Arithmetic
from subnetray.tasks.split import is_held_out, text_of
from tests.tasks.sums import value_of

CONFIG = EmbeddedModel(pretrain_steps=20, pretrain_batch_size=32, sft_steps=0)


def silent(_: str) -> None:
    pass


def digest(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.prepare(CONFIG, tmp_path_factory.mktemp("cache"), silent)


@pytest.fixture(scope="module")
def tokenizer(made: Path) -> Any:
    return AutoTokenizer.from_pretrained(made, local_files_only=True)


def test_transformers_loads_it_and_its_logits_are_finite(made: Path, tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(made, dtype=torch.bfloat16, local_files_only=True)
    assert type(model).__name__ == "Qwen2ForCausalLM"
    inputs = tokenizer(["1+2=", "98-76="], return_tensors="pt", padding=True)
    logits = model(**inputs).logits
    assert logits.shape == (2, 6, len(VOCABULARY))
    assert torch.isfinite(logits).all()
    assert model.generate(**inputs, max_new_tokens=5, do_sample=False).shape[0] == 2


def test_it_is_small_bf16_and_its_embeddings_are_tied(made: Path) -> None:
    tensors = load_file(made / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in tensors
    hidden, wide, layers = CONFIG.hidden_size, CONFIG.intermediate_size, CONFIG.layers
    heads, kv = hidden, hidden // CONFIG.heads * CONFIG.kv_heads
    attention = hidden * heads * 2 + 2 * hidden * kv + heads + 2 * kv  # Qwen2: biases on queries, keys and values
    block = attention + 3 * hidden * wide + 2 * hidden
    expected = len(VOCABULARY) * hidden + layers * block + hidden
    assert sum(tensor.numel() for tensor in tensors.values()) == expected == 396416


def test_every_problem_and_gold_survives_the_tokenizer(tokenizer: Any) -> None:
    task = Arithmetic(ArithmeticTask(operators=("+", "-", "*"), max_left=20, max_right=20))
    for problem in task.train_prompts(500, 0):
        ids = tokenizer(text_of(problem.prompt) + problem.gold)["input_ids"]
        assert ids == [VOCABULARY.index(character) for character in text_of(problem.prompt) + problem.gold]
        assert tokenizer.decode(ids) == text_of(problem.prompt) + problem.gold


def test_special_tokens_are_those_of_the_model(made: Path, tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(made, local_files_only=True)
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side) == (PAD, EOS, "left")
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == VOCABULARY.index(EOS)
    assert model.config.vocab_size == len(tokenizer) == len(VOCABULARY)


def test_the_config_decides_the_bytes(made: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    again = models.prepare(dataclasses.replace(CONFIG, name="other"), tmp_path, silent)
    assert again.name == made.name
    assert digest(again) == digest(made)
    # Making it has left the caller's generator alone.
    assert torch.equal(torch.random.get_rng_state(), state)
    other = models.prepare(dataclasses.replace(CONFIG, pretrain_seed=1), tmp_path, silent)
    assert other.name != made.name
    assert digest(other)["model.safetensors"] != digest(made)["model.safetensors"]


def test_it_is_made_once(made: Path) -> None:
    before = (made / "model.safetensors").stat()
    logged: list[str] = []
    assert models.prepare(CONFIG, made.parent.parent, logged.append) == made
    assert (made / "model.safetensors").stat() == before
    assert logged == []


def test_where_it_will_lie_is_known_before_it_is_made(made: Path, tmp_path: Path) -> None:
    assert models.locate(CONFIG, made.parent.parent, silent) == made
    assert models.locate(CONFIG, tmp_path, silent) == tmp_path / "models" / made.name
    assert list(tmp_path.iterdir()) == []


def test_training_lowers_the_loss_and_sft_starts_from_the_base(made: Path) -> None:
    """Mean NLL of what the base reads: untrained > after 20 steps; of gold completions: base > after SFT on them."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    read = pretraining.encode([(texts[::40], share) for texts, share in pretraining.sheets(CONFIG.pretrain_seed)])
    golds = [(problem.prompt, problem.gold) for problem in Arithmetic(ArithmeticTask()).training[::40]]
    taught = pretraining.encode([(golds, 1.0)])

    def nll(model: Any, corpus: pretraining.Corpus) -> float:
        with torch.no_grad():
            logits = model.float()(input_ids=corpus.ids).logits
        return float(torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), corpus.labels[:, 1:].flatten()))

    tuned = models.prepare(dataclasses.replace(CONFIG, sft_steps=20), made.parent.parent, silent)
    untrained = Qwen2ForCausalLM(Qwen2Config.from_pretrained(made))
    base = AutoModelForCausalLM.from_pretrained(made, local_files_only=True)
    assert nll(untrained, read) > nll(base, read)
    assert nll(base, taught) > nll(AutoModelForCausalLM.from_pretrained(tuned, local_files_only=True), taught)


def test_no_held_out_problem_is_trained_on() -> None:
    assert not any(is_held_out(prompt) for texts, _ in pretraining.sheets(0) for prompt, _ in texts)


def test_the_base_reads_right_and_wrong_numbers_and_no_gold() -> None:
    """Shares of multiplications, of numbers with sign and three digits, and of right ones."""
    parts = pretraining.sheets(0)
    assert sum(share for _, share in parts) == pytest.approx(1.0)
    shares: defaultdict[tuple[bool, bool, bool], float] = defaultdict(float)
    for texts, share in parts:
        for prompt, answer in texts:
            value = value_of(text_of(prompt))
            # A negative number of three digits is the same in both forms.
            padded = answer != str(int(answer))
            assert not padded or answer == f"{int(answer):+04d}"
            assert MARK not in answer
            assert abs(int(answer) - value) in (0, 1, 10)
            shares["*" in prompt, padded, int(answer) == value] += share / len(texts)
    assert shares == pytest.approx(
        {
            (False, False, True): 0.6 * 0.85,
            (False, False, False): 0.6 * 0.15,
            **{(True, padded, True): 0.4 * 0.85 / 2 for padded in (False, True)},
            **{(True, padded, False): 0.4 * 0.15 / 2 for padded in (False, True)},
        }
    )
    assert pretraining.sheets(1) != parts == pretraining.sheets(0)


def test_shares_of_the_corpus_are_as_stated_and_only_completions_are_learned() -> None:
    problems = Arithmetic(ArithmeticTask()).training[:10]
    texts = [(text_of(problem.prompt), problem.gold) for problem in problems]
    corpus = pretraining.encode([(texts[:7], 0.6), (texts[7:], 0.4)])
    assert corpus.weights.tolist() == pytest.approx([0.6 / 7] * 7 + [0.4 / 3] * 3)
    for (prompt, answer), ids, labels in zip(texts, corpus.ids.tolist(), corpus.labels.tolist(), strict=True):
        learned = [VOCABULARY[label] for label in labels if label != -100]
        assert learned == [*answer, EOS]
        text = [VOCABULARY[token] for token in ids]
        assert "".join(text).rstrip(PAD.strip()).startswith(prompt + answer)
        assert [token for token, label in zip(ids, labels, strict=True) if label != -100] == [
            label for label in labels if label != -100
        ]


def test_the_key_counts_what_decides_the_weights() -> None:
    base = embedded.key(CONFIG)
    assert embedded.key(dataclasses.replace(CONFIG, name="x")) == base
    assert embedded.key(dataclasses.replace(CONFIG, sft_lr=0.5)) == base
    tuned = dataclasses.replace(CONFIG, sft_steps=1)
    assert embedded.key(tuned) != base
    assert embedded.key(dataclasses.replace(tuned, sft_lr=0.5)) != embedded.key(tuned)
    for field in dataclasses.fields(EmbeddedModel):
        if field.name not in ("name", "sft_steps", "sft_lr"):
            assert field.name in base


@pytest.mark.parametrize(("hidden", "heads"), [(100, 4), (64, 4), (128, 128)])
def test_a_head_size_without_a_kernel_is_refused(hidden: int, heads: int) -> None:
    config = EmbeddedModel(hidden_size=hidden, heads=heads, kv_heads=1)
    with pytest.raises(ConfigError, match=r"^model\.hidden_size / model\.heads must be one of 32, 64, .*, not \d+$"):
        models.check(config)
    models.check(EmbeddedModel(hidden_size=64, heads=2, kv_heads=1))


def test_its_parameters_are_known_without_its_weights(made: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(made, local_files_only=True)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert models.parameter_shapes(CONFIG, made) == shapes
    assert models.parameter_shapes(CONFIG, made / "yet to be made") == shapes
    assert "lm_head.weight" not in shapes
