"""Exports: to a folder, to a store in memory, to a server that speaks S3, to one that speaks the Hub's API.

What is interrupted goes on, what is damaged is noticed, and nothing of strangers is touched. The tests with S3 need
s3fs and moto's server and are skipped without; the Hub's server stands below, the client is the real one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext import export as module
from rasa_ft_ext.cli.main import main
from rasa_ft_ext.errors import ConfigError, ExportError, MissingExtraError
from rasa_ft_ext.export import CHECKSUMS, MARKER, export
from rasa_ft_ext.progress import Progress

FILES = {
    "config.json": b"{}",
    "empty.txt": b"",
    "model-00001-of-00002.safetensors": bytes(range(256)) * 40,
    "model-00002-of-00002.safetensors": b"w" * 9_000,
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
    "sub/a file, ü.json": b"[]",
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4_096)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "model", FILES)


@pytest.fixture
def memory() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield "memory://bucket/models/cars"
    system.store.clear()


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def trained(folder: Path) -> Path:
    """What `train` leaves: parts, files beside them, checkpoints."""
    for part, config in (("merged", "config.json"), ("adapter", "adapter_config.json")):
        written(folder / part, {config: b"{}", "model.safetensors": part.encode()})
    return written(folder, {"README.md": b"card", "checkpoints/checkpoint-1/model.safetensors": b"old"})


def held(target: Path | str) -> dict[str, bytes]:
    """All files of a folder or of a store in memory."""
    if isinstance(target, Path):
        return {p.relative_to(target).as_posix(): p.read_bytes() for p in sorted(target.rglob("*")) if p.is_file()}
    import fsspec

    root = "/" + target.partition("://")[2] + "/"
    store = fsspec.filesystem("memory").store
    return {name.removeprefix(root): file.getvalue() for name, file in store.items() if name.startswith(root)}


def put(target: Path | str, name: str, data: bytes) -> None:
    if isinstance(target, Path):
        written(target, {name: data})
    else:
        import fsspec

        fsspec.filesystem("memory").pipe_file(f"{target}/{name}", data)


def checksums(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())).encode()


def complete(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, CHECKSUMS: checksums(files)}


class Cut(Progress):
    """Raises at the n-th step of what it is told to cut off."""

    def __init__(self, what: str, steps: int, error: BaseException) -> None:
        self._what, self._left, self._error, self._now = what, steps, error, ""

    def start(self, what: str, total: int) -> None:
        self._now = what

    def step(self, parts: int = 1) -> None:
        if self._now == self._what:
            self._left -= 1
            if not self._left:
                raise self._error


class Told(Progress):
    """Remembers what was done to how many bytes."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.steps: dict[str, int] = {}
        self._now = ""

    def start(self, what: str, total: int) -> None:
        self._now = what
        self.totals[what] = total
        self.steps[what] = 0

    def step(self, parts: int = 1) -> None:
        self.steps[self._now] += parts


@pytest.fixture(params=["folder", "file", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path, memory: str) -> Path | str:
    """Where to look; `address` says how the command is told."""
    return memory if request.param == "memory" else tmp_path / "exports" / "cars"


@pytest.fixture
def address(request: pytest.FixtureRequest, target: Path | str) -> str:
    return f"file://{target}" if request.node.callspec.params["target"] == "file" else str(target)


# Any target


def test_every_file_arrives_and_the_checksums_say_so(model: Path, target: Path | str, address: str) -> None:
    told = Told()
    size = sum(map(len, FILES.values()))

    summary = export(model, address, progress=told)

    assert held(target) == complete(FILES)
    assert (summary.files, summary.bytes, summary.copied, summary.already_there) == (6, size, 6, 0)
    assert told.steps == told.totals == {"Reading the model": size, "Copying": size, "Checking what arrived": size}


def test_a_second_export_copies_nothing(model: Path, target: Path | str, address: str) -> None:
    export(model, address)
    told = Told()

    summary = export(model, address, progress=told)

    assert (summary.copied, summary.already_there) == (0, 6)
    assert "Copying" not in told.totals
    assert held(target) == complete(FILES)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("cut off")], ids=["ctrl-c", "network"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_an_interrupted_export_goes_on(
    model: Path, target: Path | str, address: str, steps: int, error: BaseException
) -> None:
    with pytest.raises((KeyboardInterrupt, ExportError)):
        export(model, address, progress=Cut("Copying", steps, error))
    left = held(target)
    assert CHECKSUMS not in left
    assert left[MARKER] == checksums(FILES)
    whole = {name for name, data in left.items() if FILES.get(name) == data}
    if isinstance(target, Path):  # what is in memory shows while it is written
        assert set(left) == whole | {MARKER}
        assert len(whole) == {1: 0, 2: 2, 4: 2}[steps]

    summary = export(model, address)

    assert held(target) == complete(FILES)
    assert (summary.copied, summary.already_there) == (6 - len(whole), len(whole))


def test_what_an_interrupted_export_left_is_not_trusted(model: Path, target: Path | str, address: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        export(model, address, progress=Cut("Checking what arrived", 1, KeyboardInterrupt()))
    put(target, "config.json", b"[]")
    put(target, "model-00002-of-00002.safetensors", b"w" * 8_999)

    assert export(model, address).copied == 2
    assert held(target) == complete(FILES)


@pytest.mark.parametrize("data", [b"w" * 8_999 + b"x", b"w"], ids=["same size", "shorter"])
def test_a_damaged_file_is_copied_again(model: Path, target: Path | str, address: str, data: bytes) -> None:
    export(model, address)
    put(target, "model-00002-of-00002.safetensors", data)

    assert export(model, address).copied == 1
    assert held(target) == complete(FILES)


@pytest.mark.parametrize("kind", [module._Folder, module._Store])
def test_damage_on_the_way_is_noticed(
    model: Path, tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    target: Path | str = tmp_path / "cars" if kind is module._Folder else memory
    put_ = kind._put

    def damaging(self: Any, name: str, blocks: Any) -> None:
        put_(self, name, [b"X" + block[1:] if name == "config.json" else block for block in blocks])

    monkeypatch.setattr(kind, "_put", damaging)

    with pytest.raises(ExportError, match=r"what arrived is not what was sent: config\.json\."):
        export(model, target)
    assert CHECKSUMS not in held(target)
    monkeypatch.undo()
    assert export(model, target).copied == 1


@pytest.mark.parametrize("name", ["notes.txt", "config.json"])
def test_a_strangers_files_are_refused(model: Path, target: Path | str, address: str, name: str) -> None:
    put(target, name, b"mine")

    with pytest.raises(ExportError, match=rf"left there: {re.escape(name)}\. .*--force"):
        export(model, address)
    assert held(target) == {name: b"mine"}


def test_force_replaces_an_earlier_export_and_leaves_a_strangers_files(
    model: Path, tmp_path: Path, target: Path | str, address: str
) -> None:
    export(
        written(tmp_path / "other", {"config.json": b"{1}", "model.safetensors": b"1", "sub/x\ny\\.json": b""}), address
    )
    put(target, "notes.txt", b"mine")
    with pytest.raises(ExportError, match="--force"):
        export(model, address)

    summary = export(model, address, force=True)

    assert held(target) == {**complete(FILES), "notes.txt": b"mine"}
    assert summary.notes == (f"{summary.target} also holds files that are not of this model; they stay: notes.txt.",)
    assert export(model, address).copied == 0


def test_the_checksums_of_an_earlier_export_do_not_outlive_its_files(
    model: Path, tmp_path: Path, target: Path | str, address: str
) -> None:
    export(written(tmp_path / "other", {"config.json": b"{1}", "model.safetensors": b"1"}), address)

    with pytest.raises(KeyboardInterrupt):
        export(model, address, force=True, progress=Cut("Copying", 1, KeyboardInterrupt()))

    assert not {CHECKSUMS, "model.safetensors"} & set(held(target))
    export(model, address)
    assert held(target) == complete(FILES)


def test_the_same_files_copied_by_hand_are_taken(model: Path, target: Path | str, address: str) -> None:
    for name, data in FILES.items():
        put(target, name, data)

    assert export(model, address).already_there == 6
    assert held(target) == complete(FILES)


def test_a_model_that_changes_meanwhile_is_refused(model: Path, target: Path | str, address: str) -> None:
    class Changing(Progress):
        def start(self, what: str, total: int) -> None:
            if what == "Copying":
                (model / "model-00002-of-00002.safetensors").write_bytes(b"v" * 9_000)

    with pytest.raises(ExportError, match="was changed while it was exported"):
        export(model, address, progress=Changing())
    assert CHECKSUMS not in held(target)


# A folder


def test_sha256sum_agrees(model: Path, tmp_path: Path) -> None:
    written(model, {"sub/odd\nname\\.json": b"odd"})
    export(model, tmp_path / "cars")

    done = subprocess.run(["sha256sum", "--check", "--strict", CHECKSUMS], cwd=tmp_path / "cars", capture_output=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b": OK") == 7


def test_a_killed_export_goes_on(model: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from rasa_ft_ext import export as module, Progress\n"
        "class Killed(Progress):\n"
        "    def start(self, what, total): self.now, self.n = what, 0\n"
        "    def step(self, parts=1):\n"
        "        self.n += 1\n"
        "        if (self.now, self.n) == ('Copying', 3): os.kill(os.getpid(), signal.SIGKILL)\n"
        "module = sys.modules['rasa_ft_ext.export']\n"
        "module.BLOCK = 4096\n"
        "module.export(*sys.argv[1:], progress=Killed())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model), str(tmp_path / "cars")], cwd=Path(__file__).parents[1]
    )
    assert done.returncode == -signal.SIGKILL
    assert set(held(tmp_path / "cars")) == {"config.json", "empty.txt", MARKER, f"{MARKER}.part"}

    assert export(model, tmp_path / "cars").already_there == 2
    assert held(tmp_path / "cars") == complete(FILES)


@pytest.mark.parametrize("where", ["model", "model/exports", "."])
def test_model_and_target_must_lie_apart(model: Path, tmp_path: Path, where: str) -> None:
    with pytest.raises(ConfigError, match="lie in each other"):
        export(model, tmp_path / where, force=True)


def test_a_file_is_no_target(model: Path, tmp_path: Path) -> None:
    written(tmp_path, {"file": b""})
    with pytest.raises(ConfigError, match="in, a file"):
        export(model, tmp_path / "file" / "cars")


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(model: Path) -> None:
    with pytest.raises(ExportError, match=r"^/proc/cars: "):
        export(model, "/proc/cars")


def test_a_link_at_the_target_is_replaced_not_followed(model: Path, tmp_path: Path) -> None:
    written(tmp_path, {"mine": b"{}"})
    (tmp_path / "cars").mkdir()
    (tmp_path / "cars" / "config.json").symlink_to(tmp_path / "mine")

    export(model, tmp_path / "cars", force=True)

    assert not (tmp_path / "cars" / "config.json").is_symlink()
    assert (tmp_path / "mine").read_bytes() == b"{}"


# What is exported


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (None, {"config.json", "model.safetensors"}),
        ("adapter", {"adapter_config.json", "model.safetensors"}),
        (
            "all",
            {
                "README.md",
                "merged/config.json",
                "merged/model.safetensors",
                "adapter/adapter_config.json",
                "adapter/model.safetensors",
            },
        ),
    ],
)
def test_parts_of_what_train_wrote(tmp_path: Path, part: str | None, names: set[str]) -> None:
    export(trained(tmp_path / "finetuned_model"), tmp_path / "cars", part=part)

    assert set(held(tmp_path / "cars")) == names | {CHECKSUMS}
    assert held(tmp_path / "cars").get("model.safetensors", b"") == {None: b"merged", "adapter": b"adapter"}.get(
        part, b""
    )


def test_an_export_can_be_exported_and_hidden_files_stay_at_home(model: Path, tmp_path: Path) -> None:
    export(model, tmp_path / "one")
    written(tmp_path / "one", {".cache/x": b"x"})

    summary = export(tmp_path / "one", tmp_path / "two")

    assert held(tmp_path / "two") == complete(FILES)
    assert summary.notes == ("Hidden files are left out: .cache/x.",)


def test_a_link_inside_the_model_is_copied_as_a_file(model: Path, tmp_path: Path) -> None:
    (model / "link.json").symlink_to("config.json")
    export(model, tmp_path / "cars")
    assert (tmp_path / "cars" / "link.json").read_bytes() == b"{}"
    assert not (tmp_path / "cars" / "link.json").is_symlink()


def test_what_cannot_be_exported_is_told_at_once(model: Path, tmp_path: Path) -> None:
    written(tmp_path, {"secret": b"", "elsewhere/x": b""})
    (model / "out.json").symlink_to(tmp_path / "secret")
    (model / "folder").symlink_to(tmp_path / "elsewhere")
    (model / "nowhere").symlink_to("missing")
    os.mkfifo(model / "pipe")
    (model / os.fsdecode(b"\xff.json")).touch()
    (model / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(ConfigError) as caught:
        export(model, tmp_path / "cars")

    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    for wanted in ("out.json is a link that leads out", "folder is no file", "nowhere is no file", "pipe is no file"):
        assert wanted in text
    assert "is not UTF-8" in text
    assert "names model-00002-of-00002.safetensors, which is not there" in text
    assert not (tmp_path / "cars").exists()


@pytest.mark.parametrize(
    ("files", "part", "message"),
    [
        ({}, None, "is no folder"),
        ({"notes.txt": b""}, None, "no model in it"),
        ({"config.json": b"{}", "training_args.bin": b""}, None, "has no weights"),
        ({"config.json": b"{}", "a.safetensors": b"", "model.safetensors.index.json": b"[]"}, None, "cannot be read"),
        ({"config.json": b"{}", "a.safetensors": b""}, "merged", "leave out --part"),
        ({"adapter/adapter_config.json": b"{}", "adapter/a.safetensors": b""}, None, "no merged.*--part: adapter"),
        ({"config.json": b"{}", "a.safetensors": b""}, "4bit", "part is '4bit'"),
    ],
)
def test_models_that_are_none(tmp_path: Path, files: dict[str, bytes], part: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export(written(tmp_path / "model", files), tmp_path / "cars", part=part)


# Addresses and stores


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("hf://owner", "hf://owner/name"),
        ("hf://owner/name/sub", "hf://owner/name"),
        ("s3:bucket/cars", "write s3://bucket/cars"),
        ("memory://", "names no bucket"),
    ],
)
def test_addresses_that_cannot_work(model: Path, target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export(model, target)


def test_public_is_for_the_hub_only(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--public is for hf:// only"):
        export(model, tmp_path / "cars", public=True)


def test_an_unknown_kind_of_store_is_told(model: Path) -> None:
    with pytest.raises(ExportError, match="Protocol not known: nowhere"):
        export(model, "nowhere://bucket/cars")


@pytest.mark.parametrize(("url", "package"), [("s3://bucket/cars", "s3fs"), ("gs://bucket/cars", "gcsfs")])
def test_a_backend_that_is_not_installed_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch, url: str, package: str
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.partition(":")[0], raising=False)
    with pytest.raises(MissingExtraError, match=rf"{package}.*rasa-ft-ext\[export\]"):
        export(model, url)


def test_a_password_in_an_address_is_not_shown(model: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    place = module._Store("ftp://me:secret@host/cars", fsspec.filesystem("memory"), "/cars")
    assert place.name == "ftp://***@host/cars"


def test_a_bug_keeps_its_type(model: Path, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Store, "files", lambda self: {}["bug"])
    with pytest.raises(KeyError):
        export(model, memory)


def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(model), str(tmp_path / "cars")]) == 0
    shown = capsys.readouterr().out
    assert "Exported model" in shown
    assert f"Results: {tmp_path / 'cars'}" in shown
    assert main(["export", str(model), str(tmp_path / "cars"), "--part", "all"]) == 1
    assert "leave out --part" in capsys.readouterr().err


# S3


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    pytest.importorskip("s3fs", minversion="2024.9")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a fresh bucket `models`."""
    import boto3
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CA_BUNDLE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "BLOCK", 5 * 2**20)  # the smallest part that S3 takes
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    yield client
    for entry in client.list_objects_v2(Bucket="models").get("Contents", []):
        client.delete_object(Bucket="models", Key=entry["Key"])
    client.delete_bucket(Bucket="models")


def in_s3(client: Any) -> dict[str, bytes]:
    found = client.list_objects_v2(Bucket="models").get("Contents", [])
    return {
        entry["Key"].removeprefix("cars/"): client.get_object(Bucket="models", Key=entry["Key"])["Body"].read()
        for entry in found
    }


LARGE = {**FILES, "model-00002-of-00002.safetensors": bytes(range(251)) * 60_000}  # three parts


def test_s3(model: Path, s3: Any) -> None:
    written(model, LARGE)
    assert export(model, "s3://models/cars").copied == 6
    assert in_s3(s3) == complete(LARGE)
    s3.put_object(Bucket="models", Key="cars/config.json", Body=b"[]")
    assert export(model, "s3://models/cars").copied == 1
    assert in_s3(s3) == complete(LARGE)


def test_an_upload_to_s3_that_is_interrupted_leaves_no_part_of_a_file(model: Path, s3: Any) -> None:
    written(model, LARGE)
    with pytest.raises(KeyboardInterrupt):
        export(model, "s3://models/cars", progress=Cut("Copying", 4, KeyboardInterrupt()))
    left = in_s3(s3)
    assert {name for name in left if name in LARGE} == {"config.json", "empty.txt", "model-00001-of-00002.safetensors"}
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="models")

    assert export(model, "s3://models/cars").already_there == 3
    assert in_s3(s3) == complete(LARGE)


def test_a_strangers_objects_in_s3_are_refused_and_neighbours_are_not_seen(model: Path, s3: Any) -> None:
    s3.put_object(Bucket="models", Key="cars-2/config.json", Body=b"other")
    assert export(model, "s3://models/cars").copied == 6
    s3.put_object(Bucket="models", Key="planes/config.json", Body=b"other")
    with pytest.raises(ExportError, match="--force"):
        export(model, "s3://models/planes")


def test_no_such_bucket(model: Path, s3: Any) -> None:
    with pytest.raises(ExportError, match="no such bucket"):
        export(model, "s3://missing/cars")
    assert [entry["Name"] for entry in s3.list_buckets()["Buckets"]] == ["models"]


def test_no_credentials(model: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ExportError, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
        export(model, "s3://models/cars")


# The Hub


def git_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Hub:
    """As much of the Hub's API as a client needs to make a repository, upload, commit and list.

    `*.safetensors` are large files. `uploads` counts them, `lose` is a file that the next commit damages.
    """

    def __init__(self) -> None:
        self.branches: dict[str, dict[str, bytes]] = {}
        self.private = True
        self.large: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.commits: list[str] = []
        self.tokens: set[str | None] = set()
        self.fail_upload = 0
        self.lose = ""
        self.url = ""

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> tuple[int, Any, dict[str, str]]:
        path = urllib.parse.unquote(path.partition("?")[0])
        if match := re.fullmatch(r"/upload/(\w+)", path):
            if self.fail_upload and len(self.uploads) + 1 == self.fail_upload:
                return 403, {"error": "cut off"}, {}
            assert hashlib.sha256(body).hexdigest() == match[1]
            self.uploads.append(match[1])
            self.large[match[1]] = body
            return 200, {}, {}
        self.tokens.add(token)
        if token != "Bearer hf_good":
            return 401, {"error": "Invalid credentials"}, {"X-Error-Message": "Invalid credentials"}
        sent = json.loads(body) if body and "/commit/" not in path else {}
        if path == "/api/repos/create":
            if self.branches:
                return 409, {"error": "exists", "url": f"{self.url}/me/cars"}, {}
            self.private = sent.get("visibility", "private" if sent.get("private") else "public") == "private"
            self.branches["main"] = {".gitattributes": b"*.safetensors filter=lfs"}
            return 200, {"url": f"{self.url}/me/cars"}, {}
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}, {}
        if path == "/me/cars.git/info/lfs/objects/batch":
            return 200, {"objects": [self._instruction(entry) for entry in sent["objects"]]}, {}
        if match := re.fullmatch(r"/me/cars/resolve/(.+?)/([^/]+)", path):
            data = self.branches[match[1]][match[2]]
            return 200, data, {"ETag": f'"{git_name(data)}"', "X-Repo-Commit": "0" * 40}
        if match := re.fullmatch(r"/api/models/me/cars(?:/(\w+)/(.+))?", path):
            return self._model(method, match[1], match[2] or "main", sent, body)
        return 404, {"error": f"{method} {path}"}, {}

    def _model(
        self, method: str, what: str | None, revision: str, sent: Any, body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        if what == "branch":
            self.branches[revision] = dict(self.branches["main"])
            return 200, {}, {}
        if revision not in self.branches:
            return 404, {"error": "Revision Not Found"}, {"X-Error-Code": "RevisionNotFound"}
        files = self.branches[revision]
        if what in (None, "revision"):
            return 200, {"id": "me/cars", "private": self.private, "sha": "0" * 40, "siblings": [], "tags": []}, {}
        if what == "preupload":
            modes = {
                entry["path"]: "lfs" if entry["path"].endswith(".safetensors") else "regular" for entry in sent["files"]
            }
            return 200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]}, {}
        if what == "tree":
            return 200, [entry for name in sorted(files) for entry in [self._entry(name, files[name])]], {}
        assert what == "commit"
        for line in body.splitlines():
            self._apply(files, json.loads(line))
        return 200, {"commitUrl": f"{self.url}/me/cars/commit/0", "commitOid": "0" * 40}, {}

    def _instruction(self, entry: dict[str, Any]) -> dict[str, Any]:
        known = {"oid": entry["oid"], "size": entry["size"]}
        upload = {"upload": {"href": f"{self.url}/upload/{entry['oid']}", "header": {}}}
        return known if entry["oid"] in self.large else {**known, "actions": upload}

    def _apply(self, files: dict[str, bytes], line: dict[str, Any]) -> None:
        value = line["value"]
        if line["key"] == "header":
            self.commits.append(value["summary"])
        elif line["key"] == "deletedFile":
            del files[value["path"]]
        else:
            data = self.large[value["oid"]] if line["key"] == "lfsFile" else base64.b64decode(value["content"])
            files[value["path"]] = data[:-1] + b"X" if value["path"] == self.lose else data

    @staticmethod
    def _entry(name: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git_name(data)}
        if name.endswith(".safetensors"):
            sha256 = hashlib.sha256(data).hexdigest()
            entry |= {"oid": "0" * 40, "lfs": {"oid": sha256, "size": len(data), "pointerSize": 130}}
        return entry


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # other tests set it; this hub is on this machine
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            status, answer, headers = hub.answer(self.command, self.path, body, self.headers.get("Authorization"))
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                **headers,
                "Content-Length": str(len(data)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_HEAD = _handle

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub
    server.shutdown()
    server.server_close()


ATTRIBUTES = {".gitattributes": b"*.safetensors filter=lfs"}


@pytest.mark.parametrize("branch", ["main", "trials/one"])
def test_the_hub(model: Path, hub: Hub, branch: str) -> None:
    summary = export(model, "hf://me/cars" if branch == "main" else f"hf://me/cars@{branch}")

    assert hub.branches[branch] == {**ATTRIBUTES, **complete(FILES)}
    assert hub.branches["main"] == (hub.branches[branch] if branch == "main" else ATTRIBUTES)
    assert hub.private
    assert (summary.copied, summary.already_there) == (6, 0)
    assert hub.commits == ["Add the model (rasa-ft export)", f"Add {CHECKSUMS} (rasa-ft export)"]


def test_large_files_go_to_the_hub_one_by_one(model: Path, hub: Hub) -> None:
    class Uploads(Told):
        def step(self, parts: int = 1) -> None:
            super().step(parts)
            if self._now == "Copying":
                seen.append((parts, len(hub.uploads), len(hub.commits)))

    seen: list[tuple[int, int, int]] = []
    export(model, "hf://me/cars", progress=Uploads())

    assert [entry for entry in seen if entry[0] >= 9_000] == [(10_240, 1, 0), (9_000, 2, 0)]


def test_a_second_export_to_the_hub_commits_nothing(model: Path, hub: Hub) -> None:
    export(model, "hf://me/cars")
    assert export(model, "hf://me/cars").already_there == 6
    assert len(hub.commits) == 2


def test_an_interrupted_upload_to_the_hub_goes_on(model: Path, hub: Hub) -> None:
    hub.fail_upload = 2
    with pytest.raises(ExportError):
        export(model, "hf://me/cars")
    assert hub.branches["main"] == ATTRIBUTES
    hub.fail_upload = 0

    export(model, "hf://me/cars")

    assert hub.branches["main"] == {**ATTRIBUTES, **complete(FILES)}
    assert len(hub.uploads) == 2


@pytest.mark.parametrize("name", ["config.json", "model-00002-of-00002.safetensors"])
def test_damage_on_the_way_to_the_hub_is_noticed(model: Path, hub: Hub, name: str) -> None:
    hub.lose = name
    with pytest.raises(ExportError, match=f"not what was sent: {re.escape(name)}"):
        export(model, "hf://me/cars")
    assert CHECKSUMS not in hub.branches["main"]


def test_an_earlier_export_on_the_hub(model: Path, tmp_path: Path, hub: Hub) -> None:
    export(written(tmp_path / "other", {"config.json": b"{1}", "model.safetensors": b"1"}), "hf://me/cars")
    with pytest.raises(ExportError, match="--force"):
        export(model, "hf://me/cars")
    export(model, "hf://me/cars", force=True)
    assert hub.branches["main"] == {**ATTRIBUTES, **complete(FILES)}


def test_who_may_read_a_repository(model: Path, hub: Hub) -> None:
    export(model, "hf://me/cars", public=True)
    assert not hub.private
    with pytest.raises(ExportError, match="everyone could read the model"):
        export(model, "hf://me/cars")
    hub.private = True
    assert export(model, "hf://me/cars", public=True).notes == ("hf://me/cars is private and stays so.",)


def test_no_token_for_the_hub(model: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ExportError, match=r"no token.*HF_TOKEN"):
        export(model, "hf://me/cars")
    assert not hub.tokens


def test_a_token_that_is_refused_is_not_shown(model: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(ExportError, match=r"they are refused.*HF_TOKEN") as caught:
        export(model, "hf://me/cars")
    assert "hf_bad" not in str(caught.value)
    assert hub.tokens == {"Bearer hf_bad"}
