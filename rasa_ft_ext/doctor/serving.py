"""Checks of the server: it answers, with this model, this chat template, and commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rasa_ft_ext.commands import Command
from rasa_ft_ext.doctor.case import Case
from rasa_ft_ext.doctor.chat_template import prompt_tokens
from rasa_ft_ext.doctor.findings import Said, Unknown, ok, problem, warning
from rasa_ft_ext.doctor.server import ServerError
from rasa_ft_ext.errors import LLMError
from rasa_ft_ext.llm.base import Completion

_SERVE_AGAIN = "Serve the folder that `rasa-ft train` wrote, with `rasa-ft serve`."


def check_server(case: Case) -> Iterator[Said]:
    """Somebody answers, and takes the key."""
    server = case.server
    try:
        served = server.ask_models()
    except ServerError as error:
        yield problem(f"{error}.", _advice(error, server.base))
        return
    yield ok(f"{server.base} answers, with {len(served)} model{'s' if len(served) != 1 else ''}.")


def _advice(error: ServerError, base: str) -> str:
    if error.status in (401, 403):
        return (
            "Set HOSTED_VLLM_API_KEY, or `api_key: ${...}` in the model's configuration, to the key that the server "
            "was started with."
        )
    if error.status == 404 and not base.endswith("/v1"):
        return f"Is `api_base` right? It mostly ends with /v1: {base}/v1."
    return "Start the server (`rasa-ft serve`), or correct `api_base`."


def check_name(case: Case) -> Iterator[Said]:
    """The server has a model of the name that the assistant asks for."""
    name, served = case.self_hosted.model, case.server.models
    if name in served:
        yield ok(f"{name} is served.")
    else:
        yield problem(
            f"The assistant asks for {name}, but the server has {', '.join(served) or 'no model'}.",
            f"Set `model` to a name that is served, or serve it as {name}: `rasa-ft serve --served-model-name {name}`.",
        )


def check_length(case: Case) -> Iterator[Said]:
    """The longest prompt of the data has room, with its answer."""
    facts, room = case.manifest.facts, _room(case)
    if facts.longest_prompt is None:
        raise Unknown("the model's manifest does not say how long the prompts of the data are")
    needed = facts.longest_prompt + (facts.longest_answer or 0)
    if needed > room:
        yield problem(
            f"The server takes {room:,} tokens, but the longest prompt of the data needs {needed:,} with its answer.",
            f"Serve it with a maximum length of {needed} or more.",
        )
    else:
        yield ok(f"The server takes {room:,} tokens; the longest prompt of the data needs {needed:,} with its answer.")


def _room(case: Case) -> int:
    """The tokens of prompt and answer together that the server takes; of an adapter, what it takes for its base."""
    said = (model.get("max_model_len") for model in (case.server.find_model(), *case.server.models.values()))
    room = next((length for length in said if isinstance(length, int)), None)
    if room is None:
        raise Unknown("the server does not say how many tokens it takes")
    return room


def check_chat_template(case: Case) -> Iterator[Said]:
    """The server makes the same tokens of a prompt as the model's folder does."""
    prompt = next(iter(case.prompts))
    expected = prompt_tokens(case.merged, prompt)
    found = case.server.tokens(prompt)
    if found is None:
        yield _by_number(case)
    elif found == expected:
        yield ok(f"The server makes the same {len(found):,} tokens of a prompt as {case.merged} does.")
    else:
        place = next((at for at, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), None)
        where = f"they differ from token {place + 1} on" if place is not None else "one is the beginning of the other"
        yield _other_tokens(f"{len(found):,} and {len(expected):,}; {where}", case)


def _by_number(case: Case) -> Said:
    """The check for servers that do not tell the tokens, only their number with each answer."""
    answers = {prompt: answer for prompt, answer in case.answers.items() if isinstance(answer, Completion)}
    counted = {prompt: answer.usage.prompt_tokens for prompt, answer in answers.items() if answer.usage.prompt_tokens}
    if not counted:
        raise Unknown("the server tells neither the tokens of a prompt nor their number")
    for prompt, number in counted.items():
        expected = len(prompt_tokens(case.merged, prompt))
        if number != expected:
            return _other_tokens(f"{number:,} and {expected:,}", case)
    return ok(f"The server counts as many tokens in {len(counted)} prompts as {case.merged} does; it shows none.")


def _other_tokens(how: str, case: Case) -> Said:
    return problem(
        f"The server makes other tokens of a prompt than {case.merged} does: {how}. Its chat template, or its "
        "tokenizer, is not the model's.",
        f"{_SERVE_AGAIN} Do not give another chat template.",
    )


def check_answers(case: Case) -> Iterator[Said]:
    """The model answers prompts of the data with commands: those of the evaluation, or those of the data."""
    asked = len(case.answers)
    failed = [str(answer) for answer in case.answers.values() if isinstance(answer, LLMError)]
    if failed:
        yield problem(f"{len(failed)} of {asked} prompts got no answer: {failed[0]}", "Look at the server's log.")
        return
    texts = {prompt: answer.text for prompt, answer in case.answers.items() if isinstance(answer, Completion)}
    read = {prompt: case.read(text) for prompt, text in texts.items()}
    unreadable = [texts[prompt] for prompt, commands in read.items() if not commands and case.prompts[prompt]]
    if unreadable:
        yield problem(
            f"{len(unreadable)} of {asked} answers hold no command, such as {unreadable[0][:80]!r}.",
            f"Is this the fine-tuned model? {_SERVE_AGAIN}",
        )
        return
    yield _compared(case, {prompt: commands for prompt, commands in read.items() if commands != case.prompts[prompt]})


def _compared(case: Case, other: Mapping[str, tuple[Command, ...]]) -> Said:
    """What to say of the answers with other commands than expected."""
    asked, whose = len(case.prompts), "in the evaluation" if case.probed else "in the data"
    if not other:
        return ok(f"{asked} prompts of the data get the commands that they got {whose}.")
    prompt, commands = next(iter(other.items()))
    text = (
        f"{len(other)} of {asked} prompts get other commands than {whose}, such as {_shown(commands)} instead of "
        f"{_shown(case.prompts[prompt])}."
    )
    if case.probed and 2 * len(other) > asked:
        return problem(f"{text} This is not the model that was evaluated.", _SERVE_AGAIN)
    return warning(text, "Run `rasa-ft evaluate` to see whether the model still holds.")


def _shown(commands: Sequence[Command]) -> str:
    return ", ".join(map(str, commands)) or "none"
