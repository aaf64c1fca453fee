"""Load a causal language model of any architecture, and choose what of it is trained.

A name is what `stages.encoders.models` takes for other models (a hub name, a local folder, `package:NAME/PATH`), or
`seed:N`: a small Llama of random weights that reads bytes, for tests and the sample. Its text means nothing.

Importing transformers takes seconds and peft more, so both are imported where they are needed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.hub import local_path
from vsumdata.stages.encoders.models import SEED, Model, resolve_transformer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SETTING = "model.llm"
Tuning = Literal["lora", "full", "adapter"]
# The same weights for other libraries, gigabytes in some repositories.
NOT_OURS = ("onnx/*", "*.onnx", "*.h5", "*.msgpack", "*.gguf", "original/*", "*.pth")


@dataclass(frozen=True, kw_only=True, eq=False)
class Language:
    """A language model with its tokenizer. `ends` are the ids that end an answer, the first of them is written."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    ends: tuple[int, ...]


def identity(name: str, lock: str = "") -> str:
    """What names the content of a language model, whatever its path. Raises UsageError if it cannot be had.

    Of a hub's model it is the revision that `lock` names, an identity of before, wherever its branch points now.
    """
    return name if SEED.fullmatch(name) else resolved(name, lock).identity


def resolved(name: str, lock: str) -> Model:
    try:
        return resolve_transformer(name, "", SETTING, lock)
    except UsageError as error:
        # The hub's own words are of a root's lock file.
        repository, at, revision = lock.partition("@")
        if not at or repository != name:
            raise
        raise UsageError(
            f"model.llm={name}: the run began with revision {revision}, which is not on this machine and cannot be "
            "fetched; copy it into the hub's cache, or train anew in another --out"
        ) from error


def load(name: str, dtype: Literal["auto", "float32", "bfloat16"], *, trained: bool, lock: str = "") -> Language:
    """Load a language model and its tokenizer. `trained` says that its own weights are to be trained.

    `lock` as in `identity`. Raises UsageError for a model that cannot be had, or that is no causal language model.
    """
    if SEED.fullmatch(name):
        model, tokenizer = seeded(int(name.removeprefix("seed:")))
    else:
        model, tokenizer = pretrained(name, _dtype(dtype, trained=trained), lock)
    ends = model.generation_config.eos_token_id if model.generation_config is not None else None
    listed = list(ends) if isinstance(ends, list | tuple) else [] if ends is None else [int(ends)]
    # A chat model's turn ends with another token than its texts; both end an answer, and the turn's is written.
    if tokenizer.eos_token_id is not None:
        listed = [tokenizer.eos_token_id, *listed]
    if not listed:
        raise UsageError(f"model.llm={name}: its tokenizer has no token that ends a text")
    return Language(model=model, tokenizer=tokenizer, ends=tuple(dict.fromkeys(listed)))


def _dtype(word: str, *, trained: bool) -> torch.dtype:
    if word == "auto":
        # Weights that are trained stay float32: small steps would vanish in bfloat16's eight bits.
        fast = not trained and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if word == "bfloat16" else torch.float32


def pretrained(name: str, dtype: torch.dtype, lock: str = "") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model in the layout of transformers. Raises UsageError."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as its_logging

    its_logging.disable_progress_bar()
    path = local_path(resolved(name, lock).location, but=NOT_OURS)
    folder = str(path.parent if path.is_file() else path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True, use_safetensors=True
        )
    # What transformers raises for a folder that holds something else; its texts have many lines.
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"model.llm={name} cannot be loaded as a causal language model: {first}") from error
    return model, tokenizer


def seeded(seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A small Llama of random weights, and a tokenizer whose tokens are the 256 bytes and `<s> </s> <pad>`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=259,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=258,
    )
    # The run's own seed must not change these weights, nor they the numbers drawn after them.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model, byte_tokenizer()


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer without merges, so that no version of `tokenizers` changes it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: at for at, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<s>", "</s>", "<pad>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def tuned(model: PreTrainedModel, tuning: Tuning, *, rank: int, alpha: int, dropout: float) -> nn.Module:
    """`model` with the weights frozen that `tuning` does not train; `lora` adds its matrices to every linear layer.

    Raises UsageError if peft is not installed.
    """
    if tuning == "full":
        return model
    model.requires_grad_(False)
    if tuning == "adapter":
        return model
    try:
        import peft
    except ImportError as error:
        raise UsageError(
            'model.tuning=lora needs peft; run `pip install "vsumdata[llm]"`, or set full or adapter'
        ) from (error)
    options = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none", target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers for an attribute that 5.23 calls deprecated.
        warnings.filterwarnings("ignore", category=FutureWarning)
        return peft.get_peft_model(model, options)


def say_random(name: str) -> str | None:
    """The note of a run whose language model has random weights."""
    return f"model.llm={name}: random weights, so its texts mean nothing" if SEED.fullmatch(name) else None
