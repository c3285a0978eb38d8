"""The Hugging Face hub: whether a base model can be had from there, and what to do where not.

    reach("org/model", None)            # raises the error that a user can act on
    hub_error("org/model", error)       # the same, for what a library raised in the middle of loading

A token is looked up by huggingface_hub itself (HF_TOKEN, or what `hf auth login` stored); it is never seen here.
"""

from __future__ import annotations

from pathlib import Path

from rasa_ft_ext.errors import ConfigError, MissingExtraError, RasaFtError, chain_of

_CONFIG = "config.json"


def reach(base: str, revision: str | None) -> None:
    """Make sure that the base model is there and may be read, before anything big is loaded.

    Raises:
        RasaFtError: it is not; says what to do.
    """
    if Path(base).is_dir():
        _check_folder(Path(base))
        return
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "train") from error
    try:
        hf_hub_download(base, _CONFIG, revision=revision)
    except Exception as error:
        raise hub_error(base, error, revision) from error


def _check_folder(folder: Path) -> None:
    if (folder / _CONFIG).is_file():
        return
    if (folder / "adapter_config.json").is_file():
        problem = "It holds an adapter and no model. Give the model that the adapter was trained on, or a merged one."
    else:
        problem = f"The folder holds no {_CONFIG}, so it is no model. Give the folder of a model, or a name on the hub."
    raise _cannot(str(folder), problem)


def hub_error(base: str, error: BaseException, revision: str | None = None) -> RasaFtError:
    """What went wrong when a base model was loaded, and the next step. Libraries wrap the cause: all are looked at."""
    from huggingface_hub import errors

    causes = list(chain_of(error))
    refused = next((cause for cause in causes if isinstance(cause, errors.HfHubHTTPError)), None)
    page = f"https://huggingface.co/{base}"
    if refused is not None:
        status = refused.response.status_code
        if isinstance(refused, errors.GatedRepoError):
            return _cannot(base, _gated(page, status))
        if isinstance(refused, errors.RevisionNotFoundError):
            return _cannot(base, f"It has no revision {revision!r}. Its branches, tags and commits are at {page}/tree.")
        if isinstance(refused, errors.EntryNotFoundError):
            return _cannot(base, f"It is not a model that transformers can load: {_first_line(refused)} See {page}.")
        if status == 401 and not isinstance(refused, errors.RepositoryNotFoundError):
            return _cannot(
                base,
                "The hub does not accept the token. Make a new one at https://huggingface.co/settings/tokens and set "
                "HF_TOKEN to it.",
            )
        if isinstance(refused, errors.RepositoryNotFoundError):
            return _cannot(
                base,
                "There is neither a folder nor a model of the hub with this name, or it is private. Look for a "
                f"spelling mistake at {page}; for a private model, set HF_TOKEN to a token that may read it.",
            )
        if isinstance(refused, errors.DisabledRepoError):
            return _cannot(base, f"Its authors have disabled it; see {page}. Take another model.")
        return _cannot(base, f"The hub answered with status {status}. Try again later. It said: {_first_line(refused)}")
    if any(isinstance(cause, errors.HFValidationError) for cause in causes):
        return _cannot(base, "There is no such folder, and models of the hub have names such as org/model.")
    if any(isinstance(cause, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled) for cause in causes):
        return _cannot(base, _unreachable())
    if any("trust_remote_code" in str(cause) for cause in causes):
        return _cannot(
            base, "It needs program code that comes with the model, which is never run here. Take another one."
        )
    return _cannot(base, f"{type(error).__name__}: {_first_line(error)}")


def _gated(page: str, status: int) -> str:
    accept = f"accept the licence at {page}"
    if status == 401:
        return (
            f"It is behind a licence, and no valid token was sent. Log in to Hugging Face, {accept}, make a token at "
            "https://huggingface.co/settings/tokens, and set HF_TOKEN to it."
        )
    return (
        f"It is behind a licence that the token's account has no access by, or the token may not read such models. "
        f"With the account that HF_TOKEN belongs to, {accept} and wait until access is granted; a fine-grained token "
        "needs the right to read gated repositories."
    )


def _unreachable() -> str:
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return (
            "It is not in this machine's cache, and HF_HUB_OFFLINE forbids to download it. Unset it for one run, or "
            "give the folder of a model."
        )
    return (
        f"It is not in this machine's cache, and {constants.ENDPOINT} cannot be reached. Look at the network and its "
        "proxy, or give the folder of a model that was copied here."
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no more is known."


def _cannot(base: str, problem: str) -> ConfigError:
    return ConfigError(f"The base model {base} cannot be loaded", [problem])
