"""Every error that vsumdata raises on purpose.

VsumdataError
├── UsageError            wrong command line, root or configuration: exit code 2
│   ├── ManifestError     a manifest or a list that it names is wrong; says file, line and key
│   └── Diverged          training has come to numbers that are none; other settings may not
├── SchemaError           a row or a file does not have the columns of its table
├── StorageError          the root takes or gives no data (disk full, permissions, broken part): stops the run
├── ClusterError          Ray or a worker could not do its work: stops the run
├── HeatmapCollapseError  heatmaps suddenly stop coming: stops the run before videos are lost
├── SkipVideo             permanent and normal: this video has no such thing       → `skipped: <reason>`
├── FailVideo             permanent and bad: the input is there but cannot be used → `failed: <reason>`
├── RetryVideo            transient: worth another attempt later                   → `retry: <reason>`
└── ThrottledError        nobody's fault: the host asks everybody to slow down; no attempt is counted
"""

from __future__ import annotations


class VsumdataError(Exception):
    """What a person sees of it is one line that names the remedy."""


class UsageError(VsumdataError):
    """The command, the root or the configuration is wrong; nothing was done."""


class ManifestError(UsageError):
    """A manifest or one of the lists it names is wrong."""


class Diverged(UsageError):
    """The loss, or what the weights answer, is no number any more."""


class SchemaError(VsumdataError):
    """A row or a file does not have the columns of its table."""


class StorageError(VsumdataError):
    """The root takes or gives no data; nobody's video is at fault, so the run stops."""


class ClusterError(VsumdataError):
    """Ray could not be started, or a worker could not start its work."""


class HeatmapCollapseError(VsumdataError):
    """Of the last videos far fewer have a heatmap than of those before them."""


class VideoError(VsumdataError):
    """One video's outcome, raised by a stage's function.

    `reason` is from `vsumdata.manifests.tables.REASONS`; `detail` is free text for a person.
    """

    outcome = "failed"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class SkipVideo(VideoError):
    """Permanent and normal: there is nothing to do for this video."""

    outcome = "skipped"


class FailVideo(VideoError):
    """Permanent and bad: the input exists and cannot be used."""


class RetryVideo(VideoError):
    """Transient: another attempt is worth it once `after_s` seconds have passed."""

    outcome = "retry"

    def __init__(self, reason: str, after_s: float = 300.0, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.args = (reason, after_s, detail)
        self.after_s = after_s


class ThrottledError(VsumdataError):
    """A host asks to slow down (bot wall, rate limit, 429): pause everybody, count nothing.

    `host` says which host; `after_s` is its own Retry-After where it gave one.
    """

    def __init__(self, host: str, detail: str = "", after_s: float | None = None) -> None:
        super().__init__(host, detail, after_s)
        self.host = host
        self.detail = detail
        self.after_s = after_s

    def __str__(self) -> str:
        return f"{self.host} asks to slow down: {self.detail}"
