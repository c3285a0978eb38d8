"""Watch a command generator at work: on the instance, for SingleStep, Compact, SearchReady and their subclasses.

Four of its methods are wrapped. `_predict_commands` opens and closes the record of a call; `render_template` and
`compile_template` tell the prompt and the variables it is rendered from; `invoke_llm` is the LLM call itself. Outside
of a run (see `rasa_ft_ext.rasa_pro.run`) all of them do what they did before.

The LLM call goes to the teacher, and from there through the gateway (see `rasa_ft_ext.rasa_pro.teacher`).

A run may name another LLM and another prompt template: then `invoke_llm` asks that one, and the generator has that
template while it renders a prompt, as if it had been trained with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rasa.shared.core.events import UserUttered
from rasa.shared.exceptions import ProviderClientAPIException
from rasa.shared.nlu.constants import TEXT
from rasa.shared.providers.llm.llm_response import LLMResponse, LLMUsage

from rasa_ft_ext.errors import LLMAnswerError, LLMError
from rasa_ft_ext.llm.base import Completion, Readable
from rasa_ft_ext.prompts import compiled, placeholder
from rasa_ft_ext.rasa_pro.run import Call, Run, current
from rasa_ft_ext.rasa_pro.teacher import Teacher, prompt_of


class Watch:
    """See the module.

    Args:
        generator: The component's instance.
        teacher: Its own LLM.
        readable: Whether an answer's text is of the form that the generator asks for.
    """

    def __init__(self, generator: Any, teacher: Teacher, readable: Readable) -> None:
        self.generator = generator
        self._teacher = teacher
        self._readable = readable
        self._inputs: dict[str, Any] = {}
        self._predict = generator._predict_commands
        self._render = generator.render_template
        self._compile = generator.compile_template
        self._invoke = generator.invoke_llm
        generator._predict_commands = self.predict
        generator.render_template = self.render
        generator.compile_template = self.compile
        generator.invoke_llm = self.invoke

    def close(self) -> None:
        """Leave the generator as it was."""
        for name in ("_predict_commands", "render_template", "compile_template", "invoke_llm"):
            self.generator.__dict__.pop(name, None)

    async def predict(self, *args: Any, **kwargs: Any) -> Any:
        run = current()
        if run is None or not run.turns:
            return await self._predict(*args, **kwargs)
        call = run.turns[-1].call = Call()
        try:
            call.commands = await self._predict(*args, **kwargs)
        except Exception as error:  # Rasa goes on with another answer; the call has failed all the same
            call.error = error
            raise
        return call.commands

    def render(self, message: Any, tracker: Any, *args: Any, **kwargs: Any) -> Any:
        run = current()
        call = run.call if run is not None else None
        if run is None or call is None:
            return self._render(message, tracker, *args, **kwargs)
        with _prompting(self.generator, run.template):
            prompt = self._render(message, tracker, *args, **kwargs)
            call.prompt, call.variables = prompt, self._inputs
            if run.blanking and run.forced is None:
                with _blanked(message, tracker, len(run.turns) - 1):
                    self._render(message, tracker, *args, **kwargs)
                call.blanked = self._inputs
        return prompt

    def compile(self, template: str) -> Any:
        run = current()
        if run is None or run.call is None:
            return self._compile(template)
        run.call.template = template
        ours = run.template is not None  # runs in the sandbox
        return _Rendering(self, compiled(template) if ours else self._compile(template), run)

    async def invoke(self, *args: Any, **kwargs: Any) -> Any:
        run = current()
        call = run.call if run is not None else None
        if run is None or call is None:
            return await self._invoke(*args, **kwargs)
        if run.forced is not None:
            call.answer = run.forced[len(run.turns) - 1] or ""
            return LLMResponse(id="forced", choices=[call.answer], created=0)
        known = run.known.get(call.prompt)
        if known is not None:
            call.answer, call.model, call.usage, call.latency = known.answer, known.model, known.usage, known.latency
            return LLMResponse(id="known", choices=[call.answer], created=0)
        started = time.perf_counter()
        try:
            completion = await self._asked(run, call.prompt, args, kwargs)
        except LLMError as error:  # Rasa is to take it as it takes those of its own client
            call.error = ProviderClientAPIException(error, str(error))
            raise call.error from error
        except Exception as error:  # no fault of the LLM, such as a disk that is full
            run.failure = error
            raise
        call.answer, call.model, call.usage = completion.text, completion.model, completion.usage
        call.latency = completion.seconds or time.perf_counter() - started
        usage = LLMUsage(completion.usage.prompt_tokens, completion.usage.completion_tokens)
        return LLMResponse(id="asked", choices=[completion.text], created=0, model=completion.model, usage=usage)

    async def _asked(self, run: Run, prompt: str, args: Any, kwargs: Any) -> Completion:
        readable = None if run.judged else self._readable
        if run.llm is None:
            return await self._teacher.ask(prompt_of(args, kwargs), run.sample, readable, (args, kwargs))
        try:
            return await run.llm.complete(prompt, sample=run.sample, readable=readable)
        except LLMAnswerError:
            if not run.judged:
                raise
            return Completion("")  # to Rasa, an answer like any other: it has no commands

    def note_inputs(self, inputs: dict[str, Any]) -> None:
        self._inputs = inputs


@contextmanager
def _prompting(generator: Any, template: str | None) -> Iterator[None]:
    """Give the generator another prompt template; nothing else can run meanwhile, as rendering waits for nothing."""
    own = generator.prompt_template
    generator.prompt_template = own if template is None else template
    try:
        yield
    finally:
        generator.prompt_template = own


class _Rendering:
    """A compiled template that tells what it is rendered with; a run may put the clock back to a recorded time."""

    def __init__(self, watch: Watch, template: Any, run: Run) -> None:
        self._watch = watch
        self._template = template
        self._run = run

    def render(self, *args: Any, **kwargs: Any) -> Any:
        inputs = dict(*args, **kwargs)
        times = self._run.times
        if times is not None and "current_datetime" in inputs:
            inputs["current_datetime"] = times[len(self._run.turns) - 1] or inputs["current_datetime"]
        self._watch.note_inputs(inputs)
        return self._template.render(**inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._template, name)


@contextmanager
def _blanked(message: Any, tracker: Any, turn: int) -> Iterator[None]:
    """Replace the wording of all user messages by placeholders.

    Nothing else can run in between, since rendering does not wait for anything. User messages are counted from the
    current one backwards, as the tracker may hold the latest session only.
    """
    said = [event for event in tracker.events if isinstance(event, UserUttered)]
    texts = [event.text for event in said]
    own_text = message.get(TEXT)
    try:
        for index, event in enumerate(said):
            if event.text:
                event.text = placeholder(turn - len(said) + index)
        message.data[TEXT] = placeholder(turn)
        yield
    finally:
        for event, text in zip(said, texts, strict=True):
            event.text = text
        message.data[TEXT] = own_text
