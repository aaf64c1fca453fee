"""The section `summaries` of a manifest: how summaries are made, and the models that are asked for them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from vsumdata.manifests.sections.section import Section


class ChatModel(Section):
    """A model that answers chat messages: at an endpoint, or loaded by each worker."""

    endpoint: str | None = Field(
        None,
        description="address of an OpenAI-compatible server with its version, as `http://127.0.0.1:8000/v1`",
    )
    model: str | None = Field(None, min_length=1, description="the name by which the endpoint knows the model")
    revision: str = Field("", description="of the endpoint's model, in your words; another one makes the rows again")
    key_variable: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="name of the environment variable that holds the endpoint's key; the key itself is never stored",
    )
    local: str | None = Field(
        None, min_length=1, description="instead of an endpoint: a transformers model by hub name, path or package:…"
    )
    timeout_s: float = Field(120, gt=0, description="how long an endpoint's answer may take (seconds)")
    seconds_between_requests: float = Field(
        0, ge=0, description="least time between two requests to the endpoint (seconds)"
    )
    requests_at_once: int = Field(4, ge=1, le=64, description="requests of a video at the same time")

    @model_validator(mode="after")
    def _one_place(self) -> ChatModel:
        if self.endpoint is not None and self.local is not None:
            raise ValueError("a model is at an endpoint or local, not both")
        if self.endpoint is None:
            # A stored manifest may spell out the defaults.
            if self.local is None and self.model_dump(exclude_defaults=True):
                raise ValueError("name an endpoint or a local model")
            return self
        if self.model is None:
            raise ValueError("`endpoint` needs `model`, the name by which it knows the model")
        check_endpoint(self.endpoint)
        return self

    @property
    def is_given(self) -> bool:
        return self.endpoint is not None or self.local is not None


def check_endpoint(address: str) -> None:
    """Raise ValueError for an address that is none of a server, or that may hold a key."""
    # Neither error repeats the address: what is wrong with it may be the key in it.
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an endpoint is an http or https address, as http://127.0.0.1:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("an endpoint's address has no user, no password and no query: name the key in key_variable")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError("the port of an endpoint is a number up to 65535") from error


# The model and layer of BERTScore for English, on whose scale the paper's .93 stands.
SCORER, SCORER_LAYER, MAX_SIMILARITY = "roberta-large", 17, 0.93


class Similarity(Section):
    """BERTScore, by which captions that repeat an earlier one are dropped."""

    model: str = Field(
        SCORER, min_length=1, description="the encoder of BERTScore: a hub name, path or package:NAME/PATH"
    )
    layer: int | None = Field(
        None, ge=1, description=f"its layer; null: {SCORER_LAYER} of {SCORER}, the last of any other"
    )
    max: float | None = Field(
        None,
        gt=0,
        le=1,
        description=f"a caption whose F1 with a kept one is larger is dropped; null: {MAX_SIMILARITY} with {SCORER}; "
        "any other model needs its own value",
    )

    @model_validator(mode="after")
    def _scale(self) -> Similarity:
        if self.max is None and (self.model, self.layer or SCORER_LAYER) != (SCORER, SCORER_LAYER):
            raise ValueError(f"`max` is missing: {MAX_SIMILARITY} is on the scale of {SCORER} alone")
        return self


class Summaries(Section):
    method: Literal["llm", "steps", "sentences"] = Field(
        "steps",
        description="llm: captions of frames, chosen and rewritten; steps: the article's steps, aligned with what is "
        "said; sentences: the most replayed sentences. The last two need no model",
    )
    captioner: ChatModel = Field(ChatModel(), description="the vision-language model of `frame_captions`")
    writer: ChatModel = Field(ChatModel(), description="the language model of the method `llm`")
    similarity: Similarity = Field(Similarity(), description="how the method `llm` tells repeats")
    same: float = Field(
        0.98,
        gt=0,
        le=1,
        description="a frame whose cosine with the last captioned one is this or more takes over its caption",
    )
    picture_px: int = Field(336, ge=64, le=2048, description="side of the square picture that the captioner gets")
    share: float = Field(0.16, gt=0, le=0.5, description="share of the captions that the writer is asked to keep")
    window: int = Field(300, ge=10, description="captions that the writer gets at a time")
    min_replay: float = Field(
        0.15, ge=0, le=1, description="frames of a step or sentence with this replay score or more are its frames"
    )
    most_sentences: int = Field(10, ge=1, description="sentences of a summary by the method `sentences`, at most")
    min_duration_s: float = Field(40, ge=0, description="a shorter video gets no summary (seconds)")
    max_duration_s: float = Field(940, gt=0, description="a longer video gets no summary (seconds)")
    max_ratio: float = Field(
        0.5, gt=0, le=1, description="largest share of its frames in a summary; above, the video gets none"
    )

    @model_validator(mode="after")
    def _has_models(self) -> Summaries:
        if self.method == "llm":
            for name in ("captioner", "writer"):
                if not getattr(self, name).is_given:
                    raise ValueError(f"the method llm needs summaries.{name}: give its `endpoint` or `local`")
        return self
