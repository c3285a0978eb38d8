"""Small models for tests: made here, trained for a few steps with plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rasa_ft_ext.train.base import load_base
from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.settings import TrainSettings

END, PAD, VOCABULARY = 2, 0, 200


def write_base(folder: Path, *, seed: int = 0, dtype: str = "float32", **config: Any) -> Path:
    """A random Llama with a tokenizer of words, as a folder."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.2,
        "eos_token_id": 3,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**{**sizes, **config})).to(getattr(torch, dtype))
    model.generation_config.temperature, model.generation_config.do_sample = 0.6, True
    model.save_pretrained(folder)
    words = {"<pad>": PAD, "<s>": 1, "<end>": END, "<eos>": 3} | {f"w{at}": at for at in range(4, VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")), pad_token="<pad>", eos_token="<end>"
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}<end>{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


def settings_for(base: Path | str, **given: Any) -> TrainSettings:
    return TrainSettings(**{"base_model": str(base), "device": "cpu", "lora_rank": 8, "lora_alpha": 16, **given})


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def examples(count: int = 6) -> list[Tokens]:
    """Prompts and answers of different lengths."""
    import random

    chance = random.Random(1)
    found = []
    for index in range(count):
        prompt = [chance.randrange(4, VOCABULARY) for _ in range(10 + 2 * index)]
        answer = [chance.randrange(4, VOCABULARY) for _ in range(2 + index % 3)] + [END]
        found.append(Tokens(f"val.jsonl line {index + 1}", (*prompt, *answer), len(prompt), "w"))
    return found


def train(model: Any, rows: list[Tokens], *, steps: int = 3, rate: float = 2e-2) -> list[float]:
    """A few steps of AdamW on whole rows; the losses."""
    import torch

    optimizer = torch.optim.AdamW([entry for entry in model.parameters() if entry.requires_grad], lr=rate)
    model.train()
    losses = []
    for _ in range(steps):
        for row in rows:
            ids = torch.tensor([row.ids])
            labels = torch.tensor([[-100] * row.prompt_length + list(row.ids[row.prompt_length :])])
            loss = model(input_ids=ids, labels=labels).loss / len(rows)
            loss.backward()
            losses.append(loss.item() * len(rows))
        optimizer.step()
        optimizer.zero_grad()
    return losses


def trained(base: Path, **given: Any) -> Any:
    model = load_base(settings_for(base, **given), device="cpu")
    train(model, examples())
    return model


KINDS = ("Llama", "Qwen3", "Mistral")


def tiny_model(kind: str, *, seed: int = 0, **config: Any) -> Any:
    """A random model of two layers in which two query heads share a key head; its head size is not hidden / heads."""
    import torch
    import transformers

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": END,
        "pad_token_id": PAD,
    }
    if kind == "Mistral":
        sizes["sliding_window"] = None
    made = getattr(transformers, f"{kind}Config")(**{**sizes, **config})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return getattr(transformers, f"{kind}ForCausalLM")(made)


def with_lora(model: Any) -> Any:
    """A LoRA adapter whose two matrices are both random, so that each has gradients."""
    import torch
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return adapted


def tokens(prompt: list[int], answer: list[int], name: str = "train.jsonl line 1") -> Tokens:
    return Tokens(name, (*prompt, *answer, END), len(prompt), " ".join(f"w{token}" for token in answer))


def words(chance: Any, count: int) -> list[int]:
    """Random tokens that are neither end nor padding."""
    return [chance.randrange(4, VOCABULARY) for _ in range(count)]
