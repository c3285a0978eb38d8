"""What a training starts from, checked before a weight is loaded: settings, tokens, tokenizer, base model.

prepared = prepare(Path("output"), settings)
evaluator = prepared.evaluator(prepared.validation, sharing=True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasa_ft_ext._version import __version__
from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.finetuned import digests
from rasa_ft_ext.train.base import (
    BaseRecord,
    check_adapter,
    compute_dtype,
    describe_base,
    pick_device,
    quantization_config,
)
from rasa_ft_ext.train.chat import Chat, load_chat
from rasa_ft_ext.train.data import Data, Tokens, find_data, given_data, tokenize
from rasa_ft_ext.train.processes import how_many, share_a_model
from rasa_ft_ext.train.settings import TrainSettings

if TYPE_CHECKING:
    from rasa_ft_ext.train.evaluation import Evaluator

DEFAULT_SYNTAX: Syntax = "v2"  # what Rasa's newer command generators speak

Rows = Path | tuple[Path, Path | None]


@dataclass(frozen=True)
class Prepared:
    """What a training starts from, checked."""

    settings: TrainSettings
    data: Data
    chat: Chat
    base: BaseRecord
    device: str
    syntax: Syntax
    train: list[Tokens]
    validation: list[Tokens]
    dropped: tuple[str, ...]
    final: bool

    @property
    def key(self) -> dict[str, Any]:
        """All that the model depends on."""
        ignored = {"report_to", "eval_batch_size", "device"}
        return {
            "version": __version__,
            "data": self.data.origin.data_hash,
            # Of a model on the hub the weights come later, so that it is known by its commit.
            "base": self.base.revision or self.base.fingerprint,
            "rendered_with": self.chat.template,
            "final": self.final,
            "adapter_weights": digests(self.settings.adapter) if self.settings.adapter else None,
            "processes": how_many(),
            "fsdp": share_a_model(),
            **self.settings.model_dump(mode="json", exclude=ignored),
        }

    def evaluator(self, examples: Sequence[Tokens], *, sharing: bool) -> Evaluator:
        """What measures loss and command accuracy on these examples."""
        from rasa_ft_ext.train.evaluation import Evaluator

        return Evaluator(
            examples=examples,
            chat=self.chat,
            syntax=self.syntax,
            flows=self.data.origin.flows or None,
            sharing=sharing,
            batch_size=self.settings.eval_batch_size,
            longest=self.longest_answer(examples),
            dtype=compute_dtype(self.settings, self.device),
        )

    def longest_answer(self, examples: Sequence[Tokens]) -> int:
        """Enough tokens for any answer that may be right: twice the longest expected one, and some."""
        expected = max((len(example.ids) - example.prompt_length for example in examples), default=0)
        return min(self.settings.answers_max_tokens, 2 * expected + 8)


def prepare(rows: Rows, settings: TrainSettings, *, final: bool = False) -> Prepared:
    """Look at everything that can be wrong, and turn the rows into tokens.

    Raises:
        RasaFtError: something is.
    """
    if settings.method == "qlora" and share_a_model():
        raise ConfigError("settings", ["qlora is not trained with FSDP here. Take ddp.yml, or the method lora."])
    data = find_data(rows) if isinstance(rows, Path) else given_data(*rows)
    if final:
        data = replace(data, train=[*data.train, *data.validation], validation=[])
    device = pick_device(settings.device)
    quantization_config(settings, device)
    if settings.prefix_sharing == "on" and settings.batch_size == 1:
        raise ConfigError("settings", ["prefix_sharing is on, but with a batch_size of 1 there is nothing to share."])
    missing = [name for name in settings.report_to if find_spec(name) is None]
    if missing:
        names = " ".join(missing)
        raise ConfigError("settings", [f"report_to has {' and '.join(missing)}, not installed: pip install {names}"])
    if settings.adapter is not None:
        check_adapter(settings.adapter, settings)
    chat = load_chat(
        settings.base_model,
        revision=settings.revision,
        chat_template=settings.chat_template,
        chat_template_kwargs=settings.chat_template_kwargs,
    )
    train_tokens, dropped = tokenize(data.train, chat, settings.max_length, settings.over_length)
    validation, dropped_there = tokenize(data.validation, chat, settings.max_length, settings.over_length)
    if not train_tokens:
        raise ConfigError(str(data.origin.source), ["No example to train on is left."])
    return Prepared(
        settings=settings,
        data=data,
        chat=chat,
        base=describe_base(settings),
        device=device,
        syntax=settings.syntax or data.origin.syntax or DEFAULT_SYNTAX,
        train=train_tokens,
        validation=validation,
        dropped=tuple(f"{name}: {length} tokens" for name, length in {**dropped, **dropped_there}.items()),
        final=final,
    )
