"""A model that transformers loads and that answers chats as vLLM does: greedily, with its tokens' log-probabilities.

    model = ServedModel(settings)
    completion = model.complete([{"role": "user", "content": "Hello"}], max_tokens=16, alternatives=2)

What it has in common with vLLM: the chat template and the generation config in the model's folder, of which the
penalty on repetition, the most new tokens and the tokens that end an answer count; the token that ends an answer is the
last one, and not part of the text. Log-probabilities are those of the model itself, before any penalty. Log-softmax is
computed in fp32. The tokenizer must be one of the library `tokenizers`. This module knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rasa_ft_ext.model_server.settings import ServeSettings

_INCOMPLETE = "\ufffd"  # what the bytes of a part of a character read as
_MOST_PARTS = 4


class TooLongError(ValueError):
    """The prompt leaves no room for an answer."""


@dataclass(frozen=True)
class ScoredToken:
    """A token, what it reads as, and the natural logarithm of its probability."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Completion:
    """An answer; `steps` holds, for each of its tokens, the token itself and then the likeliest ones."""

    text: str
    steps: tuple[tuple[ScoredToken, ...], ...]
    prompt_tokens: int
    ended: bool
    """Whether the model ended it, and not the limit."""


class ServedModel:
    """A model in memory, on the first GPU if there is one."""

    def __init__(self, settings: ServeSettings) -> None:
        """Load it.

        Args:
            settings: Which model, with which adapter and tokenizer, in which dtype.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        place = {"revision": settings.revision} if settings.revision else {}
        self._tokenizer = AutoTokenizer.from_pretrained(
            settings.tokenizer or settings.model, **({} if settings.tokenizer else place)
        )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(
            settings.model, dtype=settings.dtype, device_map={"": device}, use_safetensors=True, **place
        )
        own = model.generation_config
        if settings.generation_config is not None:
            own = GenerationConfig.from_pretrained(settings.generation_config)
        model.generation_config = GenerationConfig()
        if settings.lora is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, settings.lora)
        self._model = model.eval()
        self._penalty: float = own.repetition_penalty or 1.0
        self._most_new: int | None = own.max_new_tokens
        ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        self._ends = {token for token in (*ends, self._tokenizer.eos_token_id) if token is not None}
        self.max_model_len: int = settings.max_model_len or model.config.get_text_config().max_position_embeddings

    def complete(
        self, messages: Sequence[dict[str, str]], *, max_tokens: int | None = None, alternatives: int = 0
    ) -> Completion:
        """Answer a chat.

        Args:
            messages: Role and content of each.
            max_tokens: The most tokens of the answer; less where the model can hold no more.
            alternatives: How many of the likeliest tokens are given for each token of the answer.

        Raises:
            TooLongError: the prompt leaves no room for an answer.
        """
        import torch

        prompt = self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(self._model.device)
        length = prompt["input_ids"].shape[1]
        room = self.max_model_len - length
        if room < 1 or (max_tokens or 0) > self.max_model_len:
            asked = f", and {max_tokens} tokens were asked for" if max_tokens else ""
            raise TooLongError(
                f"This model's maximum context length is {self.max_model_len} tokens. However, your prompt contains "
                f"{length} input tokens{asked}."
            )
        wanted = max_tokens if max_tokens is not None else self._most_new
        with torch.no_grad():
            found = self._model.generate(
                input_ids=prompt["input_ids"],
                attention_mask=prompt["attention_mask"],
                generation_config=self._greedy(min(room, wanted) if wanted is not None else room),
            )
        ids = found.sequences[0, length:].tolist()
        ended = ids[-1] in self._ends
        steps = [self._step(ids[:at], token, found.logits[at][0], alternatives) for at, token in enumerate(ids)]
        return Completion(
            text=self._text(prompt["input_ids"][0].tolist(), ids[:-1] if ended else ids),
            steps=tuple(steps),
            prompt_tokens=length,
            ended=ended,
        )

    def _greedy(self, most: int) -> Any:
        from transformers import GenerationConfig

        ends = sorted(self._ends)
        return GenerationConfig(
            max_new_tokens=most,
            do_sample=False,
            repetition_penalty=self._penalty,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else None,
            return_dict_in_generate=True,
            output_logits=True,
        )

    def _step(self, before: list[int], token: int, logits: Any, alternatives: int) -> tuple[ScoredToken, ...]:
        scores = logits.float().log_softmax(-1)
        best = scores.topk(min(alternatives, scores.shape[-1])).indices.tolist()
        return tuple(ScoredToken(one, self._read(before, one), float(scores[one])) for one in (token, *best))

    def _text(self, prompt: list[int], ids: list[int]) -> str:
        """What follows the prompt as text; a character that has only begun is left out."""
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(ids=prompt, skip_special_tokens=True)
        return "".join(stream.step(self._tokenizer.backend_tokenizer, token) or "" for token in ids)

    def _read(self, before: list[int], token: int) -> str:
        """A token as text; of a character that takes several tokens, the last has it whole and the others nothing."""
        text = self._decode([token])
        for count in range(1, min(len(before), _MOST_PARTS) + 1):
            if not text.endswith(_INCOMPLETE):
                return text
            context = before[-count:]
            text = self._decode([*context, token])
            while context and self._decode(context[-1:]).endswith(_INCOMPLETE):
                context = context[:-1]
            text = text.removeprefix(self._decode(context)) if context else text
        return "" if text.endswith(_INCOMPLETE) else text

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text
