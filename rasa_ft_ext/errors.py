"""Every error that the package raises on purpose.

    RasaFtError                     what happened, where, and what to do next; exit code 1
    ├── ConfigError                 settings that cannot work: all problems of one file or call at once
    ├── TestSuiteError              E2E tests that are missing or do not fit Rasa's schema
    ├── AssistantError              the assistant cannot be loaded, or is of a kind that cannot be learned from
    ├── PromptError                 a prompt template is broken, or does what a template must not
    ├── MissingExtraError           an optional dependency is not installed
    ├── TrainingError               a model cannot be loaded, trained or saved
    │   └── ParityError             the model that was saved does not answer as the trained one does
    ├── WorkspaceError              the output folder cannot be read or written
    │   └── ForeignResultsError     it holds the results of another run
    ├── DataError                   the training data has faults, and faults were not to be let through
    ├── ExportError                 a model cannot be copied to where it should go, or did not arrive as it was sent
    ├── ServeError                  a model server cannot be started, or does not answer as it should
    ├── CoverageError               the E2E tests do not cover the assistant as well as was required
    ├── ConnectError                the assistant's files cannot be changed, or should not be
    └── LLMError                    a call to an LLM failed
        ├── LLMUnavailableError     nobody answers, or the key is refused: every further call would fail as well
        │   └── BudgetError         the next call would cost more than the run may pay, or than was agreed to
        └── LLMAnswerError          an answer came, but it is of no use

Whoever catches `RasaFtError` sees each mistake of a user and no bug: a bug keeps its own type and its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class RasaFtError(Exception):
    """Base of all; the message is complete: what happened, where, and the next step."""


class ConfigError(RasaFtError):
    """Settings that cannot work.

    `problems` holds every problem that was found, each a sentence of its own.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{where}:{lines}")


class TestSuiteError(RasaFtError):
    """E2E tests that are missing or do not fit the schema; names file and line."""

    __test__ = False  # keeps pytest from collecting the class


class AssistantError(RasaFtError):
    """The assistant cannot be loaded, or is of a kind that cannot be learned from."""


class PromptError(RasaFtError):
    """A prompt template is broken, or does what a template must not."""


class MissingExtraError(RasaFtError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed here. Install it with: pip install 'rasa-ft-ext[{extra}]'")


class TrainingError(RasaFtError):
    """A model cannot be loaded, trained or saved."""


class ParityError(TrainingError):
    """The model that was saved does not answer as the trained one does."""


class WorkspaceError(RasaFtError):
    """The output folder cannot be read or written."""


class ForeignResultsError(WorkspaceError):
    """The output folder holds results that this run did not make and must not overwrite."""


class DataError(RasaFtError):
    """The training data has faults, and the caller asked not to let any through."""


class ExportError(RasaFtError):
    """A model cannot be copied to where it should go, or did not arrive as it was sent."""


class ServeError(RasaFtError):
    """A model server cannot be started, or does not answer as it should."""


class CoverageError(RasaFtError):
    """The E2E tests do not cover the assistant as well as was required; the commands end with exit code 2."""


class ConnectError(RasaFtError):
    """The assistant's files cannot be changed, or should not be: the model is not proven."""


class LLMError(RasaFtError):
    """A call to an LLM failed."""


class LLMUnavailableError(LLMError):
    """Nobody answers at the address, or the key is refused: every further call would fail as well."""


class BudgetError(LLMUnavailableError):
    """The next call would cost more than the run may pay, or more than anybody agreed to."""


class LLMAnswerError(LLMError):
    """The LLM answered, but the answer is of no use."""


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on: libraries wrap what has happened several times."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
