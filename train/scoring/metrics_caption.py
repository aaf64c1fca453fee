"""Caption metrics of the COCO evaluation: PTB tokens, BLEU-4, ROUGE-L and CIDEr.

The values of a test set are no means over videos, so each metric is statistics per video, their sum, and a value of the
sum (`Corpus`). Equal to pycocoevalcap 1.2, whose small constants are kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

ORDERS = 4
# pycocoevalcap adds these to the counts, so that a BLEU without any common 4-gram is small and not 0.
TINY, SMALL = 1e-15, 1e-9
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0

# Those with a bracket are words as well, so only a capital makes them abbreviations.
ABBREVIATIONS = (
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tues?|Wed|Thu(?:rs)?|Fri|"
    "Ala|Ariz|(?-i:A)z|(?-i:A)rk|Calif|Colo|Conn|Ct|Dak|(?-i:D)el|Fla|Ga|(?-i:I)ll|Ind|Kans?|Ky|(?-i:L)a|(?-i:M)ass|"
    "Md|Mich|Minn|(?-i:M)iss|Mo|Mont|Neb|Nev|Okla|(?-i:O)re|(?-i:P)a|Penn|Tenn|(?-i:T)ex|Va|Vt|(?-i:W)ash|Wisc?|Wyo|"
    "Inc|Cos?|Corp|Ltd|Plc|Rt|Bancorp|Dept|Bhd|Assn|Univ|Intl|Sys|"
    "Mr|Mrs|Ms|Drs?|Profs?|Sens?|Reps?|Attys?|Lt|Col|Gen|Messrs|Govs?|Adm|Rev|Maj|Sgt|Cpl|Pvt|Capt|Ste?|Ave|Pres|"
    "Lieut|Hon|Brig|Co?mdr|Pfc|Spc|Supts?|Det|Jr|Sr|Bros|(?:Ed|Ph)\\.D|Blvd|Rd|Esq|vs"
)
CONTRACTION = r"(?:'(?:s|m|d|re|ve|ll)(?![a-z]))"
WORD = r"[^\W_]"
TOKEN = re.compile(
    rf"""
    </?[a-z][^<>]*>
  | [a-z0-9][^\s"<>|()]*@(?:[^\s"<>|(){{}}.]+\.)*[^\s"<>|(){{}}.]+      # an address, and the comma after it
  | (?:https?://|www\.)[^\s"<>|()]+[^\s"<>|().,!?-]
  | [@\#][a-z_]\w*
  | (?:[a-z]\.){{2,}}(?:[a-z](?![a-z]))?
  | (?:{ABBREVIATIONS})\.(?=\s*[^\s.?!]|\.)
  | etc\.
  | (?<![\w.])\.\d+(?!\w)
  | (?-i:[A-HJ-Z])\.(?!\w)
  | can(?=not\b) | gon(?=na\b) | got(?=ta\b) | wan(?=na\b) | gim(?=me\b) | lem(?=me\b)
  | n't(?![a-z])
  | {CONTRACTION}
  | (?:\d+[ \xa0])?\d+[/⁄]\d+(?:-[a-z]+)*(?!\w)
  | [½¼¾⅓⅔]
  | (?:(?<!\w)[+-])?\d[\d,.:/-]*\d(?:(?:-{WORD}+)+|(?!\w)) | (?:(?<!\w)[+-])?\d+(?=[½¼¾⅓⅔])
  | (?:(?<!\w)[+-])\d+
  | {WORD}+?(?=n't(?![a-z]))
  | [a-z0-9]+(?:[-/&][a-z0-9]+)*(?:\.[a-z]+)+(?!\w)
  | (?<!\w)[a-z0-9]+(?:[-/&][a-z0-9]+)+(?!\w)
  | {WORD}+(?:-{WORD}+|'(?!(?:s|m|d|re|ve|ll)(?![a-z])){WORD}+)*
  | \.{{2,}} | -{{2,}} | [?!]+ | ([\#*])\1* | `` | \'\' | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)
DROPPED = {"''", "'", "``", "`", "?", "!", ",", ":", ";", '"', "\ufffd"}
SHOWN = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"} | {
    "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
}  # fmt: skip
PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "—": " -- ", "–": " -- ", "…": "..."})


def ptb_tokens(text: str) -> list[str]:
    """The words of `text` as Stanford's tokenizer cuts them, in lower case and without punctuation.

    A number with a fraction (`4 1/2`) is one token with a no-break space in it.
    """
    tokens = (match[0].lower().replace(" ", "\xa0") for match in TOKEN.finditer(text.translate(PLAIN)))
    return [
        SHOWN.get(token, token) for token in tokens if token not in DROPPED and token.strip(".") and token.strip("-")
    ]


Grams = Mapping[tuple[str, ...], int]
# The weight of each n-gram, the norms for n = 1 to 4, and the number of bigrams.
Weighed = tuple[Mapping[tuple[str, ...], float], np.ndarray, int]


def n_grams(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    """How often each sequence of one to four words is there."""
    # COCO joins the tokens and splits at any blank, so that `4 1/2` counts as two here (and as one in ROUGE-L).
    words = " ".join(tokens).split()
    return Counter(
        tuple(words[at : at + order]) for order in range(1, ORDERS + 1) for at in range(len(words) - order + 1)
    )


def _num_words(tokens: Sequence[str]) -> int:
    return len(" ".join(tokens).split())


def bleu_counts(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """BLEU's statistics of one text, float64 [10]: matches and n-grams for n = 1 to 4, its length, the reference's.

    The reference's length is the one closest to the hypothesis, the shorter of two equally close ones.
    """
    ours = n_grams(hypothesis)
    most: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        most |= n_grams(reference)
    matches = np.zeros(ORDERS)
    for gram, count in ours.items():
        matches[len(gram) - 1] += min(count, most[gram])
    length = _num_words(hypothesis)
    total = np.maximum(0, length - np.arange(ORDERS))
    closest = min((abs(num - length), num) for num in map(_num_words, references))[1]
    return np.concatenate([matches, total, [length, closest]]).astype(np.float64)


def bleu(counts: np.ndarray, order: int = ORDERS) -> np.ndarray:
    """BLEU in [0, 1] of summed statistics [..., 10]."""
    matches, total = counts[..., :order], counts[..., ORDERS : ORDERS + order]
    precision = np.prod((matches + TINY) / (total + SMALL), axis=-1) ** (1 / order)
    ratio = (counts[..., -2] + TINY) / (counts[..., -1] + SMALL)
    return precision * np.exp(np.minimum(0, 1 - 1 / ratio))


def rouge_l(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """COCO's ROUGE-L in [0, 1]: F of the best precision and the best recall over the references, β = 1.2."""
    common = [_longest_common(hypothesis, reference) for reference in references]
    precision = max((num / len(hypothesis) for num in common if hypothesis), default=0.0)
    recall = max((num / len(ref) for num, ref in zip(common, references, strict=True) if ref), default=0.0)
    if not precision or not recall:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for at, its in enumerate(other, 1):
            above = row[at]
            row[at] = diagonal + 1 if word == its else max(above, row[at - 1])
            diagonal = above
    return row[-1]


class Rarity:
    """How much each n-gram weighs: by how few videos' references have it. The set of videos must be whole."""

    def __init__(self, references: Sequence[Sequence[Grams]]) -> None:
        self._known = Counter(gram for its in references for gram in {gram for reference in its for gram in reference})
        self._log_videos = float(np.log(max(1, len(references))))

    def cider(self, hypothesis: Grams, references: Sequence[Grams]) -> float:
        """CIDEr of one text, in [0, 10]. In a set of a single video it is 0."""
        ours = self._weighed(hypothesis)
        return 10 * float(np.mean([_similarity(ours, self._weighed(reference)) for reference in references]))

    def _weighed(self, grams: Grams) -> Weighed:
        weights = {
            gram: count * (self._log_videos - float(np.log(max(1, self._known[gram])))) for gram, count in grams.items()
        }
        squares = np.zeros(ORDERS)
        for gram, weight in weights.items():
            squares[len(gram) - 1] += weight**2
        return weights, np.sqrt(squares), sum(count for gram, count in grams.items() if len(gram) == 2)


def _similarity(ours: Weighed, theirs: Weighed) -> float:
    products = np.zeros(ORDERS)
    for gram, weight in ours[0].items():
        other = theirs[0].get(gram, 0.0)
        products[len(gram) - 1] += min(weight, other) * other
    norms = ours[1] * theirs[1]
    cosine = np.divide(products, norms, out=products, where=norms > 0)
    return float(cosine.mean() * np.exp(-((ours[2] - theirs[2]) ** 2) / (2 * CIDER_SIGMA**2)))
