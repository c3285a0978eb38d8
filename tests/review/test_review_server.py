"""The server of a review over real HTTP: what it answers to its page, and whom it keeps away."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from rasa_ft_ext import api
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.errors import ConfigError, WorkspaceError
from rasa_ft_ext.review.decisions import read_decisions
from rasa_ft_ext.review_server.server import TOKEN, ReviewServer
from rasa_ft_ext.workspace import MANIFEST, REPHRASINGS
from tests.builders import rephrased, rephrasing
from tests.review.review_builders import BASEL, BERN, BOOKING, CAR, HOTEL, asked, decided, decision, prepared, served

JSON = "application/json"


class Client:
    """Talks to the server as the page does; `headers` replace those that the page sends."""

    def __init__(self, address: str) -> None:
        self.port = urlsplit(address).port
        self.host = f"127.0.0.1:{self.port}"
        found = re.search(r'id="review-data">(.*?)</script>', self.get("/")[1], re.DOTALL)
        assert found is not None
        self.given = json.loads(found[1])

    def get(self, path: str, **headers: str) -> tuple[int, str, Mapping[str, str]]:
        return self.send("GET", path, None, headers)

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text, response.headers

    def state(self) -> Any:
        status, text, _ = self.get("/decisions", **{TOKEN: self.given["token"]})
        assert status == 200, text
        return json.loads(text)

    def decide(self, request: Mapping[str, Any], **headers: str) -> tuple[int, Any]:
        own = {TOKEN: self.given["token"], "Content-Type": JSON, "Origin": f"http://{self.host}", **headers}
        status, text, _ = self.send("POST", "/decisions", json.dumps(request).encode(), own)
        return status, json.loads(text)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return prepared(tmp_path / "out").root


@pytest.fixture
def client(output: Path) -> Iterator[Client]:
    with served(output) as address:
        yield Client(address)


def test_a_decision_is_in_the_file_when_the_server_answers(client: Client, output: Path) -> None:
    status, answer = client.decide(asked(1, "reject", "Basel", note=" too short "))
    (entry,) = read_decisions(output / "review.yaml").entries
    assert entry == decision(1, "reject", "Basel", commands=BASEL, note="too short")
    assert (status, answer["decided"]["entry"]) == (200, entry.model_dump(mode="json"))
    assert client.state()["decided"] == [answer["decided"]]


def test_an_edit_that_changes_nothing_is_an_acceptance(client: Client, output: Path) -> None:
    client.decide(asked(1, "edit", "Basel", commands=" SetSlot(city,Basel)", text="Basel", note="yes"))
    assert read_decisions(output / "review.yaml").entries == (
        decision(1, "accept", "Basel", commands=BASEL, note="yes"),
    )


def test_an_edit_is_kept_as_the_assistant_writes_it(client: Client, output: Path) -> None:
    client.decide(asked(1, "edit", "Basel", commands="\n SetSlot(city,Bern)\n", text="to Bern"))
    assert read_decisions(output / "review.yaml").entries == (
        decision(1, "edit", "Basel", commands=BERN, text="to Bern"),
    )


def test_a_decision_is_changed_and_taken_back(client: Client, output: Path) -> None:
    _, first = client.decide(asked(0, "accept", "a bed"))
    _, second = client.decide(asked(0, "reject", "a bed", seen=first["decided"]["entry"]))
    assert [entry.decision for entry in read_decisions(output / "review.yaml").entries] == ["reject"]
    assert client.decide(asked(0, None, "a bed", seen=second["decided"]["entry"])) == (200, {"decided": None})
    assert client.decide(asked(0, None, "a bed")) == (200, {"decided": None})
    assert client.state()["decided"] == []


@pytest.mark.parametrize(
    ("more", "field", "why"),
    [
        ({"commands": "go there"}, "commands", "`go there` is no command"),
        ({"commands": "StartFlow(fly)"}, "commands", "names the flow fly"),
        ({"commands": ""}, "commands", "There is no command"),
        ({"commands": BASEL, "text": "  "}, "text", "The text is empty"),
    ],
)
def test_an_edit_that_is_wrong_is_refused_at_its_field(
    client: Client, output: Path, more: dict[str, str], field: str, why: str
) -> None:
    status, answer = client.decide(asked(1, "edit", "Basel", **more))
    assert (status, answer["field"]) == (422, field)
    assert why in answer["error"]
    assert not (output / "review.yaml").exists()


def test_what_is_not_there_or_has_no_commands_is_refused(client: Client) -> None:
    gone = client.decide({**asked(1, "reject"), "message": "to Rome"})
    assert gone[0] == 422
    assert "no such message to learn. Reload the page." in gone[1]["error"]
    assert client.decide({**asked(1, "reject"), "turn": 3})[0] == 422, "the page shows another test than there is"


def test_a_rephrasing_with_what_the_assistant_does_not_have_cannot_be_accepted(tmp_path: Path) -> None:
    boat = rephrased(BOOKING, {0: [rephrasing("a boat", "StartFlow(book_boat)", passed=False)]})
    with served(prepared(tmp_path, found=[boat]).root) as address:
        status, answer = Client(address).decide(asked(0, "accept", "a boat"))
    assert (status, "names the flow book_boat" in answer["error"]) == (422, True)


def test_two_tabs_do_not_replace_what_the_other_decided(client: Client, output: Path) -> None:
    client.decide(asked(1, "reject", "Basel"))
    status, answer = client.decide(asked(1, "accept", "Basel"))
    assert status == 409
    assert "decided otherwise (reject)" in answer["error"]
    client.decide(asked(1, "accept", "to Zurich"))
    assert [entry.decision for entry in read_decisions(output / "review.yaml").entries] == ["reject", "accept"]


def test_what_is_edited_by_hand_meanwhile_is_kept_and_shown(client: Client, output: Path) -> None:
    decided(output, decision(0, "edit", commands=HOTEL))
    (output / "review.yaml").write_text("# mine\n" + (output / "review.yaml").read_text())
    assert client.decide(asked(1, "reject", "Basel"))[0] == 200
    assert (output / "review.yaml").read_text().startswith("# mine\n")
    assert [of["turn"] for of in client.state()["decided"]] == [1, 2]


def test_a_file_that_is_broken_meanwhile_is_left_alone(client: Client, output: Path) -> None:
    (output / "review.yaml").write_text("decisions: [")
    status, answer = client.decide(asked(1, "reject", "Basel"))
    assert status == 409
    assert "it is no YAML" in answer["error"]
    assert client.get("/decisions", **{TOKEN: client.given["token"]})[0] == 409
    assert (output / "review.yaml").read_text() == "decisions: ["


def test_a_decision_about_other_commands_is_shown_and_can_be_taken_again(client: Client, output: Path) -> None:
    stale = decision(1, "accept", "Basel", commands=CAR)
    decided(output, stale, decision(1, "accept", "gone"))
    state = client.state()
    assert [of["why"] for of in state["decided"]] == [f"its commands are now {BASEL}; decide again."]
    assert len(state["misfits"]) == 2
    assert client.decide(asked(1, "accept", "Basel", seen=state["decided"][0]["entry"]))[0] == 200
    assert [entry.commands for entry in read_decisions(output / "review.yaml").entries] == [BASEL, None]


def test_data_that_was_made_anew_or_is_gone_is_told(client: Client, output: Path) -> None:
    manifest = output / REPHRASINGS / MANIFEST
    before = manifest.read_bytes()
    for change in (lambda: manifest.write_bytes(before + b" "), lambda: shutil.rmtree(output)):
        change()
        status, answer = client.decide(asked(1, "reject", "Basel"))
        assert (status, "Start `rasa-ft review` again" in answer["error"]) == (422, True)
        assert client.get("/decisions", **{TOKEN: client.given["token"]})[0] == 409
    assert not output.exists(), "nothing is written where nothing is any more"


def test_a_file_that_cannot_be_written_is_told(client: Client, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise WorkspaceError("the disk is full")

    monkeypatch.setattr("rasa_ft_ext.review.writing.write_whole", full)
    assert client.decide(asked(1, "reject", "Basel")) == (500, {"error": "the disk is full"})


def test_many_decisions_at_once_are_all_kept(client: Client, output: Path) -> None:
    wanted = [(0, None), (0, "I need a car"), (0, "a bed"), (1, None), (1, "Basel"), (1, "to Zurich"), (3, None)]
    threads = [Thread(target=client.decide, args=(asked(turn, "reject", of),)) for turn, of in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(read_decisions(output / "review.yaml").entries) == len(wanted)


# Whom it keeps away


@pytest.mark.parametrize("path", ["/", "/decisions"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.x"]
)
def test_another_name_for_this_machine_leads_nowhere(client: Client, path: str, host: str) -> None:
    given = {"Host": host.format(port=client.port), TOKEN: client.given["token"]}
    status, text, _ = client.get(path, **given)
    assert status == 403
    assert client.given["token"] not in text
    assert client.get(path, **{**given, "Host": f"localhost:{client.port}"})[0] == 200


def test_another_page_can_neither_read_nor_change_decisions(client: Client, output: Path) -> None:
    body = asked(1, "reject", "Basel")
    for origin in ("http://evil.example", "null", f"https://{client.host}", f"http://127.0.0.1:{client.port + 1}"):
        assert client.decide(body, Origin=origin)[0] == 403
        assert client.get("/decisions", Origin=origin, **{TOKEN: client.given["token"]})[0] == 403
    for token in ("", "x", "\xe9", client.given["token"][:-1]):
        assert client.decide(body, **{TOKEN: token})[0] == 403
        assert client.get("/decisions", **{TOKEN: token})[0] == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert client.decide(body, **{"Content-Type": kind})[0] == 415
    assert not (output / "review.yaml").exists()


def test_what_is_too_large_or_no_decision_is_refused(client: Client, output: Path) -> None:
    assert client.decide({**asked(1, "reject"), "note": "x" * 70_000})[0] == 413
    for body in ({}, [], {**asked(1, "reject"), "more": 1}, {**asked(1, "reject"), "decision": "keep"}):
        status, answer = client.decide(body)  # type: ignore[arg-type]
        assert status == 400
        assert "This is no decision" in answer["error"]
    for method, path in (("GET", "/review.yaml"), ("GET", "/../review.yaml"), ("PUT", "/decisions"), ("POST", "/")):
        assert client.send(method, path, b"{}", {TOKEN: client.given["token"]})[0] in (404, 405)
    assert not (output / "review.yaml").exists()


def test_the_page_may_ask_its_own_server_only_and_stands_in_no_frame(client: Client) -> None:
    _, html, headers = client.get("/")
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert policy[1].count("connect-src 'self'") == 1
    assert "unsafe" not in policy[1].split("script-src")[1]


def test_it_is_reached_from_this_machine_only(output: Path) -> None:
    with served(output) as address:
        others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for other in others - {"127.0.0.1"}:
            with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
                socket.create_connection((other, urlsplit(address).port), timeout=2).close()


# The command


def test_nothing_to_review_and_a_broken_file_are_told_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="There is nothing to review"):
        ReviewServer(tmp_path)
    output = prepared(tmp_path / "out").root
    decided(output, decision(1, "edit", commands="go there"))
    with pytest.raises(ConfigError, match=r"line 2: .*`go there` is no command"):
        ReviewServer(output)


def ended(output: Path, project: Path, *arguments: str) -> tuple[str, str]:
    """Run the command, decide something, press Ctrl-C; what it said first and last."""
    command = [sys.executable, "-m", "rasa_ft_ext.cli.main", "review", output.name, "--project", str(project)]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", first)
    assert found is not None, first
    client = Client(found[0])
    assert client.decide(asked(1, "reject", "Basel"))[0] == 200
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    last, _ = process.communicate(timeout=10)
    assert time.monotonic() - start < 2
    assert process.returncode == 0
    return first, last


def test_ctrl_c_says_what_is_decided_and_how_to_go_on(tmp_path: Path) -> None:
    output = prepared(tmp_path / "out").root
    api.dataset(output, student_prompt=None)
    first, last = ended(output, tmp_path, "--review", "ours.yaml")
    assert f"Decisions go to {tmp_path / 'ours.yaml'}; Ctrl-C ends it." in first
    shared = f"out --project {tmp_path} --review ours.yaml"
    assert last.splitlines() == [
        f"1 decision in {tmp_path / 'ours.yaml'}: 1 rejected.",
        "Go on with:",
        f"  rasa-ft dataset {shared}",
        f"  rasa-ft split {shared}",
    ]
    assert main(last.splitlines()[2].split()[1:]) == 0
    assert BOOKING.id in (tmp_path / "ours.yaml").read_text()


def test_a_taken_port_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = prepared(tmp_path / "out").root
    with served(output) as address:
        assert main(["review", str(output), "--port", str(urlsplit(address).port)]) == 1
    assert "is taken. Choose another one with --port" in capsys.readouterr().err
