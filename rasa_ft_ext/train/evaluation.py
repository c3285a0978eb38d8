"""What a model makes of a set of examples: its loss, its answers, and how well these fit the expected commands.

Each example is first looked at with its expected answer given. Where every token of that is the likeliest one, greedy
generation would write just it, so only the other examples are generated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch.nn import functional

from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.scores import Scores, score
from rasa_ft_ext.train.base import computing
from rasa_ft_ext.train.batches import learned_tokens, make_batch, on_device
from rasa_ft_ext.train.chat import Chat
from rasa_ft_ext.train.data import Tokens
from rasa_ft_ext.train.generation import answers


@dataclass(frozen=True)
class Evaluation:
    """The mean loss of a learned token (natural logarithm), the scores, and the answers in the examples' order."""

    loss: float
    scores: Scores
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Evaluator:
    """Evaluates models on the same examples.

    `dtype` is what the training computes in. `in_step` says that the processes hold parts of one model: then all of
    them do the same work, else each its share.
    """

    examples: Sequence[Tokens]
    chat: Chat
    syntax: Syntax
    flows: Collection[str] | None
    sharing: bool
    batch_size: int
    longest: int
    in_step: bool = False
    dtype: Any = None

    def run(self, model: Any, done: Callable[[int], None] = lambda count: None) -> Evaluation:
        """Evaluate a model; `done` is told how many examples have been dealt with.

        Raises:
            ValueError: there are no examples.
        """
        if not self.examples:
            raise ValueError("there is nothing to evaluate on")
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), computing(model, self.dtype):
                found = self._my_share(model, done)
        finally:
            model.train(was_training)
        loss = sum(total for _, total, _ in found) / sum(self._learned(index) for index, _, _ in found)
        given = {index: answer for index, _, answer in found}
        written = tuple(given[index] for index in range(len(self.examples)))
        pairs = zip((example.completion for example in self.examples), written, strict=True)
        return Evaluation(loss, score(pairs, self.syntax, self.flows or None), written)

    def _my_share(self, model: Any, done: Callable[[int], None]) -> list[tuple[int, float, str]]:
        """Of each example its index, the summed loss of its tokens, and the answer; from all processes."""
        state = PartialState()
        order = sorted(range(len(self.examples)), key=lambda index: self.examples[index].ids)  # the most is shared
        mine = order if self.in_step else order[state.process_index :: state.num_processes]
        losses: dict[int, float] = {}
        texts: dict[int, str] = {}
        for start in range(0, len(mine), self.batch_size):
            batch = mine[start : start + self.batch_size]
            for index, (loss, as_expected) in zip(batch, self._look_at(model, batch), strict=True):
                losses[index] = loss
                if as_expected:
                    texts[index] = self.examples[index].completion
            done(sum(index in texts for index in batch))
        self._generate(model, [index for index in mine if index not in texts], texts, done)
        found = [(index, losses[index], texts[index]) for index in mine]
        if self.in_step or state.num_processes == 1:
            return found
        gathered: list[tuple[int, float, str]] = gather_object(found)
        return sorted(gathered)

    def _look_at(self, model: Any, indices: Sequence[int]) -> list[tuple[float, bool]]:
        """The summed loss of each example, and whether each of its tokens is the likeliest."""
        examples = [self.examples[index] for index in indices]
        batch = on_device(make_batch(examples, pad=self.chat.pad_id, sharing=self.sharing), model.device)
        logits, targets = learned_tokens(model, batch)
        counts = [self._learned(index) for index in indices]
        losses = functional.cross_entropy(logits.float(), targets, reduction="none").split(counts)
        likeliest = (logits.argmax(dim=-1) == targets).split(counts)
        return [(float(loss.sum()), bool(hits.all())) for loss, hits in zip(losses, likeliest, strict=True)]

    def _generate(self, model: Any, indices: Sequence[int], texts: dict[int, str], done: Callable[[int], None]) -> None:
        prompts = [self.examples[index].ids[: self.examples[index].prompt_length] for index in indices]
        written = answers(
            model,
            prompts,
            end=self.chat.stop_ids,
            pad=self.chat.pad_id,
            longest=self.longest,
            batch_size=self.batch_size,
            in_step=self.in_step,
            done=done,
        )
        for index, prompt, answer in zip(indices, prompts, written, strict=True):
            texts[index] = self.chat.decode(prompt, answer)

    def _learned(self, index: int) -> int:
        return len(self.examples[index].ids) - self.examples[index].prompt_length
