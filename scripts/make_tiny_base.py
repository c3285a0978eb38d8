"""Make a tiny base model from nothing but rows to train on: for tests, the demo and benchmarks, without a download.

    python scripts/make_tiny_base.py ROWS.jsonl FOLDER [--hidden 192] [--layers 4] [--vocab 2048] [--json FILE]

The tokenizer is a byte-level BPE learned from the rows, so any text can be written with it; a line that many prompts
have, such as those of the prompt template, is one token, or a model that small would spend itself on reading. The model
is a Llama with random weights. It has a chat template, and a generation config that names the token at which it stops.
The same rows, sizes and seed give the same bytes. It knows nothing before it is trained.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, get_args

from rasa_ft_ext.commands import Syntax, read
from rasa_ft_ext.errors import ConfigError, RasaFtError
from rasa_ft_ext.rows import Row, read_rows

BOS, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
TURNS = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|' ~ message.role ~ '|>' ~ message.content ~ eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{% endif %}"""

# A word with the space or sign before it, a single digit, signs, line feeds, other spaces.
WORDS = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


LINE = 12  # the shortest line, in characters, that is worth a token


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="File that `rasa-ft split` wrote, such as train.jsonl.")
    parser.add_argument("out", type=Path, help="Folder to write the model to.")
    parser.add_argument("--hidden", type=int, default=192, help="Width of the model (192).")
    parser.add_argument("--layers", type=int, default=4, help="Number of layers (4).")
    parser.add_argument("--heads", type=int, default=6, help="Attention heads of a layer (6).")
    parser.add_argument("--intermediate", type=int, help="Width of the feed-forward part (8/3 of --hidden).")
    parser.add_argument("--vocab", type=int, default=2048, help="Most tokens that are learned (2048).")
    parser.add_argument("--positions", type=int, default=8192, help="Longest text in tokens (8192).")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the weights (0).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    options = vars(parser.parse_args())
    rows_file, out, figures_file = options.pop("rows"), options.pop("out"), options.pop("json")
    try:
        figures = make_tiny_base(rows_file, out, **options)
    except RasaFtError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(figures, indent=1))
    if figures_file:
        figures_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def make_tiny_base(
    rows_file: Path,
    out: Path,
    *,
    hidden: int = 192,
    layers: int = 4,
    heads: int = 6,
    intermediate: int | None = None,
    vocab: int = 2048,
    positions: int = 8192,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the model and its tokenizer to a folder; return its figures."""
    import transformers

    _check(hidden, heads, vocab)
    start = time.perf_counter()
    rows = read_rows(Path(rows_file))
    tokenizer = make_tokenizer(rows, vocab)
    intermediate = intermediate or -(-hidden * 8 // 3 // 32) * 32
    model = make_model(tokenizer, hidden, layers, heads, intermediate, positions, seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(out)
    lengths = [len(tokenizer(row.prompt)["input_ids"]) for row in rows]
    answers = [len(tokenizer(row.completion)["input_ids"]) for row in rows]
    return {
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "vocabulary": len(tokenizer),
        "rows": len(rows),
        "prompt_tokens_mean": round(sum(lengths) / len(rows), 1),
        "prompt_tokens_max": max(lengths),
        "completion_tokens_mean": round(sum(answers) / len(rows), 1),
        "completion_tokens_max": max(answers),
        "seconds": round(time.perf_counter() - start, 2),
    }


def _check(hidden: int, heads: int, vocab: int) -> None:
    least = 256 + 3 + len(TURNS)
    problems = []
    if hidden % (2 * heads):
        problems.append(f"--hidden {hidden} is no even multiple of --heads {heads}.")
    if vocab < least:
        problems.append(f"--vocab is {vocab}; it must be at least {least}: every byte and the special tokens.")
    if problems:
        raise ConfigError("make_tiny_base", problems)


def make_tokenizer(rows: list[Row], vocab: int, *, whole_lines: bool = True) -> Any:
    """Learn a byte-level BPE of at most `vocab` tokens from prompts and completions.

    Without `whole_lines` no line is a token, and a text has about as many as with the tokenizer of a real model.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        min_frequency=2,
        special_tokens=[PAD, BOS, END, *TURNS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    lines = common_lines(rows) if whole_lines else []
    known = set(lines)
    texts = [line for row in rows for line in _lines(row) if line not in known] + [row.completion for row in rows]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(line, normalized=False) for line in lines])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=list(TURNS),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def common_lines(rows: list[Row]) -> list[str]:
    """The lines that half of the prompts have, and those of a tenth that hold no value which an answer may copy."""
    counts = Counter(line for row in rows for line in {*_lines(row)})
    values = {re.escape(value) for row in rows for value in _values(row.completion)}
    copied = re.compile(rf"\b({'|'.join(sorted(values, key=len, reverse=True))})\b") if values else None
    return sorted(
        line
        for line, count in counts.items()
        if len(line) >= LINE
        and (count >= len(rows) / 2 or (count >= len(rows) / 10 and not (copied and copied.search(line))))
    )


def _lines(row: Row) -> list[str]:
    return [line for message in row.messages for line in message["content"].splitlines(keepends=True)]


def _values(completion: str) -> set[str]:
    """The values that an answer sets slots to, in whichever syntax it is written."""
    commands = [command for syntax in get_args(Syntax) for command in read(completion, syntax)]
    return {command.args[1] for command in commands if command.type == "SetSlot" and command.args[1]}


def make_model(
    tokenizer: Any, hidden: int, layers: int, heads: int, intermediate: int, positions: int, seed: int
) -> Any:
    """A Llama with random weights, the same ones for the same seed."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokens = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        **tokens,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**{**tokens, "eos_token_id": [tokenizer.eos_token_id]}, do_sample=False)
    return model


if __name__ == "__main__":
    sys.exit(main())
