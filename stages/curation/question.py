"""A question to a language model, and what any such model is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request to a model. `turns` are earlier answers of this talk, each with what was said to it."""

    text: str
    system: str = ""
    picture: bytes | None = None  # JPEG
    turns: tuple[tuple[str, str], ...] = ()
    schema: Mapping[str, Any] | None = None  # of a JSON answer, for servers that can hold the model to it
    max_tokens: int = 200

    def key(self, identity: str) -> str:
        """Hash all that the answer depends on; `identity` names the model."""
        picture = hashlib.sha256(self.picture).hexdigest() if self.picture is not None else None
        parts = [identity, self.system, self.text, picture, self.turns, self.schema, self.max_tokens]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "replace")).hexdigest()


class Chat(Protocol):
    """A language model."""

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Yield the number of each question with its answer, as the answers come.

        Raises the video errors of `vsumdata.manifests.errors`, ThrottledError and UsageError.
        """
        ...
