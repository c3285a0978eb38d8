"""Another model in the place of the command generator's LLM: as if the assistant had been trained for it."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rasa")

from ruamel.yaml import YAML

from rasa_ft_ext import api
from rasa_ft_ext.assistant.base import Played
from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.evaluate.conversations import run_conversations
from rasa_ft_ext.evaluation import TestOutcome
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.scripted.api import ScriptedLLM
from rasa_ft_ext.llm.scripted.openai import Refusal
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.pipeline import Place
from rasa_ft_ext.rasa_pro.suite import SuiteTest
from rasa_ft_ext.workspace import Workspace
from tests.rasa_pro.projects import REPOSITORY, Live, Project, train

RECORDED = REPOSITORY / "assistant_example" / "annotations"

# Blank lines at both ends, line feeds of Windows, and a letter beyond ASCII are all that a file may have.
TEMPLATE = """

Commands (set slot, start flow ...) for the last message, which may say Zürich:\r
{% for flow in available_flows -%}
{{ flow.name }}{% for slot in flow.slots %} {{ slot.name }}{% endfor %}
{% endfor %}
{%- if current_flow %}in {{ current_flow }}: {{ current_slot }}{% for slot in flow_slots %}
 {{ slot.name }} = {{ slot.value | to_json_escaped_string }}{% endfor %}{% endif %}
{{ current_conversation }}{% if current_datetime is defined %}
{{ current_datetime }}{% endif %}


"""
ONE_MESSAGE = """
test_cases:
  - test_case: a car
    steps:
      - user: I'd like to book a car
      - bot: in which city?
"""
SWAPPED = {
    "start flow search_rental_car": "start flow search_hotel",
    "start flow search_hotel": "start flow search_rental_car",
}


class Student(LLM):
    """Answers from the example's script, and keeps the prompts; `says` makes another answer of an answer."""

    def __init__(self, says: Callable[[str], str] = str) -> None:
        self.prompts: list[str] = []
        self._script = ScriptedLLM(Script.load(REPOSITORY / "assistant_example" / "answers.yml"), syntax="v2")
        self._says = says

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        self.prompts.append(prompt)
        await asyncio.sleep(0)
        try:
            answer = self._script.answer(prompt)
        except Refusal as refusal:  # by HTTP, a request that is refused
            raise LLMError(str(refusal)) from refusal
        return Completion(self._says(answer), Usage(), "student")


def swapped(answer: str) -> str:
    return "\n".join(SWAPPED.get(line, line) for line in answer.splitlines())


class Connected:
    """What an assistant sends that was trained with another model and template, as `rasa-ft connect` leaves it."""

    def __init__(self, requests: list[dict[str, Any]], played: list[Played]) -> None:
        self.requests = requests
        self.played = played

    @property
    def prompts(self) -> list[str]:
        return [request["body"]["messages"][0]["content"] for request in self.requests]


@pytest.fixture(scope="module")
def connected(example: Project) -> Connected:
    project = example.path
    with open(project / "prompts" / "student.jinja2", "w", encoding="utf-8", newline="") as file:
        file.write(TEMPLATE)
    config = _yaml(project / "config.yml")
    config["pipeline"][0].update(llm={"model_group": "student"}, prompt_template="prompts/student.jinja2")
    _dump(config, project / "config_connected.yml")
    with recording_server() as (address, requests):
        endpoints = _yaml(project / "endpoints.yml")
        model = {"provider": "self-hosted", "model": "served-name", "api_base": address}
        model |= {"temperature": 0.0, "max_tokens": 99, "timeout": 20}
        endpoints["model_groups"].append({"id": "student", "models": [model]})
        _dump(endpoints, project / "endpoints_connected.yml")
        trained = train(example, "config_connected.yml", "endpoints_connected.yml", "connected")
        place = Path(shutil.move(trained, project / "connected.tar.gz"))
        with example.open(model=place.name, endpoints="endpoints_connected.yml", stubbed=True) as live:
            played = [live.run(live.assistant.play(test)) for test in some_tests(live)]
        return Connected(list(requests), played)


@pytest.fixture(scope="module")
def live(example: Project, connected: Connected) -> Iterator[Live]:
    """The example as it is; one project is open at a time, so that the other one has been."""
    with example.open(stubbed=True, gateway=Gateway(policy=Policy(attempts=2, first_wait=0.01))) as live:
        yield live


@pytest.fixture
def one_message(live: Live, tmp_path: Path) -> SuiteTest:
    (tmp_path / "car.yml").write_text(ONE_MESSAGE, encoding="utf-8")
    (test,) = live.assistant.read_suite(str(tmp_path / "car.yml")).tests
    return test


def some_tests(live: Live) -> list[SuiteTest]:
    files = ("cars/corrections.yml", "cars/availability.yml", "repair/odd_messages.yml", "assertions/bookings.yml")
    return [test for test in live.suite().tests if test.file in files]


def source(template: str) -> str:
    """A template as it is read from a file."""
    return template.replace("\r\n", "\n")


def test_prompts_are_those_of_an_assistant_trained_with_the_template(live: Live, connected: Connected) -> None:
    student = Student()

    played = [live.run(live.assistant.play(test, llm=student, template=source(TEMPLATE))) for test in some_tests(live)]

    assert len(student.prompts) > 20
    assert student.prompts == connected.prompts
    assert [entry.turns for entry in played] == [entry.turns for entry in connected.played]
    assert not any(entry.reason for entry in played)


def test_what_is_sent_is_what_the_assistant_will_send_once_it_is_connected(live: Live, connected: Connected) -> None:
    test = some_tests(live)[0]
    with recording_server() as (address, requests):
        config = {"provider": "self-hosted", "model": "served-name", "api_base": address}
        model = LiteLLM(resolve({**config, "temperature": 0.0, "max_tokens": 99}, {}, "the model"))
        live.run(live.assistant.play(test, llm=model, template=source(TEMPLATE)))

    assert requests
    as_rasa = connected.requests[: len(requests)]
    assert [request["body"] for request in requests] == [request["body"] for request in as_rasa]
    assert {request["path"] for request in requests + as_rasa} == {"/v1/chat/completions"}
    body = requests[0]["body"]
    assert body == {
        "model": "served-name",
        "messages": [{"role": "user", "content": connected.prompts[0]}],
        "temperature": 0.0,
        "max_tokens": 99,
    }


def test_the_same_answers_pass_everything_on_both_sides(live: Live, tmp_path: Path) -> None:
    """The student has its own template, and says what the teacher says."""
    files = ("cars/availability.yml", "cars/booking.yml", "flights/changes.yml", "partners/availability.yml")
    recorded = tmp_path / "annotations"
    for file in ("assistant.json", *(f"{name}.json" for name in files)):
        recorded.joinpath(file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RECORDED / file, recorded / file)
    api.prepare_data(annotations=recorded, project=tmp_path, num_rephrases=0, train_frac=0.7)
    suites = Place(tmp_path, None).sides(Workspace(tmp_path / "output"))
    assert sum(len(suite.tests) for suite in suites.values()) == sum(test.file in files for test in live.suite().tests)
    tests = {side: suite.tests for side, suite in suites.items()}
    assert all(tests.values())
    assert any(test.stubs for side in tests.values() for test in side)

    outcomes = live.run(run_conversations(live.assistant, tests, llm=Student(), template=TEMPLATE))

    ids = [(side, test.id) for side in tests for test in tests[side]]
    assert [(outcome.side, outcome.id) for outcome in outcomes] == ids
    assert [outcome for outcome in outcomes if not outcome.passed] == []
    assert sum(len(outcome.turns) for outcome in outcomes) > 40


def test_swapped_commands_fail_tests_and_their_turns_are_told(live: Live) -> None:
    tests = [test for test in live.suite().tests if test.file == "cars/booking.yml"]

    outcomes = run(live, tests, llm=Student(swapped), template=TEMPLATE)

    failed = [outcome for outcome in outcomes if not outcome.passed]
    assert len(failed) > len(tests) / 2
    assert all(outcome.reason and outcome.turns for outcome in failed)
    first = failed[0].turns[0]
    assert first.message
    assert first.answer is not None
    assert first.answer.startswith("start flow search_hotel")
    assert first.commands[0].args == ("search_hotel",)
    assert all(len(outcome.seconds) == sum(turn.answer is not None for turn in outcome.turns) for outcome in outcomes)


def test_outcomes_do_not_depend_on_order_parallelism_or_who_was_asked_before(live: Live) -> None:
    tests = some_tests(live)[::4]
    scripted = live.project.llm
    scripted.llm.reset()

    first = without_times(run(live, tests, llm=Student(swapped), template=TEMPLATE, concurrency=1))
    assert scripted.stats()["calls"] == 0  # the teacher was not asked
    teacher = without_times(run(live, tests, concurrency=8))
    student = without_times(run(live, tests[::-1], llm=Student(swapped), template=TEMPLATE, concurrency=8))
    teacher_again = without_times(run(live, tests[::-1], concurrency=1))

    assert sorted(student, key=by_id) == sorted(first, key=by_id)
    assert sorted(teacher_again, key=by_id) == sorted(teacher, key=by_id)
    assert all(outcome.passed for outcome in teacher)
    assert not all(outcome.passed for outcome in student)
    assert scripted.requests
    assert all(prompt.startswith("You read a chat") for prompt in scripted.requests)


def test_repeats_are_runs_of_their_own(live: Live, one_message: SuiteTest) -> None:
    """A model whose answers vary: it is wrong each second time."""
    turn = iter(range(100))
    student = Student(lambda answer: answer if next(turn) % 2 else "offtopic reply")

    outcomes = run(live, [one_message], llm=student, repeats=4, concurrency=1)

    assert [outcome.repeat for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.passed for outcome in outcomes] == [False, True, False, True]


def test_a_test_that_runs_again_alone_gets_no_second_answer(live: Live, one_message: SuiteTest) -> None:
    """The clock is in the prompt: it is put back to the time of the first run."""
    says = iter(["offtopic reply"])
    student = Student(lambda answer: next(says, answer))
    live.assistant._generator.include_date_time = True
    try:
        outcomes = run(live, [one_message] * 2, llm=student, template=TEMPLATE, concurrency=2)
    finally:
        live.assistant._generator.include_date_time = False

    assert [outcome.passed for outcome in outcomes] == [False, True]
    assert len(student.prompts) == 2
    assert len(set(student.prompts)) == 2


def test_an_answer_without_text_is_one_that_the_assistant_cannot_handle(live: Live, one_message: SuiteTest) -> None:
    def nothing(answer: str) -> str:
        raise LLMAnswerError("an answer without text")

    (outcome,) = run(live, [one_message], llm=Student(nothing))

    assert not outcome.passed
    assert str(outcome.reason).startswith("expected bot: in which city?, got bot: I did not get that")
    assert outcome.turns[0].answer == ""


def test_a_call_that_fails_fails_its_test_and_no_other(live: Live) -> None:
    tests = some_tests(live)[:4]
    texts = iter(range(1000))

    def fails_first(answer: str) -> str:
        if next(texts) == 0:
            raise LLMError("The prompt is too long for the model.")
        return answer

    outcomes = run(live, tests, llm=Student(fails_first), concurrency=1)

    assert [outcome.passed for outcome in outcomes] == [False, True, True, True]
    assert outcomes[0].reason == "The prompt is too long for the model."


def test_a_model_that_goes_away_ends_it_all_at_once(live: Live) -> None:
    texts = iter(range(1000))

    def goes_away(answer: str) -> str:
        if next(texts) > 4:
            raise LLMUnavailableError("Nobody answers any more.")
        return answer

    student = Student(goes_away)
    with pytest.raises(LLMUnavailableError, match="Nobody answers any more"):
        run(live, some_tests(live), llm=student, concurrency=4)
    assert len(student.prompts) < 15


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_teacher_that_goes_away_is_no_worse_teacher(
    live: Live, monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    tests = some_tests(live)[:3]
    assert run(live, tests[:1])[0].passed
    (model,) = live.assistant._generator.config["llm"]["models"]
    monkeypatch.setitem(model, "api_base", "http://127.0.0.1:9/v1")

    with pytest.raises(LLMUnavailableError, match="Nobody answers"):
        run(live, tests, concurrency=concurrency)


def test_a_run_that_is_cancelled_asks_no_more(live: Live) -> None:
    """Rasa's test runner would take the cancellation for a timeout, and go on with the next message."""
    asked = asyncio.Event()

    class Slow(Student):
        async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
            self.prompts.append(prompt)
            asked.set()
            await asyncio.sleep(3600)
            raise AssertionError("never")

    slow = Slow()

    async def cancelled() -> bool:
        test = next(test for test in some_tests(live) if len(test.raw["steps"]) > 4)
        task = asyncio.create_task(live.assistant.play(test, llm=slow))
        await asyncio.wait_for(asked.wait(), 20)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=20)
        return bool(done) and task.cancelled()

    assert live.run(cancelled())
    assert len(slow.prompts) == 1


def run(live: Live, tests: Sequence[SuiteTest], **options: Any) -> tuple[TestOutcome, ...]:
    return live.run(run_conversations(live.assistant, {"validation": tests}, **options))


def without_times(outcomes: Sequence[TestOutcome]) -> list[TestOutcome]:
    return [outcome.model_copy(update={"seconds": ()}) for outcome in outcomes]


def by_id(outcome: TestOutcome) -> str:
    return outcome.id


@contextmanager
def recording_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers from the example's script and keeps what it was sent."""
    requests: list[dict[str, Any]] = []
    script = ScriptedLLM(Script.load(REPOSITORY / "assistant_example" / "answers.yml"), syntax="v2")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
            message = {"role": "assistant", "content": script.answer(body["messages"][0]["content"])}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _yaml(path: Path) -> Any:
    return YAML().load(path.read_text(encoding="utf-8"))


def _dump(content: Any, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
