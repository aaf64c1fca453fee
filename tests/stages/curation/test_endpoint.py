"""Chat completions over real HTTP: what is sent, and what becomes of every other kind of answer."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.stages.curation.chat_kit import Body, Model, Reply, said, serving, text_of

from vsumdata.manifests.errors import FailVideo, RetryVideo, ThrottledError, UsageError
from vsumdata.stages.curation import endpoint
from vsumdata.stages.curation.endpoint import EndpointChat
from vsumdata.stages.curation.question import Question
from vsumdata.stages.stage import Endpoint

KEY = "sk-very-secret-0123456789"
PLAIN = Question(text="What?")


@pytest.fixture
def model() -> Iterator[Model]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait between two tries of a request; the tries themselves are real."""
    monkeypatch.setattr(endpoint, "BACKOFF_S", 0.001)


def chat(model: Model, **changes: Any) -> EndpointChat:
    return EndpointChat(Endpoint(url=model.url, key=KEY, **{"timeout_s": 5.0} | changes), "tiny")


def answers(of: EndpointChat, *questions: Question) -> list[str]:
    return [answer for _, answer in sorted(of.ask(questions))]


def test_what_is_sent(model: Model) -> None:
    question = Question(
        text="Say it.",
        system="Be short.",
        picture=b"\xff\xd8jpeg",
        turns=(("No.", "Do."),),
        schema={"type": "object"},
        max_tokens=7,
    )
    assert answers(chat(model), question) == ["A word."]
    [body] = model.asked
    assert model.paths == ["/v1/chat/completions"]
    assert model.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert {name: body[name] for name in ("model", "temperature", "seed", "max_tokens", "stream")} == {
        "model": "tiny", "temperature": 0, "seed": 0, "max_tokens": 7, "stream": False,
    }  # fmt: skip
    system, user, assistant, last = body["messages"]
    assert (system["content"], assistant["content"], last["content"]) == ("Be short.", "No.", "Do.")
    url = user["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/jpeg;base64,")) == question.picture
    assert user["content"][1] == {"type": "text", "text": "Say it."}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_answers_come_to_their_questions_and_several_are_asked_at_once(model: Model) -> None:
    together = threading.Barrier(3)

    def reply(body: Body) -> Reply:
        together.wait(timeout=20)  # passes only if three requests are under way at the same time
        return said(text_of(body).upper())

    model.reply = reply
    words = [f"word {number}" for number in range(6)]
    found = answers(chat(model, requests_at_once=3), *(Question(text=word) for word in words))
    assert found == [word.upper() for word in words]
    assert model.most_at_once == 3


def test_each_request_takes_its_turn(model: Model) -> None:
    turns: list[tuple[str, float]] = []
    own = Endpoint(url=model.url, seconds_between_requests=0.5)
    paced = EndpointChat(own, "tiny", lambda host, interval_s: turns.append((host, interval_s)))
    answers(paced, PLAIN, Question(text="And?"))
    assert turns == [(own.host, 0.5)] * 2
    assert own.host == model.url.split("/")[2]


def test_429_is_nobodys_fault(model: Model) -> None:
    model.reply = lambda body: (429, {"Retry-After": "7"}, b"slow down")
    with pytest.raises(ThrottledError) as caught:
        answers(chat(model), PLAIN)
    assert (caught.value.host, caught.value.after_s) == (model.url.split("/")[2], 7.0)
    assert len(model.asked) == 1, "it is not asked again at once"


@pytest.mark.parametrize(
    "reply",
    [
        (500, {}, b"oops"),
        (200, {"Content-Type": "text/html"}, b"<html><title>Welcome</title></html>"),
        (200, {}, b""),
        (200, {}, b'{"choices": []}'),
        (200, {}, b'{"choices": [{"message": {"content": null}}]}'),
        (200, {}, b"[" * 100_000),
        (200, {}, b'{"error": "out of memory"}'),
        (200, {}, b"x" * 3_000_000),
        (200, {"Content-Length": "5000"}, b"cut off"),
    ],
)
def test_garbage_is_tried_again_and_then_later(model: Model, reply: Reply) -> None:
    model.reply = lambda body: reply
    with pytest.raises(RetryVideo) as caught:
        answers(chat(model, timeout_s=0.5 if b"cut" in reply[2] else 5.0), PLAIN)
    assert caught.value.reason == "transient"
    assert len(model.asked) == endpoint.ATTEMPTS
    model.reply = lambda body: said("Better.")
    assert answers(chat(model), PLAIN) == ["Better."]


def test_an_overloaded_server_says_when_to_come_again(model: Model) -> None:
    model.reply = lambda body: (503, {"Retry-After": "90"}, b"loading the model")
    with pytest.raises(RetryVideo) as caught:
        answers(chat(model), PLAIN)
    assert (caught.value.after_s, len(model.asked)) == (90.0, 1)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_server_that_never_answers_is_given_up(model: Model, begun: bytes) -> None:
    """Neither by silence nor by a byte now and then may it hold a worker."""
    ended = threading.Event()

    def raw(out: Any) -> None:
        out.write(begun)
        while not ended.wait(0.05):
            out.write(b"x" if begun else b"")

    model.raw = raw
    with pytest.raises(RetryVideo) as caught:
        answers(chat(model, timeout_s=0.3), PLAIN)
    ended.set()
    assert caught.value.reason == "transient"
    assert len(model.asked) == endpoint.ATTEMPTS


@pytest.mark.parametrize(("status", "word"), [(401, "key_variable"), (404, "address"), (302, "redirect")])
def test_what_no_other_video_would_pass_stops_the_run(model: Model, status: int, word: str) -> None:
    model.reply = lambda body: (status, {"Location": "https://elsewhere.example/"}, f"bad key {KEY}".encode())
    with pytest.raises(UsageError, match=word) as caught:
        answers(chat(model), PLAIN)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(model.asked) == 1


def test_a_refused_request_is_that_videos_failure(model: Model) -> None:
    model.reply = lambda body: (400, {}, b'{"error": "too many tokens"}')
    with pytest.raises(FailVideo, match="too many tokens") as caught:
        answers(chat(model), PLAIN)
    assert caught.value.reason == "refused"


def test_a_server_without_schemas_is_asked_without(model: Model) -> None:
    model.reply = lambda body: (400, {}, b"unknown field") if "response_format" in body else said('{"keep": []}')
    asked, question = chat(model), Question(text="Which?", schema={"type": "object"})
    assert answers(asked, question) == ['{"keep": []}']
    assert answers(asked, question) == ['{"keep": []}']
    assert ["response_format" in body for body in model.asked] == [True, False, False], "known after the first time"


def test_what_is_under_way_when_one_fails_is_not_lost(model: Model) -> None:
    failed = threading.Event()

    def reply(body: Body) -> Reply:
        if text_of(body) == "bad":
            failed.set()
            return 400, {}, b"no"
        failed.wait(20)
        return said("paid for")

    model.reply = reply
    found: list[tuple[int, str]] = []
    questions = [Question(text=text) for text in ("good", "bad", *map(str, range(20)))]
    with pytest.raises(FailVideo):
        found.extend(chat(model, requests_at_once=2).ask(questions))
    assert found[0] == (0, "paid for")
    assert len(model.asked) < 10, "little more is asked after an error"


def test_thoughts_and_parts(model: Model) -> None:
    model.reply = lambda body: said("<think>Let me see: {1}</think>\n A cat. ")
    assert answers(chat(model), PLAIN) == ["A cat."]
    model.reply = lambda body: said([{"type": "text", "text": "A "}, {"type": "text", "text": "dog."}])
    assert answers(chat(model), PLAIN) == ["A dog."]


def test_check_says_what_to_do(model: Model) -> None:
    endpoint.check(Endpoint(url=model.url), "summaries.writer")
    assert model.asked == []
    gone = Endpoint(url="http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match=r"summaries\.writer: http://127\.0\.0\.1:9/v1 is not reached .*start the"):
        endpoint.check(gone, "summaries.writer")


def test_a_key_is_not_shown() -> None:
    assert KEY not in repr(Endpoint(url="http://x/v1", key=KEY))
