"""The answers that are kept: on disk before they are used, the first one for good, shared by processes."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.cache import FILE, Cache, CacheInfo
from rasa_ft_ext.llm.request import Request

MODEL = {"provider": "openai", "model": "gpt", "api_base": "https://llm.example/v1"}


def asked(text: str = "hello") -> Request:
    return Request(MODEL, ({"role": "user", "content": text},))


def answer(text: str = "hi") -> Completion:
    return Completion(text, Usage(prompt_tokens=7, completion_tokens=2), "gpt-2025", 1.5)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(tmp_path)
    yield cache
    cache.close()


async def keep(cache: Cache, request: Request, completion: Completion) -> Completion:
    return await cache.put(request.key, request, completion)


def keep_now(folder: Path, text: str, completion: Completion) -> Completion:
    cache = Cache(folder)
    try:
        return asyncio.run(keep(cache, asked(text), completion))
    finally:
        cache.close()


def kept(folder: Path, text: str) -> Completion | None:
    cache = Cache(folder)
    try:
        return asyncio.run(cache.get(asked(text).key))
    finally:
        cache.close()


async def test_an_answer_is_found_again_as_it_came(cache: Cache) -> None:
    assert await cache.get(asked().key) is None
    await keep(cache, asked(), answer("Zürich\n\x00 ok"))
    assert await cache.get(asked().key) == answer("Zürich\n\x00 ok")
    assert await cache.get(asked("hello!").key) is None


async def test_the_first_answer_is_the_answer(cache: Cache) -> None:
    assert await keep(cache, asked(), answer("first")) == answer("first")
    assert await keep(cache, asked(), answer("second")) == answer("first")
    assert await cache.get(asked().key) == answer("first")


async def test_another_process_sees_an_answer_at_once(cache: Cache, tmp_path: Path) -> None:
    await keep(cache, asked(), answer())
    assert await asyncio.to_thread(kept, tmp_path, "hello") == answer()


def put_many(folder: Path, own: int) -> list[str]:
    """Ask the same 100 questions as the other processes, and get other answers."""
    cache = Cache(folder)

    async def work() -> list[str]:
        done = await asyncio.gather(*(keep(cache, asked(str(n)), answer(f"{n} of {own}")) for n in range(100)))
        return [completion.text for completion in done]

    try:
        return asyncio.run(work())
    finally:
        cache.close()


def test_processes_that_ask_the_same_at_the_same_time_get_the_same_answers(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        answers = pool.starmap(put_many, [(tmp_path, own) for own in range(6)])
    assert all(mine == answers[0] for mine in answers)
    assert len(set(answers[0])) == 100


PUT_THEN_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.llm.test_cache import Cache, answer, asked, keep

async def work():
    cache = Cache(Path(sys.argv[1]))
    await asyncio.gather(*(keep(cache, asked(str(n)), answer(str(n))) for n in range(50)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(work())
"""


def test_what_was_put_survives_kill_9(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", PUT_THEN_DIE, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / f"{FILE}-wal").stat().st_size > 0
    cache = Cache(tmp_path)
    assert cache.info().answers == 50
    cache.close()


def test_what_a_killed_process_left_can_be_removed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PUT_THEN_DIE, str(tmp_path)], check=False)
    assert main(["cache", "clear", str(tmp_path), "--yes"]) == 0
    assert list(tmp_path.iterdir()) == []


async def test_an_answer_is_kept_also_where_its_caller_is_cancelled(cache: Cache, tmp_path: Path) -> None:
    task = asyncio.create_task(keep(cache, asked(), answer()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await keep(cache, asked("more"), answer()) == answer()
    cache.close()
    assert await asyncio.to_thread(kept, tmp_path, "hello") == answer()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def not_sqlite(path: Path) -> None:
    path.write_text("These are my notes of yesterday, and they are quite long: " * 100)


def other_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def of_another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncated, "is damaged"),
        (not_sqlite, "is damaged"),
        (other_version, "another version of rasa-ft-ext"),
        (of_another_program, "was not written by rasa-ft"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_to_do(
    spoil: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(40):
        keep_now(tmp_path, str(n), answer("x" * 500))
    assert callable(spoil)
    spoil(tmp_path / FILE)
    before = (tmp_path / FILE).read_bytes()

    with pytest.raises(WorkspaceError, match=words) as error:
        Cache(tmp_path)

    assert str(tmp_path / FILE) in str(error.value)
    assert (tmp_path / FILE).read_bytes() == before
    assert main(["cache", "clear", str(tmp_path), "--yes"]) == 0
    assert words in capsys.readouterr().out
    assert keep_now(tmp_path, "hello", answer()) == answer()


FILL = """
import asyncio, resource, signal, sys
from pathlib import Path
from rasa_ft_ext.errors import WorkspaceError
from tests.llm.test_cache import Cache, answer, asked, keep

async def work():
    cache = Cache(Path(sys.argv[1]))
    for n in range(1000):
        try:
            await keep(cache, asked(str(n)), answer("x" * 500))
        except WorkspaceError as error:
            print(n, error)
            assert await cache.get(asked(str(n)).key) is None
            return

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
asyncio.run(work())
"""


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    number, _, words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.partition(" ")
    assert 10 < int(number) < 1000
    assert "cannot be read or written" in words
    assert "Make room" in words
    for n in range(int(number)):
        assert kept(tmp_path, str(n)) == answer("x" * 500)
    keep_now(tmp_path, number, answer("room again"))


async def test_the_file_holds_neither_messages_nor_addresses(cache: Cache, tmp_path: Path) -> None:
    request = Request({**MODEL, "api_base": "https://secret.example"}, ({"role": "user", "content": "my secret"},))
    await keep(cache, request, answer())
    cache.close()
    assert b"secret" not in (tmp_path / FILE).read_bytes()


def test_a_forked_process_must_not_use_it(cache: Cache) -> None:
    def use() -> None:
        with pytest.raises(RuntimeError, match="another process"):
            asyncio.run(cache.get(asked().key))

    child = multiprocessing.get_context("fork").Process(target=use)
    child.start()
    child.join()
    assert child.exitcode == 0
    asyncio.run(keep(cache, asked(), answer()))


def test_info_tells_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_now(tmp_path / "output", "hello", answer())
    keep_now(tmp_path / "output", "bye", answer())

    assert main(["cache", "info", "--project", str(tmp_path), "--json", "info.json"]) == 0

    shown = capsys.readouterr().out
    assert "2 kept answers" in shown
    assert "openai" in shown
    info = CacheInfo.model_validate(json.loads((tmp_path / "info.json").read_text()))
    [model] = info.models
    assert (model.model, model.answers, model.prompt_tokens, model.completion_tokens) == ("gpt", 2, 14, 4)
    assert info.oldest is not None
    assert info.newest is not None
    assert info.oldest <= info.newest
    assert info.size == sum(path.stat().st_size for path in (tmp_path / "output").iterdir())


def test_info_of_a_folder_without_answers_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "info", "--cache", str(tmp_path)]) == 1
    assert "holds no kept answers" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_clear_asks_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_now(tmp_path, "hello", answer())
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert main(["cache", "clear", str(tmp_path)]) == 1
    assert "Give --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert main(["cache", "clear", str(tmp_path)]) == 0
    assert kept(tmp_path, "hello") == answer()
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert main(["cache", "clear", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []
    assert main(["cache", "clear", str(tmp_path)]) == 0


def test_what_another_process_is_using_is_not_removed(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "rasa_ft_ext.cli.main", "cache", "clear", str(tmp_path), "--yes"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "being used" in ended.stderr
    asyncio.run(keep(cache, asked(), answer()))
    assert cache.info().answers == 1


async def test_who_no_longer_waits_is_told_of_no_error_and_what_can_be_written_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path)
    go_on = threading.Event()

    def hold(connection: sqlite3.Connection) -> None:
        go_on.wait(10)

    def fail(connection: sqlite3.Connection) -> None:
        raise WorkspaceError("the disk is full")

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO batches VALUES ('a', 'x', 1, 0, NULL, NULL)")

    for write in (fail, insert):
        go_on.clear()
        held = asyncio.create_task(cache.database.write(hold))
        await asyncio.sleep(0)
        late = asyncio.create_task(cache.database.write(write))
        await asyncio.sleep(0)
        late.cancel()
        go_on.set()
        await asyncio.gather(held, late, return_exceptions=True)
        assert late.cancelled()
        await asyncio.to_thread(cache.database.write_now, lambda connection: None)
    gc.collect()
    assert cache.database.read("SELECT id FROM batches") == [("a",)]
    assert caplog.records == []
    cache.close()
