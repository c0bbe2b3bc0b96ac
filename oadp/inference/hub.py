"""Bundles on a server of Hugging Face's kind (``HF_ENDPOINT`` names another than theirs)."""

__all__ = ['fetch', 'push_to_hub']

import os
import pathlib
import re
import types

_NAME = re.compile(r'[\w.-]+/[\w.-]+')


def import_hub() -> types.ModuleType:
    """Import ``huggingface_hub``.

    Raises:
        ImportError: it is not installed; says how to.
    """
    try:
        import huggingface_hub
    except ImportError as e:
        raise ImportError(
            f'the hub needs huggingface_hub, which `pip install -e .[hub]` installs ({e})'
        ) from e
    return huggingface_hub


def push_to_hub(
    folder: str | os.PathLike, name: str, *, private: bool = False, token: str | None = None
) -> str:
    """Upload a bundle; the repository is made if need be.

    Args:
        folder: of ``write_bundle``.
        name: ``user/name``.
        private: whether a new repository is.
        token: by default, that of ``hf auth login`` or ``HF_TOKEN``.

    Returns:
        The address of the commit.

    Raises:
        ValueError: not such a name.
        ConnectionError: the server cannot be reached or refuses.
    """
    hub = import_hub()
    _check(name)
    api = hub.HfApi(token=token)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message='Upload a bundle of oadp'
        )
    except Exception as e:
        raise _explain(e, f'{name}: not uploaded') from e
    return str(commit.commit_url)


def fetch(name: str, revision: str | None = None, token: str | None = None) -> pathlib.Path:
    """Download a bundle into the hub's cache folder, or find it there.

    Args:
        name: ``user/name``.
        revision: a branch, tag or commit; the main branch by default.
        token: see ``push_to_hub``.

    Returns:
        The folder.

    Raises:
        ValueError: not such a name.
        ConnectionError: the server cannot be reached or has no such bundle, and the cache neither.
    """
    hub = import_hub()
    _check(name)
    try:
        return pathlib.Path(hub.snapshot_download(name, revision=revision, token=token))
    except Exception as e:
        raise _explain(e, f'{name}: not downloaded') from e


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f'{name!r}: expected a folder that is there, or user/name of a repository')


def _explain(error: Exception, what: str) -> Exception:
    # The hub's own errors and those of its HTTP library share no base but Exception.
    kinds = ('huggingface_hub', 'httpx', 'httpcore', 'requests')
    is_hub = type(error).__module__.startswith(kinds) or isinstance(error, OSError)
    return ConnectionError(f'{what} ({type(error).__name__}: {error})') if is_hub else error
