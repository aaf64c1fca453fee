"""Ask a language model; a root keeps the answers, so that what was answered once is not paid for again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vsumdata.manifests.roots.folder import Folder, folder_at
from vsumdata.stages.curation.endpoint import EndpointChat
from vsumdata.stages.curation.local import LocalChat
from vsumdata.stages.curation.question import Chat, Question
from vsumdata.stages.stage import Context, safe_name

# An object store cannot append, so answers are put there so many at a time, and the last ones when the row ends.
PUT_EVERY = 16


class Answers:
    """The answers that one video has had, in `<root>/cache/answers/<table>`. Use it in a `with` block."""

    def __init__(self, context: Context, table: str, video_id: str) -> None:
        self.folder: Folder = folder_at(context.root).within(f"cache/answers/{table}")
        self.name = f"{safe_name(video_id)}.jsonl"
        self.found = dict(read_lines(self.folder.read(self.name) or b""))
        self.num_unsaved = 0

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        # Also after an error: the next try of the row begins with these.
        self.put()

    def add(self, key: str, answer: str) -> None:
        self.found[key] = answer
        # A full disk must not fail the video: its answers are only asked for again.
        with contextlib.suppress(OSError):
            if self.folder.objects is None:
                path = Path(self.folder.path, self.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:
                    # A line break first: a killed worker may have left half a line.
                    file.write(b"\n" + line(key, answer))
                return
        self.num_unsaved += 1
        if self.num_unsaved >= PUT_EVERY:
            self.put()

    def put(self) -> None:
        """Write all answers to an object store, if there are new ones."""
        if self.num_unsaved and self.folder.objects is not None:
            with contextlib.suppress(OSError):
                self.folder.write(self.name, b"\n".join(line(*pair) for pair in self.found.items()))
                self.num_unsaved = 0


def line(key: str, answer: str) -> bytes:
    return json.dumps([key, answer]).encode()


def read_lines(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the whole lines of a file of answers."""
    for each in content.splitlines():
        with contextlib.suppress(ValueError):
            match json.loads(each):
                case [str(key), str(answer)]:
                    yield key, answer


class Keeper:
    """A model whose answers are kept by video: it is asked only what it has not answered yet."""

    def __init__(self, chat: Chat, identity: str, table: str, context: Context) -> None:
        self.chat, self.identity, self.table, self.context = chat, identity, table, context

    def answers(self, video_id: str, questions: Iterable[Question]) -> list[str]:
        """Return the answers in the order of the questions. Raises what `Chat.ask` raises."""
        with Answers(self.context, self.table, video_id) as kept:
            keyed = [(question.key(self.identity), question) for question in questions]
            new = [(key, question) for key, question in dict(keyed).items() if key not in kept.found]
            for at, answer in self.chat.ask([question for _, question in new]):
                kept.add(new[at][0], answer)
                self.context.came_on()
            return [kept.found[key] for key, _ in keyed]


def open_chat(options: Mapping[str, Any], context: Context, table: str, *, sees: bool) -> Keeper:
    """Return the model of a table: at the endpoint that `context` names for it, else loaded from `chat_location`.

    `sees`: its questions have pictures. Raises UsageError if a local model cannot be loaded.
    """
    chat: Chat
    if table in context.endpoints:
        chat = EndpointChat(context.endpoints[table], options["chat_model"], context.pace)
    else:
        chat = LocalChat(options["chat_location"], context.device, context.threads, sees=sees)
    return Keeper(chat, options["chat_identity"], table, context)
