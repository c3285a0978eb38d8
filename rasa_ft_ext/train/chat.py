"""The tokenizer of a base model: messages in, tokens out, as a server will see them.

    chat = load_chat("org/model")
    chat.prompt_ids(row.messages)                        # what vLLM computes for a chat request with these messages
    chat.example_ids(row.messages, row.completion)       # that, the answer, and the token that ends it

vLLM renders a chat request with the tokenizer's chat template and `add_generation_prompt`, and adds no special token of
its own (`add_special_tokens` is off for chats). `prompt_ids` does just that, and the answer's tokens are put after it:
a server goes on from these very tokens, so tokens that reach across the border can be neither seen nor said by it.

The answer's tokens are those of the template's own rendering of the whole conversation where it begins with the
prompt's tokens and says the answer and nothing else. Where it does not (it strips the answer, puts a thinking block
before it, or merges across the border), they are those of the answer alone. Either way they are read back
with the prompt before them, and have to give the answer.

The end is the token that the template puts after an answer, if the model stops at it, and else the tokenizer's EOS.
What the template writes after it (a line feed, mostly) is never generated, and is not learned. Arguments for the
template are written into it, so that a server without them renders the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rasa_ft_ext.errors import ConfigError, MissingExtraError
from rasa_ft_ext.train.hub import hub_error, reach

Messages = Sequence[Mapping[str, str]]

# For models that have no chat template: plain text, because a base model knows no tokens for the turns of a chat.
DEFAULT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '### ' ~ message.role | capitalize ~ ':\\n' ~ message.content }}
    {{- eos_token ~ '\\n' if message.role == 'assistant' else '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '### Assistant:\\n' }}{% endif %}"""

_MESSAGE = "Which message is this? The one of the user, no. 17."
_ANSWER = "start flow sample_answer"
_SAMPLE = ({"role": "user", "content": _MESSAGE},)
_CONTEXT = 8  # tokens of the prompt that an answer is read back with: whether a space is dropped depends on them

# Tokens that models have and never use in a text, the ones meant for padding first.
_UNUSED = re.compile(r"pad|reserved|unused|^<unk>$|^\[UNK\]$", re.IGNORECASE)


class UnlearnableError(ValueError):
    """Messages or an answer that this tokenizer cannot express; a sentence without its subject."""


class Chat:
    """A tokenizer with a chat template that was tried out. Make one with `load_chat`.

    `end_id` is the token that every answer is trained to end with; `stop_ids` are all that end an answer, as they
    belong into the generation config. `notes` are sentences to be shown: what has to be the same when the model is
    served. Saving `tokenizer` saves the template, arguments included.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop_ids: Sequence[int],
        kwargs: Mapping[str, Any],
        where: str,
        notes: Sequence[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.kwargs = dict(kwargs)
        self._where = where
        self._notes = list(notes)
        self._rendered_kwargs = self._write_in(self.kwargs)
        after = self._try_out()
        self.end_id = self._find_end(after, stop_ids)
        self.stop_ids = tuple(dict.fromkeys((self.end_id, *stop_ids)))
        self.pad_id: int = self._find_pad()
        self._ends = {*self.stop_ids, *tokenizer.all_special_ids} - {tokenizer.unk_token_id}

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    @property
    def template(self) -> str:
        """The chat template as it is saved."""
        return str(self.tokenizer.get_chat_template())

    def prompt_ids(self, messages: Messages) -> list[int]:
        """The tokens that a server computes for these messages, with the beginning of the answer's turn.

        Raises:
            UnlearnableError: the chat template refuses the messages.
        """
        return self._encode(self._render(messages, answer_next=True))

    def example_ids(self, messages: Messages, completion: str) -> tuple[list[int], int]:
        """The tokens to learn from: prompt, answer and end; and how many of them are the prompt.

        Raises:
            UnlearnableError: the chat template refuses the messages, or the tokenizer has no tokens for the answer.
        """
        prompt = self.prompt_ids(messages)
        answer = self._answer_ids(prompt, messages, completion)
        return [*prompt, *answer, self.end_id], len(prompt)

    def decode(self, prompt: Sequence[int], answer: Sequence[int]) -> str:
        """The text that a server gives for generated tokens: without special tokens, read with what is before them."""
        context = list(prompt[-_CONTEXT:])
        before, both = self._decode(context), self._decode([*context, *answer])
        return both[len(before) :] if both.startswith(before) else self._decode(answer)

    def _decode(self, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _render(self, messages: Messages, *, answer_next: bool) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    tokenize=False,
                    add_generation_prompt=answer_next,
                    **self._rendered_kwargs,
                )
            )
        except Exception as error:  # a template is a program of somebody else's
            raise UnlearnableError(f"the chat template refuses it: {type(error).__name__}: {error}") from error

    def _answer_ids(self, prompt: list[int], messages: Messages, completion: str) -> list[int]:
        within = self._within_conversation(prompt, messages, completion)
        answer = self._encode(completion) if within is None else within
        if ends := [token for token in answer if token in self._ends]:
            name = self.tokenizer.convert_ids_to_tokens(ends[0])
            raise UnlearnableError(f"the completion contains {name}, at which a server would end the answer.")
        read = self.decode(prompt, answer)
        if completion not in (read, read.removeprefix(" ")):  # a word's token brings its space in SentencePiece
            raise UnlearnableError(f"the tokenizer has no tokens for the completion: it would be read as {read!r}.")
        return answer

    def _within_conversation(self, prompt: list[int], messages: Messages, completion: str) -> list[int] | None:
        """The answer's tokens in the template's rendering of the whole, if they are just that and follow the prompt."""
        try:
            whole = self._encode(self._render([*messages, _answer(completion)], answer_next=False))
        except UnlearnableError:
            return None
        if whole[: len(prompt)] != prompt or self.end_id not in whole[len(prompt) :]:
            return None
        answer = whole[len(prompt) : whole.index(self.end_id, len(prompt))]
        return answer if self.decode(prompt, answer) == completion else None

    def _write_in(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Write the arguments into the template; return those that a server has to be given as well."""
        if not kwargs:
            return {}
        tokenizer, template = self.tokenizer, self.tokenizer.get_chat_template()
        arguments = "".join(
            f"{{% set {name} = {json.dumps(value, ensure_ascii=False)} %}}" for name, value in kwargs.items()
        )
        try:
            wanted = tokenizer.apply_chat_template([*_SAMPLE], tokenize=False, add_generation_prompt=True, **kwargs)
            tokenizer.chat_template = arguments + template
            same = wanted == tokenizer.apply_chat_template([*_SAMPLE], tokenize=False, add_generation_prompt=True)
        except Exception:  # `_try_out` tells what is wrong with a template
            same = False
        if same:
            return {}
        tokenizer.chat_template = template
        self._notes.append(
            f"The server has to be started with the chat template arguments {json.dumps(dict(kwargs))}, which cannot "
            "be written into this template."
        )
        return dict(kwargs)

    def _try_out(self) -> str | None:
        """Refuse a template that loses the message; return what it writes after an answer, None where it gives none."""
        try:
            prompt = self._render(_SAMPLE, answer_next=True)
            bare = self._render(_SAMPLE, answer_next=False)
        except UnlearnableError as error:
            raise self._impossible(str(error).replace("refuses it", "does not render a user's message")) from error
        if (count := prompt.count(_MESSAGE)) != 1:
            times = f"{count} times" if count else "not at all"
            raise self._impossible(f"the chat template renders the user's message {times}, and has to do so once.")
        if not self._encode(prompt):
            raise self._impossible("the tokenizer makes no tokens of a prompt.")
        self._note_date(prompt)
        self._note_parts(prompt)
        try:
            whole = self._render([*_SAMPLE, _answer(_ANSWER)], answer_next=False)
        except UnlearnableError:
            whole = ""
        if _ANSWER not in whole:
            return None
        before, _, after = whole.rpartition(_ANSWER)
        self._check_beginning(bare, prompt, before)
        return after

    def _check_beginning(self, bare: str, prompt: str, before: str) -> None:
        """Compare what a server gives with what stands before an answer in a whole conversation."""
        more = before.removeprefix(prompt) if before.startswith(prompt) else None
        if more is not None and not more.strip():
            return
        if bare == prompt:
            raise self._impossible(
                f"the chat template does not begin the answer when it is asked to (add_generation_prompt), but in "
                f"a whole conversation it writes {(more or before)[-60:]!r} before one."
            )
        hint = ""
        if "enable_thinking" in self.template and "enable_thinking" not in self.kwargs:
            hint = ' To train with an empty thinking block, set chat_template_kwargs to {"enable_thinking": false}.'
        said = f"writes {more!r} before the answer" if more else "renders the turns before the answer in another way"
        self._notes.append(
            f"In a whole conversation the chat template {said}, but a server does not when it asks for one. Answers "
            f"are trained as the server asks.{hint}"
        )

    def _note_date(self, prompt: str) -> None:
        formats = re.findall(r"strftime_now\(\s*(['\"])(.*?)\1", self.template)
        dates = [date for _, form in formats if (date := datetime.now().strftime(form)) in prompt]
        if not dates:
            return
        way = (
            f'Set chat_template_kwargs to {{"date_string": "{dates[0]}"}}, which is written into the saved template'
            if "date_string" in self.template
            else "Give a copy of the template without the date with --chat-template"
        )
        self._notes.append(
            f"The chat template writes today's date ({dates[0]}) into every prompt, so that the server's prompts will "
            f"differ from the trained ones from tomorrow on. {way}."
        )

    def _note_parts(self, prompt: str) -> None:
        """vLLM gives templates that go through a message's parts a list of parts; say so where that is not the same."""
        if not re.search(r"for\s+\w+\s+in\s+\w+(\[['\"]content['\"]\]|\.content)", self.template):
            return
        parts: Any = {"role": "user", "content": [{"type": "text", "text": _MESSAGE}]}
        try:
            same = self._render([parts], answer_next=True) == prompt
        except UnlearnableError:
            same = False
        if not same:
            self._notes.append(
                "The chat template renders a text otherwise than a list of one text. Serve with vLLM's option "
                "--chat-template-content-format string."
            )

    def _find_end(self, after: str | None, stop_ids: Sequence[int]) -> int:
        """The token that ends an answer: the template's, if the model stops at it, else the tokenizer's EOS."""
        written = self._encode(after) if after else []
        end = next((token for token in written if token in stop_ids), None)
        if end is not None:
            return end
        eos: int | None = self.tokenizer.eos_token_id
        if eos is None:
            raise self._impossible(
                "the tokenizer has no token that ends an answer (EOS), so the model could never learn to stop. Take a "
                "base model whose tokenizer_config.json names an eos_token."
            )
        if after is not None:
            text = after.strip()
            writes = f"{text!r}, at which the model does not stop" if text else "nothing"
            self._notes.append(
                f"After an answer the chat template writes {writes}. Answers are trained to end with "
                f"{self.tokenizer.eos_token}."
            )
        return eos

    def _find_pad(self) -> int:
        """A token to fill batches with: the tokenizer's own, or one that no text has. Nothing is learned from it."""
        tokenizer = self.tokenizer
        if tokenizer.pad_token_id is None:
            names = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
            unused = sorted(
                (name for name in names if _UNUSED.search(name)), key=lambda name: "pad" not in name.lower()
            )
            tokenizer.pad_token = next(iter(unused), None) or tokenizer.convert_ids_to_tokens(self.end_id)
        return int(tokenizer.pad_token_id)

    def _impossible(self, problem: str) -> ConfigError:
        return ConfigError(self._where, [problem[0].upper() + problem[1:]])


def load_chat(
    base: str,
    *,
    revision: str | None = None,
    chat_template: Path | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Chat:
    """Load the tokenizer of a base model, a folder or a name on the hub, and try its chat template out.

    Args:
        base: The model. Program code that comes with it is never run.
        revision: Branch, tag or commit on the hub.
        chat_template: A Jinja file to take in place of the model's own template.
        chat_template_kwargs: Arguments for the template.

    Raises:
        ConfigError: the model cannot be had, or no chat is possible with it; says what to do.
        MissingExtraError: transformers is not installed.
    """
    reach(base, revision)
    tokenizer, stop_ids = _load(base, revision)
    where, notes = f"The chat template of {base}", []
    if chat_template is not None:
        where = f"The chat template {chat_template}"
        tokenizer.chat_template = _read_template(chat_template)
    elif not tokenizer.chat_template:
        tokenizer.chat_template = DEFAULT_TEMPLATE
        notes.append(
            f"{base} has no chat template; a plain one was added (### User: ... ### Assistant: ...), which is saved "
            "with the model. A base model that follows instructions already mostly does better."
        )
    elif isinstance(tokenizer.chat_template, dict) and "default" not in tokenizer.chat_template:
        names = ", ".join(tokenizer.chat_template)
        raise ConfigError(
            where, [f"There are several ({names}) and none is the default. Give one with --chat-template."]
        )
    return Chat(tokenizer, stop_ids, chat_template_kwargs or {}, where, notes)


def _load(base: str, revision: str | None) -> tuple[Any, list[int]]:
    """The tokenizer, and the tokens at which a server stops."""
    try:
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast
    except ImportError as error:
        raise MissingExtraError("transformers", "train") from error
    options = {"revision": revision or "main", "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, **options)
        if type(tokenizer).__name__ == "MistralCommonBackend":  # it has no chat template that could be saved and served
            tokenizer = PreTrainedTokenizerFast.from_pretrained(base, revision=revision or "main")
        if tokenizer is None or not tokenizer.get_vocab():
            raise ValueError("it has no tokenizer")
    except Exception as error:
        raise hub_error(base, error, revision) from error
    try:
        configured = GenerationConfig.from_pretrained(base, revision=revision or "main").eos_token_id
    except OSError:  # there is none; vLLM then looks into the model's config
        try:
            configured = AutoConfig.from_pretrained(base, **options).eos_token_id
        except Exception as error:
            raise hub_error(base, error, revision) from error
    stops = configured if isinstance(configured, list) else [configured]
    return tokenizer, list(dict.fromkeys(stop for stop in [*stops, tokenizer.eos_token_id] if stop is not None))


def _read_template(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The chat template {file}", [f"It cannot be read: {error}."]) from error
    if not text.strip():
        raise ConfigError(f"The chat template {file}", ["The file is empty."])
    return text


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
