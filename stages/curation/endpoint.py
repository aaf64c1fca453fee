"""A language model behind an OpenAI-compatible server (chat completions): vLLM, llama.cpp, Ollama, a provider's.

The address comes from the user's own manifest, so this machine and private networks are allowed, unlike for pages. The
rest is as for any host: paced, 429 opens its breaker, what may pass is tried again, size and time are limited.
Redirects are not followed: they would carry the key elsewhere.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from urllib3.exceptions import HTTPError

from vsumdata.manifests.errors import FailVideo, RetryVideo, ThrottledError, UsageError, VsumdataError
from vsumdata.stages.curation.question import Question
from vsumdata.stages.stage import Endpoint
from vsumdata.stages.web.answers import PassingError, retry_after_s
from vsumdata.stages.web.connections import Session, TimedPool, TimedSecurePool, cut_off_after
from vsumdata.stages.web.fetch import user_agent

CONNECT_S = 10.0
# An answer of a few hundred words; what is larger is none.
MOST_BYTES = 1_000_000
ATTEMPTS = 3
BACKOFF_S = 2.0
SHOWN = 200  # characters of an unexpected answer
THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
# They mean that the address, the key or the model is wrong: every other request would be answered the same.
WRONG_SETUP = {
    401: "check the key that `key_variable` names",
    403: "check the key that `key_variable` names, and what it allows",
    404: "check the address (it ends with its version, as /v1) and the model's name",
    405: "check the address",
}


class TimedAdapter(HTTPAdapter):
    """An adapter that limits the whole time of an answer's head, not only the silence."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": TimedPool, "https": TimedSecurePool}


class EndpointChat:
    """The model `model` of an endpoint. `pace` waits for the turn of a host."""

    def __init__(self, endpoint: Endpoint, model: str, pace: Callable[..., Any] | None = None) -> None:
        self.endpoint, self.model, self.pace = endpoint, model, pace
        self.url = f"{endpoint.url.rstrip('/')}/chat/completions"
        self.takes_schema = True
        self.backoff_s = BACKOFF_S
        self.session = Session()
        # Else requests would replace the key by what ~/.netrc has for the host.
        self.session.trust_env = False
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.session.proxies = get_environ_proxies(self.url)
        self.session.headers.update({"User-Agent": user_agent(), "Accept": "application/json"})
        if endpoint.key:
            self.session.headers["Authorization"] = f"Bearer {endpoint.key}"
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, TimedAdapter(pool_maxsize=endpoint.requests_at_once))

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Yield the number of each question with its answer, several requests at a time.

        After an error nothing more is asked; what is under way is still yielded, for it is paid for. Raises
        ThrottledError (429), RetryVideo `transient` (5xx, time-outs, what is no completion), FailVideo `refused` (other
        4xx), UsageError (wrong address, key or model).
        """
        waiting: dict[Future[str], int] = {}
        failed: VsumdataError | None = None
        with ThreadPoolExecutor(self.endpoint.requests_at_once, thread_name_prefix="endpoint") as pool:
            following = iter(enumerate(questions))
            while True:
                while failed is None and len(waiting) < self.endpoint.requests_at_once:
                    if (item := next(following, None)) is None:
                        break
                    # In this thread: the pace counts for the row in work, and may end it.
                    if self.pace is not None:
                        self.pace(self.endpoint.host, self.endpoint.seconds_between_requests)
                    waiting[pool.submit(self.answer, item[1])] = item[0]
                if not waiting:
                    break
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    at, error = waiting.pop(future), future.exception()
                    if error is None:
                        yield at, future.result()
                    elif isinstance(error, VsumdataError):
                        failed = failed or error
                    else:
                        raise error
        if failed is not None:
            raise failed

    def answer(self, question: Question) -> str:
        """Ask one question; try again what may have passed in seconds."""
        retrying = Retrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=self.backoff_s, max=30, jitter=self.backoff_s),
            reraise=True,
        )
        try:
            return retrying(self.exchange, question, self.takes_schema)
        except FailVideo:
            if question.schema is None or not self.takes_schema:
                raise
        # Older servers refuse a request that asks for JSON by a schema. The prompt asks for JSON as well.
        found: str = retrying(self.exchange, question, False)
        self.takes_schema = False
        return found

    def exchange(self, question: Question, with_schema: bool) -> str:
        """Send one request and read its answer. Raises what `ask` does."""
        deadline_s = time.monotonic() + self.endpoint.timeout_s
        timeout = (min(CONNECT_S, self.endpoint.timeout_s), self.endpoint.timeout_s)
        body = request_of(question, self.model, with_schema)
        try:
            with self.session.post(self.url, json=body, timeout=timeout, stream=True, allow_redirects=False) as reply:
                content = bytearray()
                with cut_off_after(max(0.0, deadline_s - time.monotonic()), reply.raw.connection):
                    while len(content) <= MOST_BYTES and (piece := reply.raw.read1(65_536, decode_content=True)):
                        content += piece
        except (requests.RequestException, HTTPError, OSError) as error:
            raise PassingError("transient", detail=self.shown(f"{self.url}: {error}")) from error
        said = bytes(content[:MOST_BYTES]).decode("utf-8", "replace")
        if reply.status_code != 200:
            self.raise_for_status(reply, said)
        found = completion(said)
        if found is None:
            raise PassingError("transient", detail=self.shown(f"{self.url} sent no chat completion: {said}"))
        return found

    def raise_for_status(self, reply: requests.Response, said: str) -> None:
        status, after_s = reply.status_code, retry_after_s(reply.headers.get("Retry-After"))
        detail = self.shown(f"{self.url} answered {status}: {said}")
        if status == 429:
            raise ThrottledError(self.endpoint.host, detail, after_s)
        if 300 <= status < 400:
            raise UsageError(f"{self.url} answered {status}, a redirect: give the address that it leads to")
        if status in WRONG_SETUP:
            raise UsageError(f"{detail}; {WRONG_SETUP[status]}")
        if 400 <= status < 500 and status not in (408, 425):
            raise FailVideo("refused", detail)
        if after_s is not None:
            raise RetryVideo("transient", after_s, detail)
        raise PassingError("transient", detail=detail)

    def shown(self, text: str) -> str:
        """The beginning of a text in one line, without the key, which some servers repeat."""
        text = text.replace(self.endpoint.key, "(hidden)") if self.endpoint.key else text
        return " ".join(text.split())[: len(self.url) + SHOWN]


def request_of(question: Question, model: str, with_schema: bool) -> dict[str, Any]:
    """The body of a request: temperature 0 and a fixed seed, so that the same question has the same answer."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": question.system}] if question.system else []
    content: Any = question.text
    if question.picture is not None:
        data = f"data:image/jpeg;base64,{base64.b64encode(question.picture).decode()}"
        content = [{"type": "image_url", "image_url": {"url": data}}, {"type": "text", "text": question.text}]
    messages.append({"role": "user", "content": content})
    for answer, reply in question.turns:
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": reply}]
    body = {
        "model": model,
        "messages": messages,
        "temperature": 0,
        "seed": 0,
        "max_tokens": question.max_tokens,
        "stream": False,
    }
    if question.schema is not None and with_schema:
        schema = {"name": "answer", "strict": True, "schema": question.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def completion(content: str) -> str | None:
    """The text of a chat completion; None for anything else."""
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    # RecursionError: thousands of opening brackets.
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if isinstance(text, list):
        text = "".join(part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str))
    # A model that thinks aloud may do so in its answer.
    return THOUGHT.sub("", text).strip() if isinstance(text, str) else None


def check(endpoint: Endpoint, setting: str) -> None:
    """Raise UsageError if nobody answers at an endpoint; `setting` names it for a person. Sends no request."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(endpoint.url)
    # Through a proxy, a connection of our own says nothing.
    if get_environ_proxies(endpoint.url):
        return
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    try:
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_S).close()
    except OSError as error:
        raise UsageError(
            f"{setting}: {endpoint.url} is not reached ({error}): start the server, or correct the address"
        ) from error
