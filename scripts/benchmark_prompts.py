"""How long a served model takes for Rasa's default prompt, and for the prompt made for a student, in one run.

    python scripts/benchmark_prompts.py --vllm VLLM_PYTHON [--messages 120] [--answer-tokens 16] [--json FILE]

A real vLLM with prefix caching serves a Llama with random weights on this machine. The messages are those of the
example's recorded conversations, as if all went on at once. Each is sent with both prompts, one request at a time,
every other message with the student's prompt first. Rasa's prompt is the one that CompactLLMCommandGenerator has for a
self-hosted model, with date and time as by default, seven seconds between the messages. All answers have the same
number of tokens, whatever the model says. `reused` is what vLLM says that it found in its cache; what the cache of
`rasa-ft prompt-stats` finds for the same tokens and blocks stands beside it. Blocks have 32 tokens, the fewest that
vLLM can on a CPU (16 on a GPU).

On a machine without a GPU a small model shows the direction, not the size, of what a big one gains. Needs rasa-pro, the
training libraries, and vLLM in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

from rich.console import Console
from rich.table import Table

from rasa_ft_ext.dataset.student import SHIPPED, shipped
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.model_server.settings import ServeSettings
from rasa_ft_ext.model_server.vllm import VllmServer
from rasa_ft_ext.prompt_stats import PrefixCache, Template, in_order_of_arrival, prompts_of
from rasa_ft_ext.rasa_pro.templates import default_templates
from rasa_ft_ext.rows import Row
from rasa_ft_ext.workspace import read_annotations

ROOT = Path(__file__).parent.parent
POSITIONS, VOCABULARY, WARM_UP = 8192, 4096, 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", help="Python of an environment with vLLM, or its `vllm` command.")
    parser.add_argument("--student-prompt", default="compact", choices=SHIPPED, help="The student's prompt (compact).")
    parser.add_argument("--messages", type=int, default=120, help="How many messages are sent (120).")
    parser.add_argument("--answer-tokens", type=int, default=16, help="Tokens of each answer (16).")
    parser.add_argument("--block-size", type=int, default=32, help="Tokens of a block; a CPU needs 32 or more (32).")
    parser.add_argument("--hidden", type=int, default=256, help="Width of the model (256).")
    parser.add_argument("--layers", type=int, default=4, help="Number of layers (4).")
    parser.add_argument("--heads", type=int, default=8, help="Attention heads of a layer (8).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(args, Path(folder))
    except RasaFtError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the model, serve it, and send every message with both prompts."""
    asked, _ = in_order_of_arrival(read_annotations(ROOT / "assistant_example" / "annotations"))
    asked = asked[: args.messages]
    rasa = Template("rasa", default_templates()["CompactLLMCommandGenerator"], clock=True)
    student = Template("student", shipped(args.student_prompt).source)
    prompts = {template.name: prompts_of(template, asked) for template in (rasa, student)}
    tokenizer = make_base(args, folder, [text for texts in prompts.values() for text in texts])
    settings = ServeSettings(
        model=str(folder),
        name="student",
        dtype="float32",
        max_model_len=POSITIONS,
        port=0,
        extra=("--enable-prompt-tokens-details", "--block-size", str(args.block_size)),
    )
    with VllmServer(settings, vllm=args.vllm) as server:
        for number in range(WARM_UP):
            ask(server.base_url, f"{number} " * 200, args.answer_tokens)
        answers = alternately(server.base_url, prompts, args.answer_tokens)
    simulated = {name: reusable(tokenizer, texts, args.block_size) for name, texts in prompts.items()}
    return {
        "student_prompt": args.student_prompt,
        "messages": len(asked),
        "answer_tokens": args.answer_tokens,
        "block_size": args.block_size,
        "model": {"hidden": args.hidden, "layers": args.layers, "heads": args.heads},
        **{name: summarised(found, simulated[name]) for name, found in answers.items()},
    }


def make_base(args: argparse.Namespace, folder: Path, texts: Sequence[str]) -> Any:
    """Write a random model to the folder; its tokenizer is learned from these texts."""
    import transformers

    sys.path.insert(0, str(ROOT))
    from scripts.make_tiny_base import make_model, make_tokenizer

    tokenizer = make_tokenizer(
        [Row("", ({"role": "user", "content": text},), "") for text in texts], VOCABULARY, whole_lines=False
    )
    model = make_model(tokenizer, args.hidden, args.layers, args.heads, args.hidden * 8 // 3, POSITIONS, seed=0)
    tokenizer.save_pretrained(folder)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    return tokenizer


def alternately(base_url: str, prompts: dict[str, list[str]], tokens: int) -> dict[str, list[dict[str, float]]]:
    """Send the prompts of each message one after the other; now one first, now the other."""
    names = list(prompts)
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(len(prompts[names[0]])):
        for name in names if number % 2 else names[::-1]:
            answers[name].append(ask(base_url, prompts[name][number], tokens))
    return answers


def ask(base_url: str, prompt: str, tokens: int) -> dict[str, float]:
    """Send one prompt; return the seconds, the tokens of the prompt, and how many of them the server knew."""
    body = {
        "model": "student",
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
    }
    request = Request(f"{base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    started = time.perf_counter()
    with urlopen(request) as response:
        usage = json.load(response)["usage"]
    seconds = time.perf_counter() - started
    known = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    assert usage["completion_tokens"] == tokens
    return {"seconds": seconds, "tokens": usage["prompt_tokens"], "known": known}


def reusable(tokenizer: Any, prompts: Sequence[str], block: int) -> float:
    """What the prefix cache of `prompt-stats` says of the same prompts, within the chat template."""
    cache = PrefixCache(block)
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    ids = [tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] for chat in chats]
    return sum(map(cache.add, ids)) / sum(map(len, ids))


def summarised(answers: Sequence[dict[str, float]], simulated: float) -> dict[str, float]:
    tokens = sum(answer["tokens"] for answer in answers)
    seconds = sorted(answer["seconds"] for answer in answers)
    return {
        "prompt_tokens_mean": round(tokens / len(answers), 1),
        "reused": round(sum(answer["known"] for answer in answers) / tokens, 4),
        "reusable_by_prompt_stats": round(simulated, 4),
        "p50_ms": round(median(seconds) * 1000, 1),
        "p95_ms": round(seconds[int(0.95 * (len(seconds) - 1))] * 1000, 1),
    }


def show(figures: dict[str, Any]) -> None:
    rasa, student = figures["rasa"], figures["student"]
    table = Table(title=f"{figures['messages']} messages, answers of {figures['answer_tokens']} tokens")
    for name in ("", "Rasa's default", figures["student_prompt"]):
        table.add_column(name, justify="right" if name else "left")
    for name in rasa:
        table.add_row(name, str(rasa[name]), str(student[name]))
    console = Console()
    console.print(table)
    console.print(f"p50, Rasa's : student's = {rasa['p50_ms'] / student['p50_ms']:.2f}")


if __name__ == "__main__":
    sys.exit(main())
