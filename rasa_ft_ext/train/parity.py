"""Whether the model that was saved is the one that was trained.

    seen = observe(model, examples, end=(2,), pad=0, longest=256)       # the trained model, still in memory
    parity = compare(seen, folder / "merged", examples, device="cuda")  # raises ParityError where they differ

Both models get the same examples: all expected answers at once, for the logits, and the prompts alone, for the answers
that they give themselves. The merged model is loaded from its files as a server loads it. The trained one may be gone
by then; what was seen of it takes (tokens of the answers) x (vocabulary) x 2 or 4 bytes of memory.

A layer of a base that is quantised to 8 bit rounds its inputs as well; a merged model does not, so that the trained
one is observed without that. All else is computed as in training.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ParityError
from rasa_ft_ext.train.data import Tokens


class Tolerance(NamedTuple):
    """How far logits may be apart: the largest difference, and the root of the mean square of all.

    `relative` ones count in standard deviations of the trained model's logits.
    """

    largest: float
    mean: float
    relative: bool


# Merging in fp32 only changes the order of sums: 4e-6 on 2 layers.
FP32 = Tolerance(1e-4, 1e-4, relative=False)

# Merged weights are rounded to 8 bits of precision, where the adapter's sum was not. Random Llamas of 2 to 32 layers
# and 32 to 512 dimensions with an adapter that changes the logits by 0.5 (rms) differ by at most 0.18 and by 0.026 rms,
# in standard deviations of the logits; twice that is allowed. One layer of 32 without its adapter gives 0.1 rms.
BF16 = Tolerance(0.4, 0.05, relative=True)


_SHOWN = 5


@dataclass(frozen=True)
class Observed:
    """What a model says to each example: logits [tokens of the answer, vocabulary] on the CPU, and its own answer."""

    logits: tuple[Any, ...]
    answers: tuple[tuple[int, ...], ...]
    end: tuple[int, ...]
    pad: int
    longest: int


class Parity(Record):
    """How the saved model compares with the trained one.

    `answers_that_differ` counts those that do; each of them begins to differ where the two best tokens were closer than
    `allowed`, or there would be an error instead.
    """

    examples: int
    max_logit_difference: float
    mean_logit_difference: float
    allowed: float
    answers_that_differ: int


def observe(
    model: Any,
    examples: Sequence[Tokens],
    *,
    end: Collection[int],
    pad: int,
    longest: int,
    batch_size: int = 16,
    autocast: Any = None,
) -> Observed:
    """Ask a model all examples, greedily and without dropout.

    Args:
        model: A causal language model or peft model; it is left in the mode that it was in.
        examples: What to ask.
        end: The tokens that end an answer.
        pad: Fills up shorter prompts, on the left.
        longest: The most tokens of an answer.
        batch_size: Examples at a time.
        autocast: The dtype to compute in where the weights have another one, as after a full training in bf16.
    """
    import torch

    was_training = model.training
    model.eval()
    computing = torch.autocast(model.device.type, autocast) if autocast is not None else nullcontext()
    try:
        with torch.no_grad(), _unrounded_inputs(model), computing:
            logits = [found for batch in _batches(examples, batch_size) for found in _logits(model, batch, pad)]
            prompts = [example.ids[: example.prompt_length] for example in examples]
            answers = [
                answer
                for batch in _batches(prompts, batch_size)
                for answer in _answers(model, batch, tuple(end), pad, longest)
            ]
    finally:
        model.train(was_training)
    return Observed(tuple(logits), tuple(answers), tuple(end), pad, longest)


def compare(
    trained: Observed, folder: Path, examples: Sequence[Tokens], *, device: str, batch_size: int = 16
) -> Parity:
    """Load the merged model and compare it with what was observed of the trained one on the same examples.

    Raises:
        ParityError: they differ by more than rounding explains; says where and by how much.
    """
    import torch
    from transformers import AutoModelForCausalLM

    merged = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="auto", device_map={"": device}, use_safetensors=True, trust_remote_code=False
    )
    saved = observe(
        merged,
        examples,
        end=trained.end,
        pad=trained.pad,
        longest=trained.longest,
        batch_size=batch_size,
    )
    tolerance = FP32 if merged.dtype == torch.float32 else BF16
    differences = _differences(trained, saved)
    spread = _spread(trained) if tolerance.relative else 1.0
    differing = [index for index, answer in enumerate(trained.answers) if answer != saved.answers[index]]
    allowed = tolerance.largest * spread
    problems = [
        *_far_apart(differences, examples, allowed, tolerance.mean * spread),
        *_other_answers(merged, trained, saved, examples, differing, allowed),
    ]
    if problems:
        raise ParityError(
            f"The merged model in {folder} does not say what the trained model says:"
            + "".join(f"\n  - {problem}" for problem in problems)
            + "\nIt is not kept, because it must not be served. What was trained is good: adapter and figures are in "
            f"{folder.parents[1]}. This is a mistake of rasa-ft-ext; please report it with this message."
        )
    return Parity(
        examples=len(examples),
        max_logit_difference=max((found.largest for found in differences), default=0.0),
        mean_logit_difference=_mean(differences),
        allowed=allowed,
        answers_that_differ=len(differing),
    )


class _Difference(NamedTuple):
    largest: float
    squares: float
    numbers: int


def _differences(trained: Observed, saved: Observed) -> list[_Difference]:
    found = []
    for one, other in zip(trained.logits, saved.logits, strict=True):
        apart = (one.float() - other.float()).abs()
        largest = float(apart.max()) if apart.numel() else 0.0
        found.append(_Difference(largest, float(apart.double().square().sum()), apart.numel()))
    return found


def _mean(differences: Sequence[_Difference]) -> float:
    count = sum(found.numbers for found in differences)
    return float((sum(found.squares for found in differences) / count) ** 0.5) if count else 0.0


def _spread(observed: Observed) -> float:
    """The standard deviation of a position's logits, on average."""
    spreads = [float(logits.float().std(dim=-1).mean()) for logits in observed.logits]
    return sum(spreads) / len(spreads) if spreads else 0.0


def _far_apart(
    differences: Sequence[_Difference], examples: Sequence[Tokens], largest: float, mean: float
) -> Iterator[str]:
    # Written so that NaN, which no comparison is true of, counts as too far apart.
    worst = [
        (found, example) for found, example in zip(differences, examples, strict=True) if not found.largest <= largest
    ]
    for found, example in sorted(worst, key=lambda pair: -pair[0].largest)[:_SHOWN]:
        yield f"{example.name}: logits differ by {found.largest:.3g}, and {largest:.3g} is allowed."
    if len(worst) > _SHOWN:
        yield f"So do {len(worst) - _SHOWN} more of the {len(examples)} examples."
    if not _mean(differences) <= mean:
        yield f"On average (rms) the logits differ by {_mean(differences):.3g}, and {mean:.3g} is allowed."


def _other_answers(
    merged: Any,
    trained: Observed,
    saved: Observed,
    examples: Sequence[Tokens],
    differing: Sequence[int],
    allowed: float,
) -> Iterator[str]:
    """Answers that differ although one of the two was clearly the better one."""
    shown = 0
    for index in differing:
        example, before, after = examples[index], trained.answers[index], saved.answers[index]
        gap = _gap(merged, example, before, after)
        if not gap <= allowed:
            shown += 1
            if shown <= _SHOWN:
                yield (
                    f"{example.name}: the trained model answers with tokens {list(before)}, the merged one with "
                    f"{list(after)}, and is {gap:.3g} sure of it, where {allowed:.3g} is explained by rounding."
                )
    if shown > _SHOWN:
        yield f"So do {shown - _SHOWN} more of the {len(examples)} answers."


def _gap(merged: Any, example: Tokens, before: tuple[int, ...], after: tuple[int, ...]) -> float:
    """By how much the merged model prefers its token over the trained one's, where the answers begin to differ."""
    import torch

    same = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    if same is None:  # cannot be, as both stop at the same tokens
        return float("inf")
    ids = torch.tensor([[*example.ids[: example.prompt_length], *after[:same]]], device=merged.device)
    with torch.no_grad():
        logits = merged(input_ids=ids).logits[0, -1].float()
    return float(logits[after[same]] - logits[before[same]])


def _logits(model: Any, batch: Sequence[Tokens], pad: int) -> list[Any]:
    """The logits from which each token of the expected answers is taken."""
    given = _padded([example.ids for example in batch], pad, model.device)
    longest = max(len(example.ids) - example.prompt_length for example in batch)
    logits = model(**given, logits_to_keep=longest + 1, use_cache=False).logits
    return [
        logits[row, -1 - (len(example.ids) - example.prompt_length) : -1].cpu() for row, example in enumerate(batch)
    ]


def _answers(
    model: Any, prompts: Sequence[tuple[int, ...]], end: tuple[int, ...], pad: int, longest: int
) -> list[tuple[int, ...]]:
    """The model's own answers, with the token that ended them."""
    from transformers import GenerationConfig

    given = _padded(prompts, pad, model.device)
    del given["position_ids"]  # generate counts them itself
    core = model.get_base_model() if hasattr(model, "peft_config") else model
    own, core.generation_config = core.generation_config, GenerationConfig()  # no penalties of the base's
    config = GenerationConfig(
        max_new_tokens=longest, do_sample=False, eos_token_id=list(end), pad_token_id=pad, use_cache=True
    )
    try:
        written = core.generate(**given, generation_config=config)[:, given["input_ids"].shape[1] :]
    finally:
        core.generation_config = own
    return [_until(row, end) for row in written.tolist()]


def _until(tokens: list[int], end: tuple[int, ...]) -> tuple[int, ...]:
    stop = next((at for at, token in enumerate(tokens) if token in end), len(tokens))
    return tuple(tokens[: stop + 1])


def _padded(rows: Sequence[tuple[int, ...]], pad: int, device: Any) -> dict[str, Any]:
    """Rows of unequal length as one batch, filled up on the left; positions count from each row's own beginning."""
    import torch

    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextmanager
def _unrounded_inputs(model: Any) -> Iterator[None]:
    """Let layers in 8 bit compute with their inputs as they are, and their weights turned back into numbers."""
    layers = [module for module in model.modules() if _rounds_inputs(module)]
    before = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _unrounded(layer)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def _rounds_inputs(module: Any) -> bool:
    kind = type(module)  # peft calls what it puts around such a layer the same
    return kind.__name__ == "Linear8bitLt" and kind.__module__.startswith("bitsandbytes.")


def _unrounded(layer: Any) -> Any:
    import torch
    from peft.utils.integrations import dequantize_module_weight

    def forward(inputs: Any) -> Any:
        weight = dequantize_module_weight(layer).to(inputs.dtype)
        bias = None if layer.bias is None else layer.bias.to(inputs.dtype)
        return torch.nn.functional.linear(inputs, weight, bias)

    return forward
