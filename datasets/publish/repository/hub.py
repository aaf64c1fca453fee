"""Upload a published folder to a data set repository of the Hugging Face hub.

The token is that of huggingface_hub's own login (`hf auth login`, or its variable HF_TOKEN); it is never taken, stored
or shown here. An upload that was interrupted goes on with the next call: what the hub has is not sent again.
"""

from __future__ import annotations

from pathlib import Path

from vsumdata.manifests.errors import StorageError, UsageError


def address(repo: str) -> str:
    """The page of a data set repository."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/datasets/{repo}"


def check(repo: str) -> None:
    """Raise UsageError unless `repo` is USER/NAME and somebody has logged in."""
    try:
        from huggingface_hub import get_token
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id
    except ImportError as error:
        raise UsageError("--repo needs huggingface_hub: pip install 'vsumdata[publish]'") from error
    if repo.count("/") != 1:
        raise UsageError(f"--repo {repo}: name it USER/NAME")
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"--repo {repo}: {str(error).splitlines()[0]}") from error
    if get_token() is None:
        raise UsageError(f"--repo {repo}: nobody is logged in to the hub; run `hf auth login` first")


def upload(folder: Path, repo: str) -> str:
    """Upload the folder and return the commit's address. A repository that is not there is created, private.

    Files of an earlier version that the folder does not have are removed from `data/`. Raises StorageError if the hub
    refuses or does not answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # The error of the HTTP library that this version of huggingface_hub has (httpx, httpx2): no answer at all.
    no_answer: type[BaseException] = HfHubHTTPError.__bases__[0]
    api = HfApi(library_name="vsumdata")
    try:
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            commit_message="Publish with vsumdata",
            # A version of fewer files must not leave rows of the one before.
            delete_patterns="data/*.parquet",
        )
    except HfHubHTTPError as error:
        raise stopped(folder, repo, error.server_message or str(error)) from error
    # The last three are hf_xet's and huggingface_hub's own.
    except (no_answer, OSError, RuntimeError, ValueError) as error:
        raise stopped(folder, repo, str(error)) from error
    return str(done.commit_url)


def stopped(folder: Path, repo: str, why: str) -> StorageError:
    line = why.strip().splitlines()[0] if why.strip() else "no answer"
    return StorageError(
        f"the upload to {repo} stopped: {line}; {folder} is complete: run the same command again, and it goes on where "
        "it was"
    )
