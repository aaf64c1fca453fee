"""Models of transformers in the worker: tiny ones with random weights, saved and loaded as published ones are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.curation.local import LocalChat
from vsumdata.stages.curation.question import Question

SPECIAL = ["<s>", "</s>", "<pad>", "<image>"]
TEMPLATE = """{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}\
{% for part in m['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}\
{% endfor %}{% endif %}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"""


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """One token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={c: at for at, c in enumerate([*SPECIAL, *alphabet])}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    found = PreTrainedTokenizerFast(tokenizer_object=made, **names, extra_special_tokens=["<image>"])
    found.chat_template = template
    return found


def text_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer()),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writer")
    torch.manual_seed(0)
    model = LlamaForCausalLM(text_config())
    # As many published models: sampling by default, which must not reach us.
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def seer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seer")
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = LlavaConfig(vision_config=vision, text_config=text_config(), image_token_index=SPECIAL.index("<image>"))
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def jpeg(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "JPEG")
    return file.getvalue()


def test_the_writer_answers_as_greedy_decoding_does(writer: Path) -> None:
    chat = LocalChat(str(writer))
    question = Question(system="Be short.", text="What?", turns=(("No.", "Again."),), max_tokens=8)
    [(at, answer)] = chat.ask([question])
    prompt = "user: Be short.\n\nWhat?\nassistant: No.\nuser: Again.\nassistant: "
    reader, model = tokenizer(), LlamaForCausalLM.from_pretrained(writer).eval()
    ids: list[int] = reader(prompt, add_special_tokens=False)["input_ids"]
    new: list[int] = []
    while len(new) < 8 and (not new or new[-1] != 1):
        with torch.inference_mode():
            new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
    assert (at, answer) == (0, reader.decode(new, skip_special_tokens=True).strip())
    assert dict(chat.ask([question] * 2)) == {0: answer, 1: answer}


def test_the_captioner_sees_the_picture(seer: Path) -> None:
    chat = LocalChat(str(seer), sees=True)
    asked = [Question(text="What?", picture=jpeg(colour), max_tokens=12) for colour in ("red", "white", "red")]
    answers = [answer for _, answer in chat.ask(asked)]
    assert answers[0] == answers[2]
    assert answers[0] != answers[1], "random weights, but the picture counts"


def test_what_is_no_model(writer: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be loaded as a model for image-text-to-text"):
        LocalChat(str(writer), sees=True)
    torch.manual_seed(0)
    LlamaForCausalLM(text_config()).save_pretrained(tmp_path)
    tokenizer(template=None).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="no chat template"):
        LocalChat(str(tmp_path))
