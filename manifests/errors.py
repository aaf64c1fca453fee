"""Every error that vsumdata raises on purpose.

VsumdataError
├── UsageError            wrong command line, root or configuration: exit code 2
│   ├── ManifestError     a manifest or a list that it names is wrong; the message gives file, line and key
│   ├── SetupError        this client cannot read a site as it is set up; no video is at fault
│   └── Diverged          the loss or the model's output is not finite; other settings may help
├── SchemaError           a row or a file does not have the columns of its table
├── StorageError          the root cannot be read or written (disk full, permissions, broken part): stops the run
├── ClusterError          Ray or a worker could not start its work: stops the run
├── CollapseError         a site's answers suddenly change: stops the run before videos are lost
├── SkipVideo             permanent and normal: this video has no such thing       → `skipped: <reason>`
├── FailVideo             permanent and bad: the input exists but cannot be used   → `failed: <reason>`
├── RetryVideo            transient: worth another attempt later                   → `retry: <reason>`
└── ThrottledError        nobody's fault: the host asks everybody to slow down; no try is counted
"""

from __future__ import annotations


class VsumdataError(Exception):
    """Base of all errors raised on purpose. The message is one line for a person and names the remedy."""


class UsageError(VsumdataError):
    """The command, the root or the configuration is wrong; nothing was done."""


class ManifestError(UsageError):
    """A manifest or one of the lists it names is wrong."""


class SetupError(UsageError):
    """A site's videos cannot be read as this client is set up (no JavaScript runtime, a refused client, …)."""


class Diverged(UsageError):
    """The loss or the model's output is no longer a finite number."""


class SchemaError(VsumdataError):
    """A row or a file does not have the columns of its table."""


class StorageError(VsumdataError):
    """The root cannot be read or written. No video is at fault, so the run stops."""


class ClusterError(VsumdataError):
    """Ray could not be started, or a worker could not start its work."""


class CollapseError(VsumdataError):
    """Far fewer of the latest videos have what the videos before them had; `kind` says what."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class VideoError(VsumdataError):
    """One video's outcome, raised by a stage's function.

    `reason` is from `vsumdata.manifests.tables.REASONS`; `detail` is free text for a person.
    """

    outcome = "failed"
    # Whether it comes from an earlier visit, so that doing the row once more would only visit the video again.
    is_noted = False

    def __init__(self, reason: str, detail: str = "") -> None:
        # Ray pickles errors on their way to the driver, and pickle rebuilds an error by calling its class with
        # `args`: these must be the arguments of this signature.
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class SkipVideo(VideoError):
    """Permanent and normal: there is nothing to do for this video."""

    outcome = "skipped"


class FailVideo(VideoError):
    """Permanent and bad: the input exists but cannot be used."""


class RetryVideo(VideoError):
    """Transient: try again after `after_s` seconds. Not `is_counted`: a mood of the site, no try of the video's."""

    outcome = "retry"

    def __init__(self, reason: str, after_s: float = 300.0, detail: str = "", is_counted: bool = True) -> None:
        super().__init__(reason, detail)
        # Without this, pickle would rebuild the error with `detail` in the place of `after_s`.
        self.args = (reason, after_s, detail, is_counted)
        self.after_s = after_s
        self.is_counted = is_counted


class ThrottledError(VsumdataError):
    """A host asks to slow down (bot wall, rate limit, 429): pause all workers and count no try.

    `after_s` is the host's own Retry-After in seconds, None where it gave none.
    """

    # No VideoError: the video is not at fault, so this must never become a video's outcome.
    def __init__(self, host: str, detail: str = "", after_s: float | None = None) -> None:
        super().__init__(host, detail, after_s)
        self.host = host
        self.detail = detail
        self.after_s = after_s

    def __str__(self) -> str:
        return f"{self.host} asks to slow down: {self.detail}"
