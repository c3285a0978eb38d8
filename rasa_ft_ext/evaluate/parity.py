"""Whether the served model is the one in the model folder: both are asked the same, and must say the same.

    figures = await compare(reference, served, prompts, dtype="bfloat16")
    figures.problems         # a sentence for each difference that rounding does not explain

Both are asked over OpenAI's API with temperature 0, so that chat template, tokenizer, weights and the server's own
settings are compared at once. Equal are the number of tokens of the prompt, the answer's text, and, within what
rounding explains, the log probability of each token of it. Where the answers differ, their first differing token may
be a tie: both servers then find the two tokens equally likely, within the same tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.evaluate.served import Served, Spoken, session_for, speak
from rasa_ft_ext.evaluation import ParityFigures

PROMPTS = 16
"""How many prompts are compared; answers of some 200 tokens in all show a difference in any layer."""

_SHOWN = 5
_LONGEST_TEXT = 80


class Tolerance(NamedTuple):
    """How far log probabilities may be apart: a single one, and all on average."""

    largest: float
    mean: float


# Two engines sum in another order, so that the last digits differ. Measured against fp32, which stands for any other
# order, log probabilities of greedy tokens differ in bf16 by at most 0.046 and by 0.002 on average (trained Llama of 4
# layers), or 0.062 and 0.015 (random one of 32 layers with logits as wide); in fp16 by an eighth of that. Three times
# as much and more is allowed. In fp32, 1 % of noise on one tensor of those 4 layers changes one by 0.011.
TOLERANCES = {
    "float32": Tolerance(1e-3, 1e-4),
    "float16": Tolerance(0.04, 0.008),
    "bfloat16": Tolerance(0.3, 0.05),
}


class NoLogProbabilities(LLMError):
    """A server does not give log probabilities, so nothing can be compared but words."""


@dataclass(frozen=True)
class Difference:
    """What comparing one answer gave: the log probabilities' differences, whether it was a tie, and what is wrong."""

    apart: tuple[float, ...]
    tie: bool = False
    problem: str | None = None


async def compare(
    reference: Served,
    served: Served,
    prompts: Sequence[str],
    *,
    dtype: str,
    max_tokens: int = 256,
    changed: Sequence[str] = (),
    done: Callable[[], None] = lambda: None,
) -> ParityFigures:
    """Ask both models the same and compare what they say.

    Args:
        reference: The model of the folder.
        served: The model that is evaluated.
        prompts: What they are asked, each on its own.
        dtype: The type of the folder's weights.
        max_tokens: Most tokens of an answer.
        changed: Files of the folder that are not as the training left them.
        done: Is called after each prompt.

    Raises:
        NoLogProbabilities: one of the servers gives none.
        LLMError: a call failed.
    """
    tolerance = TOLERANCES.get(dtype, TOLERANCES["bfloat16"])
    async with session_for(reference) as one, session_for(served) as other:

        async def ask(prompt: str) -> tuple[Spoken, Spoken]:
            spoken = []
            for session, model in ((one, reference), (other, served)):
                answer = await speak(session, model, prompt, max_tokens)
                if answer is None:
                    raise NoLogProbabilities(f"{model.model} at {model.api_base} gives no log probabilities.")
                spoken.append(answer)
            return spoken[0], spoken[1]

        pairs = await in_order(prompts, ask, limit=1, done=done)  # one at a time: batches round otherwise
    differences = [difference(first, second, tolerance.largest) for first, second in pairs]
    apart = [value for found in differences for value in found.apart]
    mean = sum(apart) / len(apart) if apart else 0.0
    return ParityFigures(
        prompts=len(prompts),
        dtype=dtype,
        largest_difference=max(apart, default=0.0),
        mean_difference=mean,
        allowed=tolerance.largest,
        ties=sum(found.tie for found in differences),
        changed_files=tuple(changed),
        problems=tuple(_problems(differences, mean, tolerance, changed)),
    )


def difference(reference: Spoken, served: Spoken, allowed: float) -> Difference:
    """Compare two answers to the same prompt, up to where they part."""
    apart: list[float] = []
    if None not in (reference.prompt_tokens, served.prompt_tokens) and reference.prompt_tokens != served.prompt_tokens:
        return Difference(
            (),
            problem=(
                f"the prompt has {reference.prompt_tokens} tokens for the folder's model and {served.prompt_tokens} "
                "for the served one: tokenizer or chat template differ"
            ),
        )
    for ours, theirs in zip_longest(reference.tokens, served.tokens):
        if ours is None or theirs is None or ours.text != theirs.text:
            if reference.text == served.text:  # servers differ in whether they show the token that ends an answer
                break
            texts = f"the folder's model answers {_short(reference.text)}, the served one {_short(served.text)}"
            if ours is None or theirs is None:
                return Difference(tuple(apart), problem=texts)
            gaps = (_gap(ours.top, ours.text, theirs.text), _gap(theirs.top, theirs.text, ours.text))
            tie = max(gaps) <= allowed
            return Difference(tuple(apart), tie=tie, problem=None if tie else texts)
        apart.append(abs(ours.logprob - theirs.logprob))
    largest = max(apart, default=0.0)
    if not largest <= allowed:  # so written, NaN counts as too far apart
        return Difference(tuple(apart), problem=f"log probabilities differ by {largest:.3g}, {allowed:.3g} is allowed")
    return Difference(tuple(apart))


def _gap(top: Mapping[str, float], taken: str, other: str) -> float:
    """By how much a model prefers the token that it took over another one."""
    if taken not in top or other not in top:
        return float("inf")
    return top[taken] - top[other]


def _problems(
    differences: Sequence[Difference], mean: float, tolerance: Tolerance, changed: Sequence[str]
) -> Iterator[str]:
    if changed:
        yield f"Files of the model folder are not as the training left them: {', '.join(changed)}."
    wrong = [(number, found.problem) for number, found in enumerate(differences, 1) if found.problem]
    for number, problem in wrong[:_SHOWN]:
        yield f"Prompt {number}: {problem}."
    if len(wrong) > _SHOWN:
        yield f"So do {len(wrong) - _SHOWN} more of the {len(differences)} prompts."
    if not mean <= tolerance.mean:
        yield f"On average log probabilities differ by {mean:.3g}, and {tolerance.mean:.3g} is allowed."


def _short(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "...")
