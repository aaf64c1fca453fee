"""V2Xum-LLM: what it learns on planted videos, and what training and answers cost.

    python tests/bench/training/language.py [--only learn|turned|words|importance|cost] [--steps N] [--json]

The planted videos have shots of 2 to 4 frames; the frames of high shots are the summary. A threshold on one frame's
signal comes to some .81 of F1, a random choice to .30. The language model is `seed:0` (N = 16) but in `cost`.

    learn       F1 of the model's own frames over training steps; beside it, how many answers are valid and their F1
                without the grammar
    turned      a trained model on videos whose features are turned: as it is, and after training the adapter alone
    words       texts that name the height of each shot, asked for with frames (V2VT): the share of sentences that are
                right, beside a control that is shown the features of another video
    importance  tau and rho of the frames' scores against the planted heights, by each kind of importance
    cost        a step of a random model of Qwen2.5-0.5B's shape at N = 100 (LoRA; on a CPU batch 1, on CUDA 32), its
                memory, tokens/s with and without the grammar, and answers/s in a batch against one by one
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from machine import report
from tests.train.language.language_kit import fitted, planted

from vsumdata.datasets.video import Video, collate

LEARN = ("objective.text_steps=0", "objective.both_steps=0", "model.importance=emitted", "micro_batch=null")
TRAIN, TEST = 512, 64
STEPS = (100, 200, 600, 2000)


def trained(out: Path, videos: Sequence[Video], steps: int, *sets: str, init: str | None = None) -> Any:
    """Train the preset `tiny` for about so many steps."""
    from vsumdata.train.settings import settings_of

    epochs = max(1, round(steps / (len(videos) / 16)))
    settings = settings_of("v2xum", "tiny", [f"epochs={epochs}", *LEARN, *sets])
    return fitted(out, settings, list(videos), init=init)


def f1(run: Any, videos: Sequence[Video]) -> float:
    """Mean F1 of the frames that the model itself chose."""
    from vsumdata.train.loop.predict import predict

    found = []
    for answer in predict(run, videos):
        found.append(overlap(answer.video, answer.frame_summary))
    return float(np.mean(found))


def overlap(video: Video, chosen: Any) -> float:
    """F1 of the chosen frames against the planted ones."""
    truth = np.asarray(video.gt_summary) > 0
    return float(2 * (truth & chosen).sum() / max(1, truth.sum() + chosen.sum()))


def free(run: Any, videos: Sequence[Video], most: int = 120) -> dict[str, float]:
    """Greedy answers without the grammar: the share that is valid, and F1 with 0 for the others."""
    import torch

    from vsumdata.train.language.answers import read
    from vsumdata.train.language.frame_indexes import summary_of_frames

    model, values, valid = run.model, [], 0
    with torch.no_grad():
        read_prompt = model.lm(inputs_embeds=model.prompt(collate(videos), "v"), use_cache=True, logits_to_keep=1)
        cache, logits, ids = read_prompt.past_key_values, read_prompt.logits[:, -1], []
        for _ in range(most):
            ids.append(logits.argmax(-1))
            logits = model.lm(input_ids=ids[-1][:, None], past_key_values=cache, use_cache=True).logits[:, -1]
    for row, video in zip(torch.stack(ids, 1).tolist(), videos, strict=True):
        ended = row[: row.index(model.ends[0])] if model.ends[0] in row else None
        try:
            indexes = [] if ended is None else [i for its in read(ended, model.codec, model.decode).lists for i in its]
        except ValueError:
            indexes = []
        is_valid = bool(indexes) and indexes == sorted(set(indexes))
        valid += is_valid
        num = len(video.frame_time_s)
        values.append(overlap(video, summary_of_frames(indexes if is_valid else [], model.codec.frames, num)))
    return {"valid": valid / len(videos), "F1": float(np.mean(values))}


def learn(folder: Path, steps: Sequence[int] = STEPS) -> dict[str, Any]:
    test = planted(TEST, seed=1)
    found: dict[str, Any] = {}
    for num in steps:
        begun = time.process_time()
        run = trained(folder / f"learn-{num}", planted(TRAIN), num)
        seconds = time.process_time() - begun
        found[str(num)] = {"F1": f1(run, test), "free": free(run, test), "cpu_s": round(seconds, 1)}
    return found


def turned(folder: Path, steps: int = 600, more: int = 150) -> dict[str, float]:
    others, test = planted(TRAIN, seed=2, turned=1), planted(TEST, seed=3, turned=1)
    first = trained(folder / "first", planted(TRAIN), steps)
    # As a pretrained model, frozen, in front of which an adapter is trained from random weights.
    first.model.lm.save_pretrained(folder / "llm")
    first.model.tokenizer.save_pretrained(folder / "llm")
    sets = (f"model.llm={folder / 'llm'}", "model.tuning=adapter", "optimizer.lr=0.01")
    adapted = trained(folder / "adapted", others, more, *sets)
    return {"own": f1(first, planted(TEST, seed=1)), "turned": f1(first, test), "adapter alone": f1(adapted, test)}


def words(folder: Path, steps: int = 2000) -> dict[str, float]:
    """The share of written sentences that name the height of the shot that they refer to."""
    test = planted(TEST, seed=1, words=True)
    found: dict[str, float] = {}
    train = planted(TRAIN, words=True)
    # Each video with the features of the next one: what is left is what texts alone tell.
    blind = [replace_feature(video, train[(at + 1) % TRAIN]) for at, video in enumerate(train)]
    for name, videos in (("frames", train), ("text alone", blind)):
        sets = ("objective.video_steps=0", "objective.both_steps=1", "objective.answers=given", "model.text_tokens=80")
        run = trained(folder / name, [with_words(video) for video in videos], steps, *sets)
        found[name] = right_words(run, test)
    return found


def replace_feature(video: Video, other: Video) -> Video:
    return replace(video, frame_feature=other.frame_feature)


def with_words(video: Video) -> Video:
    """A summary in words of the three first shots: what each is like, and its frames."""
    said = []
    for sentence in video.sentence[:3]:
        times = [float(t) for t in video.frame_time_s if sentence["start_s"] <= t < sentence["end_s"]]
        said.append({"text": sentence["text"], "time_s": times})
    return replace(video, summary=said)


def right_words(run: Any, videos: Sequence[Video]) -> float:
    from vsumdata.train.loop.predict import predict

    right = total = 0
    for answer in predict(run, videos, words="b"):
        for sentence in answer.summary or ():
            frames = [int(t) for t in sentence["time_s"]]
            if frames:
                total += 1
                high = bool(np.mean(np.asarray(answer.video.gt_summary)[frames]) > 0.5)
                right += ("high" in sentence["text"]) == high and ("low" in sentence["text"]) != high
    return right / max(1, total)


def importance(folder: Path, steps: int = 2000) -> dict[str, Any]:
    from vsumdata.train.loop.predict import predict

    test = planted(TEST, seed=1)
    found: dict[str, Any] = {}
    run = trained(folder / "importance", planted(TRAIN), steps)
    for name, num in (("emitted", 1), ("grid", 1), ("samples", 4), ("samples", 8), ("samples", 16)):
        run.model.options = run.model.options.model_copy(update={"importance": name, "samples": num})
        pairs = [(answer.frame_score, answer.video.gt_score) for answer in predict(run, test)]
        tau = [stats.kendalltau(*pair).statistic for pair in pairs]
        rho = [stats.spearmanr(*pair).statistic for pair in pairs]
        label = f"samples {num}" if name == "samples" else name
        found[label] = {"tau": float(np.nanmean(tau)), "rho": float(np.nanmean(rho))}
    return found


def cost(folder: Path) -> dict[str, Any]:
    """A step and answers of a random model in the shape of Qwen2.5-0.5B, N = 100."""
    import torch

    from vsumdata.train.language import decode
    from vsumdata.train.language.model import V2Xum, V2XumOptions

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = V2Xum(V2XumOptions(llm=str(qwen(folder)), template="vicuna"), 512).to(device)
    # On a CPU a call takes minutes: each is made once, without another to warm up.
    batch_size, rounds = (32, 5) if device == "cuda" else (1, 1)
    rng = np.random.default_rng(0)
    videos = [
        Video(
            video_id=f"v{at}",
            frame_time_s=np.arange(200, dtype=np.float32),
            frame_feature=rng.normal(size=(200, 512)).astype(np.float32),
        )
        for at in range(max(batch_size, 4))
    ]
    batch = collate(videos[:batch_size]).to(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4, fused=True)
    ids = [[*model.codec.listed(range(0, 60, 4)), model.ends[0]]] * batch_size

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss, num = model.nll(model.prompt(batch, "v"), ids)
        optimizer.zero_grad()
        (loss / num).backward()
        optimizer.step()

    found: dict[str, Any] = {"device": device, "batch": batch_size, "positions": len(model.prompts["v"].layout.token)}
    found["step_s"] = median_of(step, rounds)
    peak = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    found["peak_gb"] = round(peak / 1e9, 2)
    progress(found)
    model.eval()
    few = collate(videos[:4]).to(device)
    grammar = model.grammar("v")
    answers: Any = None

    def write() -> None:
        nonlocal answers
        answers = decode.write(model.lm, model.prompt(few, "v"), grammar, [[None]] * 4)

    together = median_of(write, rounds)
    num_tokens = sum(len(row[0].ids) for row in answers)
    progress(found | {"answers_per_s_batch_4": 4 / together, "tokens_per_s": num_tokens / together})
    singles = [collate([video]).to(device) for video in videos[:4]]
    alone = median_of(
        lambda: [decode.write(model.lm, model.prompt(one, "v"), grammar, [[None]]) for one in singles], rounds
    )
    progress({"answers_per_s_one_by_one": 4 / alone})
    longest = max(len(row[0].ids) for row in answers)
    plain = median_of(lambda: greedy(model, model.prompt(few, "v"), longest), rounds)
    found |= {
        "tokens_per_s": num_tokens / together,
        "tokens_per_s_without_grammar": 4 * longest / plain,
        "answers_per_s_batch_4": 4 / together,
        "answers_per_s_one_by_one": 4 / alone,
    }
    return found


def progress(found: Mapping[str, Any]) -> None:
    """Tell what is known so far: a run that is cut off has not been for nothing."""
    print(json.dumps(found), file=sys.stderr, flush=True)


def greedy(model: Any, prompt: Any, num: int) -> None:
    import torch

    with torch.no_grad():
        read = model.lm(inputs_embeds=prompt, use_cache=True, logits_to_keep=1)
        logits = read.logits[:, -1]
        for _ in range(num):
            token = logits.argmax(-1)[:, None]
            logits = model.lm(input_ids=token, past_key_values=read.past_key_values, use_cache=True).logits[:, -1]


def median_of(call: Any, rounds: int) -> float:
    if rounds > 1:
        call()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def qwen(folder: Path) -> Path:
    """A random model in the shape of Qwen2.5-0.5B, with the byte tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from vsumdata.train.language.load import byte_tokenizer

    config = AutoConfig.for_model(
        "qwen2", hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, vocab_size=151936, max_position_embeddings=32768, tie_word_embeddings=True,
        bos_token_id=256, eos_token_id=257, pad_token_id=258,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "qwen")
    byte_tokenizer().save_pretrained(folder / "qwen")
    return folder / "qwen"


SECTIONS: Mapping[str, Callable[..., Mapping[str, Any]]] = {
    "learn": learn,
    "turned": turned,
    "words": words,
    "importance": importance,
    "cost": cost,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SECTIONS, help="default: all")
    parser.add_argument("--steps", type=int, help="training steps of a section, instead of its own")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    for name in [options.only] if options.only else SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            given: Any = {} if options.steps is None or name == "cost" else {"steps": options.steps}
            if name == "learn" and given:
                given = {"steps": (options.steps,)}
            found[name] = SECTIONS[name](Path(folder), **given)
        if not options.json:
            print(name, json.dumps(found[name], indent=1))
    if options.json:
        print(json.dumps(report("language", found), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
