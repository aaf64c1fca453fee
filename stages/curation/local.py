"""A language model of transformers in the worker's own process, with pictures (image-text-to-text) or without."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.curation.question import Question
from vsumdata.stages.encoders.hub import local_path
from vsumdata.stages.encoders.text import NOT_OURS, PICKLED


class LocalChat:
    """The model at `location`, as `models.resolve_transformer` gives it. `sees`: it takes pictures.

    Raises UsageError if it cannot be loaded or has no chat template.
    """

    def __init__(self, location: str, device: str = "cpu", threads: int = 1, *, sees: bool = False) -> None:
        import torch
        import transformers
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        path = local_path(location, but=(*NOT_OURS, *([PICKLED] if "safetensors" in location else [])))
        folder = str(path.parent if path.is_file() else path)
        reader = transformers.AutoProcessor if sees else transformers.AutoTokenizer
        model = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
        # On a CPU float32: many have no fast half precision.
        dtype: Any = "auto" if device.startswith("cuda") else torch.float32
        try:
            self.reader: Any = reader.from_pretrained(folder, local_files_only=True)
            loaded: Any = model.from_pretrained(folder, local_files_only=True, dtype=dtype)
        except (OSError, ValueError, KeyError) as error:
            kind = "image-text-to-text" if sees else "text-generation"
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UsageError(f"{location} cannot be loaded as a model for {kind}: {first}") from error
        self.model = loaded.to(device).eval()
        if not getattr(self.reader, "chat_template", None):
            raise UsageError(f"{location} has no chat template: choose a model that was trained on instructions")
        own, tokenizer = self.model.generation_config, getattr(self.reader, "tokenizer", self.reader)
        known = (own.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
        pad = next((each for each in known if each is not None), None)
        eos = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        # In the place of the model's own settings, from which `generate` fills what a given config leaves open (seen
        # with transformers 5.23): some sample, or punish repetitions, which lists of numbers are full of.
        self.model.generation_config = transformers.GenerationConfig(
            do_sample=False, eos_token_id=eos, pad_token_id=pad
        )

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        """Yield the number of each question with its answer, one after the other."""
        for at, question in enumerate(questions):
            yield at, self.answer(question)

    def answer(self, question: Question) -> str:
        import torch

        inputs = self.reader.apply_chat_template(
            messages_of(question),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        with torch.inference_mode():
            made = self.model.generate(**inputs, max_new_tokens=question.max_tokens)
        return str(self.reader.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def messages_of(question: Question) -> list[dict[str, Any]]:
    """The talk as chat templates take it; `system` stands in the first message, for some templates know no system."""
    text = f"{question.system}\n\n{question.text}" if question.system else question.text
    content: Any = text
    if question.picture is not None:
        from PIL import Image

        picture = Image.open(io.BytesIO(question.picture))
        content = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    for answer, reply in question.turns:
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": reply}]
    return messages
