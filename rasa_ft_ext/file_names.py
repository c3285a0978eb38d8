"""File names that come from elsewhere (E2E test files, recordings): they stay in the folder, and each is a file's own.

The names are relative, with `/` between their parts, as a recording has them.
"""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from rasa_ft_ext.errors import WorkspaceError

MOST_BYTES = 230
"""Of one part of a name: file systems take 255, and the files that belong to a test file have longer names than it."""


def inside(folder: Path, name: str) -> Path:
    """The path of a file below a folder, whatever its name and whatever links there are.

    Raises:
        WorkspaceError: it would be elsewhere, or no file can be called like that.
    """
    path = folder / name
    try:
        stays = path.resolve().is_relative_to(folder.resolve()) and path.resolve() != folder.resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a NUL; links that lead to each other
        raise WorkspaceError(f"No file can have the name {name!r}: {error}.") from error
    if not stays:
        raise WorkspaceError(f"The test file name {name!r} leads out of {folder}.")
    return path


def check_file_names(names: Iterable[str], root: Path) -> None:
    """Refuse names of test files under which the disk cannot keep results, before there are any.

    Args:
        names: The names.
        root: The output folder; it need not be there yet.

    Raises:
        WorkspaceError: a name leads out of the folder, is too long, or is another one's to this disk; names all.
    """
    problems = []
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        try:
            inside(root, name)
        except WorkspaceError as error:
            problems.append(str(error))
        else:
            if name != PurePosixPath(name).as_posix() or ".." in name.split("/"):
                problems.append(f"The name {name!r} leads over other folders than its own, so it may be another's too.")
        if any(len(part.encode(errors="replace")) > MOST_BYTES for part in name.split("/")):
            problems.append(f"The name {name[:60]!r}... is too long: at most {MOST_BYTES} bytes. Rename the file.")
        alike.setdefault(unicodedata.normalize("NFC", name.casefold()), []).append(name)
    meeting = [found for found in alike.values() if len(found) > 1]
    if meeting and _is_one_file_to_the_disk(root):
        problems += [f"{' and '.join(found)} are one file to the disk of {root}. Rename one." for found in meeting]
    if problems:
        raise WorkspaceError(
            "The results of these test files cannot be kept:" + "".join(f"\n  - {p}" for p in problems)
        )


def _is_one_file_to_the_disk(root: Path) -> bool:
    """Whether the disk does not tell capital letters from small ones."""
    place = next(path for path in (root, *root.resolve().parents) if path.is_dir())
    try:
        with tempfile.NamedTemporaryFile(prefix=".rasa-ft-name-", dir=place) as file:
            return Path(file.name).with_name(Path(file.name).name.upper()).exists()
    except OSError:
        return False  # nothing can be written there, which is told with more words elsewhere
