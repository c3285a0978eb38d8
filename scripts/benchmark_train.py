"""A training step with prefix sharing beside the same step of TRL's SFTTrainer, on the same batches, in one process.

    python scripts/benchmark_train.py [--repeats 3] [--json FILE]            # on the CPU: a tiny Llama in fp32
    python scripts/benchmark_train.py --device cuda                          # on a GPU: a random 8B Llama in bf16

Both train the same LoRA adapter on the same random examples: a shared prefix, an own part, a completion, in batches of
16. The steps are taken in turn, so that whatever else the machine does falls on both. On the CPU, processor time is
compared; on a GPU, wall time, and the peak of its memory. Losses are compared, and the gradients of all weights of the
adapter. TRL's step is that of its defaults for prompt-completion data: loss on the completion only.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from rasa_ft_ext.train.batches import make_batch, on_device, plain_batch
from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.sharing import enable, shared_logits
from rasa_ft_ext.train.tree import PrefixTree

VOCABULARY = 2048
TINY = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 2, "num_attention_heads": 8}
LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


@dataclass(frozen=True)
class Shape:
    """What the batches are like: tokens of the shared prefix, of an example's own part, of its completion."""

    name: str
    prefix: int
    own: int
    completion: int = 20
    uneven: bool = False
    nested: bool = False


SHAPES = [
    Shape("1,200 + 280", 1200, 280),
    Shape("1,350 + 130", 1350, 130),
    Shape("... of unequal length", 1200, 280, uneven=True),
    Shape("... in nested branches", 1200, 280, uneven=True, nested=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="Steps of each side and shape that are measured (3).")
    parser.add_argument("--batch-size", type=int, default=16, help="Examples of a step (16).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    torch.set_num_threads(1)  # several would wait for each other in busy loops, which counts as processor time
    with tempfile.TemporaryDirectory() as folder:
        model, trainer = make_sides(args.device, args.batch_size, Path(folder))
        rows = [compare(shape, model, trainer, args) for shape in SHAPES]
    figures = {"device": _device_name(args.device), "batch_size": args.batch_size, "shapes": rows}
    show(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def make_sides(device: str, batch_size: int, folder: Path) -> tuple[Any, SFTTrainer]:
    """One model with an adapter, whose attention understands prefix trees, and TRL's trainer of that very model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **(TINY if device == "cpu" else LLAMA_8B),
        vocab_size=VOCABULARY if device == "cpu" else 128256,
        max_position_embeddings=4096,
    )
    with torch.device(device):
        model = LlamaForCausalLM(config).to(torch.float32 if device == "cpu" else torch.bfloat16)
    enable(model)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    for name, weights in model.named_parameters():
        if "lora_B" in name:  # at zero, as it begins, half of the gradients would be zero as well
            torch.nn.init.normal_(weights, std=0.02)
    args = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=batch_size,
        max_length=None,
        use_cpu=device == "cpu",
        bf16=device == "cuda",
        report_to="none",
        gradient_checkpointing=device == "cuda",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    if device == "cuda":  # TRL's default, which the Trainer switches on when a training begins
        model.gradient_checkpointing_enable({"use_reentrant": False})
    dataset = Dataset.from_dict({"input_ids": [[1, 2]], "labels": [[-100, 2]]})
    trainer = SFTTrainer(model, args, train_dataset=dataset, processing_class=_tokenizer())
    return trainer.model, trainer


def compare(shape: Shape, model: Any, trainer: SFTTrainer, args: argparse.Namespace) -> dict[str, Any]:
    """Take steps of both sides in turn on the same batches."""
    chance = random.Random(0)
    times: dict[str, list[float]] = {"trl": [], "ours": []}
    peaks = {"trl": 0.0, "ours": 0.0}
    losses, gradients = [], []
    raw = unique = 0
    for repeat in range(args.repeats + 1):  # the first one warms up
        examples = make_examples(shape, args.batch_size, chance, model.config.vocab_size)
        tree = PrefixTree.of([example.ids for example in examples])
        raw, unique = raw + tree.raw_tokens, unique + len(tree.ids)
        found = {}
        sides = {"trl": lambda e=examples: trl_step(trainer, model, e), "ours": lambda e=examples: our_step(trainer, e)}
        for side in ("trl", "ours") if repeat % 2 else ("ours", "trl"):
            seconds, peak, loss, gradient = measured(sides[side], model)
            found[side] = (loss, gradient)
            if repeat:
                times[side].append(seconds)
                peaks[side] = max(peaks[side], peak)
        losses.append(abs(found["trl"][0] - found["ours"][0]))
        gradients.append(float((found["trl"][1] - found["ours"][1]).norm() / found["trl"][1].norm()))
    middle = {side: statistics.median(times[side]) for side in times}
    return {
        "shape": shape.name,
        "raw_tokens": raw,
        "unique_tokens": unique,
        "trl_s": middle["trl"],
        "ours_s": middle["ours"],
        "times_faster": middle["trl"] / middle["ours"],
        "trl_examples_per_s": args.batch_size / middle["trl"],
        "ours_examples_per_s": args.batch_size / middle["ours"],
        "trl_tokens_per_s": raw / (args.repeats + 1) / middle["trl"],
        "ours_tokens_per_s": raw / (args.repeats + 1) / middle["ours"],
        "trl_peak_gib": peaks["trl"],
        "ours_peak_gib": peaks["ours"],
        "largest_loss_difference": max(losses),
        "largest_gradient_difference": max(gradients),
    }


def trl_step(trainer: SFTTrainer, model: Any, examples: list[Tokens]) -> torch.Tensor:
    batch = on_device(plain_batch(examples, pad=0), model.device)
    with trainer.compute_loss_context_manager(), trainer.accelerator.autocast():
        loss: torch.Tensor = trainer.compute_loss(model, batch)
    return loss


def our_step(trainer: SFTTrainer, examples: list[Tokens]) -> torch.Tensor:
    model = trainer.model
    batch = on_device(make_batch(examples, pad=0, sharing=True), model.device)
    with trainer.accelerator.autocast():
        logits = shared_logits(model, batch).float()
        return torch.nn.functional.cross_entropy(logits, batch["labels"])


def measured(step: Callable[[], torch.Tensor], model: Any) -> tuple[float, float, float, torch.Tensor]:
    """Seconds of a forward and backward pass, peak memory in GiB, the loss, and all gradients as one vector."""
    model.train()
    model.zero_grad(set_to_none=True)
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    start = time.perf_counter() if on_gpu else time.process_time()
    loss = step()
    loss.backward()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() if on_gpu else time.process_time()) - start
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
    gradients = [weights.grad.flatten().float() for weights in model.parameters() if weights.grad is not None]
    return seconds, peak, loss.item(), torch.cat(gradients).cpu()


def make_examples(shape: Shape, count: int, chance: random.Random, vocabulary: int) -> list[Tokens]:
    def tokens(length: int) -> tuple[int, ...]:
        return tuple(chance.randrange(3, vocabulary) for _ in range(length))

    prefix, branches = tokens(shape.prefix), [tokens(shape.own // 2) for _ in range(4)]
    examples = []
    for index in range(count):
        own = shape.own + (chance.randint(-shape.own // 4, shape.own // 4) if shape.uneven else 0)
        branch = branches[index % len(branches)] if shape.nested else ()
        prompt = prefix + branch + tokens(own - len(branch))
        completion = shape.completion + (chance.randint(-10, 10) if shape.uneven else 0)
        examples.append(Tokens(str(index), prompt + tokens(completion), len(prompt), ""))
    return examples


def show(figures: dict[str, Any]) -> None:
    on_gpu = any(row["ours_peak_gib"] for row in figures["shapes"])
    table = Table(title=f"One step, batch {figures['batch_size']}, {figures['device']}")
    for name in ("shape", "tokens", "TRL", "ours", "times faster", "loss differs by", "gradients by"):
        table.add_column(name, justify="left" if name == "shape" else "right")
    if on_gpu:
        table.add_column("peak GiB, TRL : ours")
    for row in figures["shapes"]:
        cells = [
            row["shape"],
            f"{row['raw_tokens'] / row['unique_tokens']:.1f} : 1",
            f"{row['trl_s']:.2f} s",
            f"{row['ours_s']:.2f} s",
            f"{row['times_faster']:.1f}",
            f"{row['largest_loss_difference']:.1e}",
            f"{row['largest_gradient_difference']:.1e}",
        ]
        if on_gpu:
            cells.append(f"{row['trl_peak_gib']:.1f} : {row['ours_peak_gib']:.1f}")
        table.add_row(*cells)
    Console().print(table)


def _tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    vocabulary = {"<pad>": 0, "<unk>": 1, "<end>": 2}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="<unk>")), pad_token="<pad>", eos_token="<end>"
    )


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "CPU, one thread"


if __name__ == "__main__":
    main()
