"""Upload and download bundles: the Hugging Face hub, or the server that ``HF_ENDPOINT`` names."""

__all__ = ['fetch', 'push_to_hub']

import os
import pathlib
import re
import types

_NAME = re.compile(r'[\w.-]+/[\w.-]+')


def import_hub() -> types.ModuleType:
    """Import ``huggingface_hub``.

    Raises:
        ImportError: it is not installed; the message says how to install it.
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
    """Upload a bundle; the repository is created if it does not exist.

    Args:
        folder: a folder of ``write_bundle``.
        name: ``user/name``.
        private: whether to create a private repository.
        token: the token of ``hf auth login`` or ``HF_TOKEN`` by default.

    Returns:
        The URL of the commit.

    Raises:
        ValueError: the name is malformed.
        ConnectionError: the server cannot be reached or refuses the upload.
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
    """Download a bundle to the hub's cache folder, unless it is cached.

    Args:
        name: ``user/name``.
        revision: a branch, tag or commit; the main branch by default.
        token: see ``push_to_hub``.

    Returns:
        The folder.

    Raises:
        ValueError: the name is malformed.
        ConnectionError: the bundle is not cached, and the server cannot be reached or has no such
            bundle.
    """
    hub = import_hub()
    _check(name)
    try:
        return pathlib.Path(hub.snapshot_download(name, revision=revision, token=token))
    except Exception as e:
        raise _explain(e, f'{name}: not downloaded') from e


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f'{name!r}: expected an existing folder, or user/name of a repository')


def _explain(error: Exception, what: str) -> Exception:
    # The only common base of the hub's errors and those of its HTTP library is Exception.
    kinds = ('huggingface_hub', 'httpx', 'httpcore', 'requests')
    is_hub = type(error).__module__.startswith(kinds) or isinstance(error, OSError)
    return ConnectionError(f'{what} ({type(error).__name__}: {error})') if is_hub else error
