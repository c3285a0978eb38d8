"""Refuse E2E tests that are too much for Rasa's reader, before it reads them.

Rasa loads every YAML file under the folder, whole and several times, and follows links. A suite of a person's, or one
that a program has written with ten thousand test cases, stays far below the limits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rasa_ft_ext.errors import TestSuiteError
from rasa_ft_ext.yaml_reading import LimitError, check_yaml

MOST_BYTES = 50_000_000
"""Of one file: 10,000 test cases of ten messages are 10 MB."""
MOST_BYTES_IN_ALL = 200_000_000
"""Of all files of a suite together: Rasa takes 25 seconds for a megabyte, so this would be an hour and more."""

_YAML = (".yml", ".yaml")
_CONFTESTS = ("conftest.yml", "conftest.yaml")
_WHAT_TO_DO = "Divide the tests into several files or folders, or take out what is no test."


def check_limits(place: Path) -> None:
    """Look at a test file, or at all YAML files of a folder, and at the conftest files above.

    Raises:
        TestSuiteError: a file is beyond a limit; names every such file.
    """
    sizes = {file: file.stat().st_size for file in dict.fromkeys(_files(place)) if file.is_file()}
    problems = [
        f"{file} has {size / 1e6:,.1f} MB; at most {MOST_BYTES / 1e6:,.0f} MB of one file are read. {_WHAT_TO_DO}"
        for file, size in sizes.items()
        if size > MOST_BYTES
    ]
    total = sum(sizes.values())
    if not problems and total > MOST_BYTES_IN_ALL:
        most = f"at most {MOST_BYTES_IN_ALL / 1e6:,.0f} MB are read"
        problems.append(f"its {len(sizes)} YAML files have {total / 1e6:,.1f} MB together; {most}. {_WHAT_TO_DO}")
    problems = problems or [problem for file in sizes for problem in _problems(file)]
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise TestSuiteError(f"The E2E tests at {place} are not read:{lines}")


def _files(place: Path) -> Iterator[Path]:
    """The files that Rasa reads for these tests."""
    root = Path(os.path.abspath(place))
    for above in root.parents:
        yield from (above / name for name in _CONFTESTS)
    if not root.is_dir():
        yield root
        return
    for folder, folders, files in os.walk(root, followlinks=True):
        for name in folders:
            inner = Path(folder, name)
            if inner.is_symlink() and Path(folder).resolve().is_relative_to(inner.resolve()):
                raise TestSuiteError(
                    f"The E2E tests at {place} are not read: {inner} is a link to a folder that it stands in, so the "
                    "tests have no end. Remove the link."
                )
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(_YAML))


def _problems(file: Path) -> Iterator[str]:
    try:
        data = file.read_bytes()
        check_yaml(data.decode("utf-8"))
    except UnicodeDecodeError as error:  # Rasa looks into every file to see whether there are tests in it
        line = data.count(b"\n", 0, error.start) + 1
        yield f"{file}, line {line}: it is not UTF-8. Save it as UTF-8, or take it out."
    except LimitError as error:
        line = error.problem_mark.line + 1
        yield f"{file}, line {line}: {error.problem}. Write it out more simply, or take it out."
    except OSError:
        return  # Rasa says it
