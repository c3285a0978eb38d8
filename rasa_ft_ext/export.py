"""`export`: copy a model to a folder, an object store or the Hugging Face Hub, and prove that it arrived.

    MODEL      a folder with a model, or the one that `train` wrote, of which a part is taken
    TARGET     s3://bucket/path, gs://..., any other URL of fsspec, hf://owner/name[@revision], or a plain folder

Every file is hashed here, copied unless the same one is there, and checked there: a folder or a store is read back, the
Hub is asked for its checksums. `checksums.sha256` comes last, so where it stands the export is complete. Until then
`.rasa-ft-export` says what is on its way, for the next try to know an interrupted export from a stranger's files; it
never vouches for one of them.

How the kinds of targets differ is in the subclasses of `_Place`. What a model is made of is none of this module's
business beyond the names of its files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from rasa_ft_ext.conversation import Record
from rasa_ft_ext.errors import ConfigError, ExportError, MissingExtraError, RasaFtError
from rasa_ft_ext.progress import Progress

PARTS = ("merged", "adapter", "merged_4bit")
ALL = "all"
CHECKSUMS = "checksums.sha256"
MARKER = ".rasa-ft-export"
BLOCK = 16 * 2**20

_CONFIGS = ("config.json", "adapter_config.json")
_WEIGHTS = ("*.safetensors", "*.gguf", "pytorch_model*.bin", "adapter_model.bin")
_HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>\S+))?")
_NO_FOLDERS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}  # making a "folder" there can make a bucket
_CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_ENDPOINT_URL for a store of your own), or AWS_PROFILE.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`.",
    "hf": "Set HF_TOKEN to a token that may write, or run `hf auth login`.",
}
_CREDENTIALS |= {"s3a": _CREDENTIALS["s3"], "gcs": _CREDENTIALS["gs"]}

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_ESCAPED = {escaped: plain for plain, escaped in _ESCAPES.items()}

Step = Callable[[int], None]


class ExportSummary(Record):
    """The outcome of an export: `copied` and `already_there` count files, of `files` in all with so many `bytes`."""

    files: int
    bytes: int
    copied: int
    already_there: int
    target: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class File:
    """One file to export; `path` is its place below the target, with slashes."""

    path: str
    source: Path
    size: int
    sha256: str


def export(
    model: str | Path,
    target: str | Path,
    *,
    part: str | None = None,
    public: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportSummary:
    """Copy a model to a target; run again, it goes on where it was interrupted.

    Args:
        model: A folder with a model, or the one that `train` wrote.
        target: A URL or a folder; a token is never part of it.
        part: What to take of the folder that `train` wrote: one of `PARTS` (`merged` if None), or `all`.
        public: Whether a repository that is made on the Hub is public; without it, a public one is refused.
        force: Replace an earlier export at the target, and go among files that are no part of one.
        progress: Is told how far it is, in bytes.

    Raises:
        ConfigError: model, part or target cannot work.
        MissingExtraError: what talks to the target is not installed.
        ExportError: the target holds other files, refuses, or what arrived is not what was sent.
    """
    progress = progress or Progress()
    sources, notes = _sources(Path(model), part)
    place = _place(str(target), Path(model), public)
    with _told(place):
        notes += place.prepare()
        there = place.files()
    files = _hashed(sources, progress)
    with _told(place):
        copied = _bring(place, there, files, notes, force=force, progress=progress)
    return ExportSummary(
        files=len(files),
        bytes=sum(file.size for file in files),
        copied=copied,
        already_there=len(files) - copied,
        target=place.name,
        notes=tuple(notes),
    )


def _bring(
    place: _Place, there: dict[str, int], files: list[File], notes: list[str], *, force: bool, progress: Progress
) -> int:
    """Make the target hold just these files beside a stranger's, and say so there; return how many were copied."""
    wanted = _checksums(files)
    said = [place.read(name) for name in (CHECKSUMS, MARKER) if name in there]
    going_on = wanted in said
    names = {file.path for file in files}
    strangers = sorted(set(there) - names - place.own - {CHECKSUMS, MARKER})
    earlier = {name for text in said for name in _names(text)}
    if strangers and not going_on and not force:
        raise _foreign(place, strangers)
    present = [file for file in files if there.get(file.path) == file.size]
    right = _arrived(place, present, "Comparing with what is there", progress)
    differing = sorted(name for name in names & set(there) if name not in right)
    if differing and not going_on and not force:
        raise _foreign(place, differing)
    stale = sorted(earlier.intersection(strangers))
    if others := sorted(set(strangers) - set(stale)):
        notes.append(f"{place.name} also holds files that are not of this model; they stay: {_some(others)}.")
    missing = [file for file in files if file.path not in right]
    if missing or stale or CHECKSUMS not in there or place.read(CHECKSUMS) != wanted:
        place.delete([name for name in (CHECKSUMS, *stale) if name in there])
        if place.needs_marker:
            place.write(MARKER, wanted)
        progress.start("Copying", sum(file.size for file in missing))
        place.copy(missing, progress.step)
        _verify(place, missing, progress)
        place.write(CHECKSUMS, wanted)
    leftovers = {MARKER, *place.temporary}
    place.delete([name for name in place.files() if name in leftovers])
    return len(missing)


def _verify(place: _Place, copied: list[File], progress: Progress) -> None:
    place.files()
    right = _arrived(place, copied, "Checking what arrived", progress)
    if wrong := [file.path for file in copied if file.path not in right]:
        raise ExportError(
            f"{place.name}: what arrived is not what was sent: {_some(wrong)}. Run the command again: it copies these "
            "files anew. If that does not help, the store or the way to it damages data."
        )


def _arrived(place: _Place, files: list[File], what: str, progress: Progress) -> set[str]:
    if files:
        progress.start(what, sum(file.size for file in files))
    return {file.path for file in files if place.holds(file, progress.step)}


def _foreign(place: _Place, names: list[str]) -> ExportError:
    return ExportError(
        f"{place.name} holds files that no export of this model left there: {_some(names)}. Give another target, or "
        "--force: it replaces files of the same names and those of an earlier export, and leaves the others."
    )


# What is exported


def _sources(model: Path, part: str | None) -> tuple[dict[str, Path], list[str]]:
    """The files to export by their place below the target, and what a person should know."""
    folders = _folders(model, part)
    problems = [problem for folder in folders.values() if _is_model(folder) for problem in _incomplete(folder)]
    found: dict[str, Path] = {}
    hidden = []
    for prefix, folder in folders.items():
        for path in _walk(folder, deep=_is_model(folder)):
            name = prefix + path.relative_to(folder).as_posix()
            if any(piece.startswith(".") for piece in path.relative_to(folder).parts):
                hidden.append(name)
            elif name.rpartition("/")[2] != CHECKSUMS:  # of an export that is exported in turn
                found[name] = path
                problems += _problems(path, model)
    if problems:
        raise ConfigError(str(model), problems)
    return found, [f"Hidden files are left out: {_some(hidden)}."] if hidden else []


def _folders(model: Path, part: str | None) -> dict[str, Path]:
    """The folders to export by what their files' names begin with at the target."""
    if part is not None and part not in (*PARTS, ALL):
        raise ConfigError("export", [f"part is {part!r}; it must be one of {', '.join((*PARTS, ALL))}."])
    if not model.is_dir():
        raise ConfigError("export", [f"{model} is no folder. Give the folder that `rasa-ft train` wrote."])
    if _is_model(model):
        if part is not None:
            raise ConfigError("export", [f"{model} is itself a model and has no parts: leave out --part."])
        return {"": model}
    available = [name for name in PARTS if _is_model(model / name)]
    if not available:
        problem = f"There is no model in it: neither {' nor '.join(_CONFIGS)}, here or in {', '.join(PARTS)}."
        raise ConfigError(str(model), [f"{problem} Give the folder that `rasa-ft train` wrote."])
    if part == ALL:
        return {"": model, **{f"{name}/": model / name for name in available}}
    if (chosen := part or PARTS[0]) not in available:
        raise ConfigError(str(model), [f"It has no {chosen}. Choose with --part: {', '.join(available)}."])
    return {"": model / chosen}


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _CONFIGS)


def _incomplete(folder: Path) -> Iterator[str]:
    """What is missing in a model's folder."""
    if not any(True for pattern in _WEIGHTS for _ in folder.glob(pattern)):
        yield f"{folder} has no weights ({', '.join(_WEIGHTS)})."
    for index in sorted(folder.glob("*.index.json")):
        try:
            shards = set(json.loads(index.read_bytes())["weight_map"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            yield f"{index} cannot be read; it should say in which file each weight is."
            continue
        for shard in sorted(shards):
            if not (folder / shard).is_file():
                yield f"{index} names {shard}, which is not there."


def _walk(folder: Path, *, deep: bool) -> Iterator[Path]:
    """All that is no folder; a link to a folder is told as what it is."""
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir() or (deep and entry.is_symlink()):
            yield entry
        elif deep:
            yield from _walk(entry, deep=True)


def _problems(path: Path, model: Path) -> Iterator[str]:
    """Why a file cannot be exported."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        yield f"The name {str(path)!r} is not UTF-8. Rename the file."
        return
    if not path.is_file():
        yield f"{path} is no file (a link to a folder or to nothing, or a device). Remove it."
    elif not path.resolve().is_relative_to(model.resolve()):
        yield f"{path} is a link that leads out of {model}. Put the file itself there: `cp -rL` copies a folder so."


def _hashed(sources: dict[str, Path], progress: Progress) -> list[File]:
    progress.start("Reading the model", sum(path.stat().st_size for path in sources.values()))
    files = []
    for name, path in sorted(sources.items()):
        size, digest = 0, hashlib.sha256()
        for block in _blocks(path, progress.step):
            digest.update(block)
            size += len(block)
        files.append(File(name, path, size, digest.hexdigest()))
    return files


def _sent(file: File, step: Step) -> Iterator[bytes]:
    """The blocks of a file, which must be what it was when it was hashed."""
    digest = hashlib.sha256()
    for block in _blocks(file.source, step):
        digest.update(block)
        yield block
    if digest.hexdigest() != file.sha256:
        raise _changed(file)


def _changed(file: File) -> ExportError:
    return ExportError(f"{file.source} was changed while it was exported. Wait until it is finished and run it again.")


def _blocks(path: Path, step: Step) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            yield from _read(stream, step)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(stream: BinaryIO, step: Step) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block
        step(len(block))


def _digest(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _checksums(files: list[File]) -> bytes:
    """The lines that `sha256sum -c` reads."""
    return "".join(_line(file) for file in files).encode()


def _line(file: File) -> str:
    escaped = re.sub(r"[\\\n\r]", lambda found: _ESCAPES[found[0]], file.path)
    return f"{'' if escaped == file.path else chr(92)}{file.sha256}  {escaped}\n"


def _names(checksums: bytes) -> Iterator[str]:
    """The files that such lines name; other lines are passed over."""
    for line in checksums.decode("utf-8", "replace").split("\n"):
        if match := re.fullmatch(r"(\\?)[0-9a-f]{64}  (.+)", line):
            yield re.sub(r"\\[\\nr]", lambda found: _ESCAPED[found[0]], match[2]) if match[1] else match[2]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# Where it goes


class _Place:
    """A target.

    `own` are names that the kind of target has by itself, `temporary` those that an interrupted copy leaves, and
    `needs_marker` is False where all files of a copy appear at once.
    """

    own: frozenset[str] = frozenset()
    temporary: frozenset[str] = frozenset()
    needs_marker = True

    def __init__(self, name: str) -> None:
        self.name = re.sub(r"(?<=://)[^/@]*@(?=[^/]*/)", "***@", name) if not name.startswith("hf:") else name

    def prepare(self) -> list[str]:
        """Make the target ready to be listed; return what a person should know."""
        return []

    def files(self) -> dict[str, int]:
        """The size of each file that is there now."""
        raise NotImplementedError

    def holds(self, file: File, step: Step) -> bool:
        """Whether the file that is there has the content of this one."""
        raise NotImplementedError

    def copy(self, files: list[File], step: Step) -> None:
        """Copy files; each appears whole."""
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        raise NotImplementedError

    def write(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def delete(self, names: list[str]) -> None:
        """Remove files that are there."""
        raise NotImplementedError


class _Folder(_Place):
    """A folder of this machine: a file is written under a temporary name and renamed."""

    _TEMPORARY = f"{MARKER}.part"
    own = temporary = frozenset({_TEMPORARY})

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._root = folder

    def prepare(self) -> list[str]:
        self._root.mkdir(parents=True, exist_ok=True)
        return []

    def files(self) -> dict[str, int]:
        found = (Path(folder, name) for folder, _, names in os.walk(self._root) for name in names)
        return {path.relative_to(self._root).as_posix(): path.lstat().st_size for path in found}

    def holds(self, file: File, step: Step) -> bool:
        path = self._root / file.path
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as stream:
            return _digest(_read(stream, step)) == file.sha256

    def copy(self, files: list[File], step: Step) -> None:
        for file in files:
            self._put(file.path, _sent(file, step))

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        self._put(name, [data])

    def delete(self, names: list[str]) -> None:
        for name in names:
            (self._root / name).unlink()

    def _put(self, name: str, blocks: Iterable[bytes]) -> None:
        path, draft = self._root / name, self._root / self._TEMPORARY
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as stream:
                for block in blocks:
                    stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


class _Store(_Place):
    """Whatever fsspec can write to. An upload that fails is thrown away, not closed: closing would finish it."""

    def __init__(self, name: str, system: Any, root: str) -> None:
        super().__init__(name)
        self._system = system
        self._root = root.rstrip("/")

    def files(self) -> dict[str, int]:
        self._system.invalidate_cache()
        try:
            found = self._system.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        start = f"{self._root}/"
        return {
            name.removeprefix(start): int(info["size"])
            for name, info in found.items()
            if info["type"] == "file" and name.startswith(start) and not name.endswith("/")
        }

    def holds(self, file: File, step: Step) -> bool:
        try:
            with self._system.open(self._path(file.path), "rb", block_size=BLOCK) as stream:
                return _digest(_read(stream, step)) == file.sha256
        except FileNotFoundError:
            return False

    def copy(self, files: list[File], step: Step) -> None:
        for file in files:
            self._put(file.path, _sent(file, step))

    def read(self, name: str) -> bytes:
        data: bytes = self._system.cat_file(self._path(name))
        return data

    def write(self, name: str, data: bytes) -> None:
        self._put(name, [data])

    def delete(self, names: list[str]) -> None:
        for name in names:
            self._system.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _put(self, name: str, blocks: Iterable[bytes]) -> None:
        path = self._path(name)
        if self.name.partition(":")[0] not in _NO_FOLDERS:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        stream = self._system.open(path, "wb", block_size=BLOCK, autocommit=False)
        try:
            for block in blocks:
                stream.write(block)
            stream.close()
            stream.commit()
        except BaseException:
            with suppress(Exception):
                stream.discard()
            with suppress(AttributeError):  # a file in memory cannot be told so, and need not
                stream.closed = True
            raise


class _Hub(_Place):
    """A model repository on the Hugging Face Hub. Large files go ahead one by one, then one commit shows them all.

    What was uploaded before an interruption is known to the Hub by its checksum and not sent again.
    """

    own = frozenset({".gitattributes"})
    needs_marker = False

    def __init__(self, name: str, repo: str, revision: str | None, *, public: bool) -> None:
        super().__init__(name)
        self._hub = _load("huggingface_hub")
        self._api = self._hub.HfApi(library_name="rasa-ft-ext")
        self._where = {"repo_id": repo, "revision": revision or "main"}
        self._public = public
        self._tree: dict[str, Any] = {}

    def prepare(self) -> list[str]:
        repo, revision = self._where["repo_id"], self._where["revision"]
        if not self._hub.get_token():
            raise ExportError(f"{self.name}: there is no token for the Hub. {_CREDENTIALS['hf']}")
        self._api.create_repo(repo, private=not self._public, exist_ok=True)
        private = self._api.model_info(repo).private
        if not private and not self._public:
            raise ExportError(
                f"{self.name} is a public repository: everyone could read the model. Give --public if that is what "
                "you want, or another name."
            )
        if not self._api.revision_exists(repo, revision):
            self._api.create_branch(repo, branch=revision)
        self._hub.utils.disable_progress_bars()
        return [f"{self.name} is private and stays so."] if private and self._public else []

    def files(self) -> dict[str, int]:
        entries = self._api.list_repo_tree(recursive=True, **self._where)
        self._tree = {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}
        return {path: entry.size for path, entry in self._tree.items()}

    def holds(self, file: File, step: Step) -> bool:
        step(file.size)
        entry = self._tree.get(file.path)
        if entry is None or entry.size != file.size:
            return False
        if entry.lfs:
            return bool(entry.lfs.sha256 == file.sha256)
        data = file.source.read_bytes()  # a file in git itself is small: the Hub takes none of more than 10 MB
        name = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return bool(entry.blob_id == name and hashlib.sha256(data).hexdigest() == file.sha256)

    def copy(self, files: list[File], step: Step) -> None:
        added = []
        for file in files:
            operation = self._hub.CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=str(file.source))
            if operation.upload_info.sha256.hex() != file.sha256:
                raise _changed(file)
            self._api.preupload_lfs_files(additions=[operation], **self._where)
            added.append(operation)
            step(file.size)
        if added:
            self._commit("Add the model", added)

    def read(self, name: str) -> bytes:
        with tempfile.TemporaryDirectory() as cache:
            return Path(self._api.hf_hub_download(filename=name, cache_dir=cache, **self._where)).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        self._commit(f"Add {name}", [self._hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=data)])

    def delete(self, names: list[str]) -> None:
        if names:
            gone = [self._hub.CommitOperationDelete(path_in_repo=name, is_folder=False) for name in names]
            self._commit("Remove what is not of this model", gone)

    def _commit(self, message: str, operations: list[Any]) -> None:
        self._api.create_commit(operations=operations, commit_message=f"{message} (rasa-ft export)", **self._where)


def _place(target: str, model: Path, public: bool) -> _Place:
    """The kind of target that a URL or a path means."""
    scheme = target.partition("://")[0].lower() if "://" in target else ""
    if scheme == "hf":
        if not (match := _HUB.fullmatch(target)):
            raise ConfigError("export", [f"{target} is no address on the Hub; write hf://owner/name[@revision]."])
        return _Hub(target, match["repo"], match["revision"], public=public)
    if public:
        raise ConfigError("export", [f"--public is for hf:// only; who may read {target} is set where that is."])
    if not scheme:
        if re.match(r"(s3a?|gc?s|az|abfss?|hf):", target):
            raise ConfigError("export", [f"{target} is no URL; write {target.replace(':', '://', 1)}, with slashes."])
        return _folder(Path(target), model)
    core = _load("fsspec.core")
    try:
        system, root = core.url_to_fs(target)
    except ImportError as error:
        raise _backend_missing(target, scheme, error) from error
    except Exception as error:
        raise _mapped(_Place(target), error) from error
    if "file" in (protocols := system.protocol) or protocols == "file":
        return _folder(Path(root), model)
    if not root.strip("/"):
        raise ConfigError("export", [f"{target} names no bucket and no path."])
    return _Store(target, system, root)


def _folder(folder: Path, model: Path) -> _Folder:
    here, there = folder.resolve(), model.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ConfigError("export", [f"{folder} and {model} lie in each other. Give a folder elsewhere."])
    if next(path for path in (here, *here.parents) if path.exists()).is_file():
        raise ConfigError("export", [f"{folder} is, or lies in, a file. Give a folder."])
    return _Folder(folder)


def _load(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(module.partition(".")[0], "export") from error


# What others raise


def _backend_missing(target: str, scheme: str, error: ImportError) -> RasaFtError:
    package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(scheme)
    if package:
        return MissingExtraError(f"{package}, which writes to {scheme}://,", "export")
    return ExportError(f"{target}: what writes to {scheme}:// is not installed here: {error}.")


@contextmanager
def _told(place: _Place) -> Iterator[None]:
    """Turn what fsspec, its backends and the Hub raise into an `ExportError`; a bug keeps its type."""
    try:
        yield
    except (RasaFtError, TypeError, LookupError, AttributeError, AssertionError, NameError):
        raise
    except Exception as error:
        raise _mapped(place, error) from error


def _mapped(place: _Place, error: Exception) -> ExportError:
    scheme = place.name.partition(":")[0]
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    text = (str(error).strip().splitlines() or [""])[0]
    if isinstance(place, _Store) and isinstance(error, FileNotFoundError):
        reason = f"there is no such bucket or folder ({text}). Make it first: an export makes none."
    elif any("Credential" in kind or "NoAuth" in kind for kind in kinds) or status == 401:
        reason = f"there are no credentials, or they are refused ({text}). {_CREDENTIALS.get(scheme, '')}"
    elif isinstance(error, PermissionError) or status == 403:
        reason = f"access is denied ({text}). {_CREDENTIALS.get(scheme, 'Give another target.')}"
    elif isinstance(error, NotImplementedError):
        reason = f"{scheme}:// cannot be written to."
    else:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else text
        reason = f"{type(error).__name__}: {cause}. What has arrived stays: the same command goes on after it."
    return ExportError(f"{place.name}: {reason.strip()}")
