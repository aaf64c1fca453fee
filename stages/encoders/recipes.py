"""Feature recipes: what turns pictures or texts into vectors, as values.

Roots, the trainer and `summarize` share them. A manifest names the pictures' recipe by `features.clip.model`: an
open_clip architecture, or one of `PICTURES`; the texts' recipe is S-BERT by any name. The files of a benchmark hold
features that others made: the run that is trained on them remembers the recipe by its name, and `summarize` follows it
for a new video. `known` says how far that gives the released files' numbers.

No model library is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

GOOGLENET, COLOURS, INCEPTION, BLISS_CLIP = "googlenet-pool5", "colour-histograms", "inception-yt8m", "bliss-clip"
ROBERTA = "roberta-a2summ"
IMAGENET = "imagenet"


@dataclass(frozen=True, kw_only=True)
class FeatureRecipe:
    """How features are made. `dim` None: the model's own; `fps` None: the manifest's.

    `weights` is what `features.clip.weights` or `features.text.model` says where nobody says otherwise. `refused` is
    why the features cannot be made here, "" where they can.
    """

    name: str
    title: str
    dim: int | None
    fps: float | None
    preprocessing: str
    weights: str
    weights_from: str
    pooling: str
    normalisation: str
    known: str
    refused: str = ""


class PictureEncoder(Protocol):
    """What the stage `frames` needs of an encoder: how pictures are made for it, and `encode`."""

    size: int
    resize: str
    interpolation: str
    batch: int
    dim: int

    @property
    def made_on(self) -> str: ...
    @property
    def preprocessing(self) -> str: ...
    def encode(self, frames: np.ndarray) -> np.ndarray: ...


PICTURES = {
    GOOGLENET: FeatureRecipe(
        name=GOOGLENET,
        title="GoogLeNet pool5",
        dim=1024,
        # `picks` of the released files are every 15th frame of videos of about 30 frames a second.
        fps=2,
        preprocessing="shorter side to 256 px, bilinear, centre 224 px, as torchvision's weights ask for",
        weights=IMAGENET,
        weights_from="torchvision's googlenet (imagenet), a state dict of it as a file, or seed:N",
        pooling="mean over the last map (pool5)",
        normalisation="L2",
        # KaiyangZhou/pytorch-vsumm-reinforce#66, kezhang-cs/Video-Summarization-with-LSTM#2 (the author names Caffe's
        # bvlc_googlenet), li-plus/DSNet#12 and e-apostolidis/PGL-SUM#5 (others could not repeat the numbers).
        known="layer, size, rate and L2 norm are those of TVSum's and SumMe's files; their weights were Caffe's "
        "bvlc_googlenet with a preprocessing that nobody published, so the numbers differ and so may the scores",
    ),
    COLOURS: FeatureRecipe(
        name=COLOURS,
        title="colour histograms",
        dim=192,
        fps=None,
        preprocessing="64x64 px, squashed, bilinear",
        weights="none",
        weights_from="it needs none",
        pooling="counts of 16 levels of red, green and blue in each quarter of the picture",
        normalisation="square roots of shares: L2",
        known="ours: it finds shots without any weights, and says nothing of what is seen",
    ),
    INCEPTION: FeatureRecipe(
        name=INCEPTION,
        title="Inception of YouTube-8M",
        dim=1024,
        fps=1,
        preprocessing="the graph's own, of a JPEG's pixels of any size",
        weights="inception-2015-12-05",
        weights_from="Google's frozen TensorFlow graph and YouTube-8M's PCA matrices (yt8m_pca.tgz), two downloads",
        # google/youtube-8m feature_extractor/feature_extractor.py: pool_3, minus the mean, times the first 1,024
        # eigenvectors, over the root of eigenvalue + 1e-4. The quantisation to 8 bits, [-2, 2], is in its utils.py.
        pooling="pool_3 (2,048), then PCA with whitening to 1,024",
        normalisation="none; the published records are quantised to 8 bits between -2 and 2",
        known="the steps after the network are published",
        # mseitzer/pytorch-fid offers the graph's weights for PyTorch, a download too. It was not compared here.
        refused="they need Google's TensorFlow graph inception-2015-12-05 and YouTube-8M's PCA matrices, two downloads "
        "that no package holds",
    ),
    BLISS_CLIP: FeatureRecipe(
        name=BLISS_CLIP,
        title="BLiSS's CLIP",
        dim=None,
        fps=1,
        preprocessing="not published",
        weights="not published",
        weights_from="not published",
        pooling="not published",
        normalisation="not published",
        known="it is a CLIP",
        # boheumd/A2Summ#17 asks which, and has no answer.
        refused="its authors do not say which CLIP made them",
    ),
}
TEXTS = {
    ROBERTA: FeatureRecipe(
        name=ROBERTA,
        title="RoBERTa as A2Summ's",
        dim=768,
        fps=None,
        preprocessing="RoBERTa's tokenizer; a longer text in pieces of the model's window",
        weights="FacebookAI/roberta-base",
        weights_from="the model hub, or a local folder",
        pooling="mean of the tokens",
        normalisation="L2",
        # The paper says RoBERTa, the files have 768 numbers. boheumd/A2Summ#17 asks which pooling, without an answer;
        # #18: TVSum's and SumMe's texts are captions of frames by GPT-2.
        known="768 numbers of RoBERTa, which is roberta-base's size; version, pooling and norm are not published, and "
        "TVSum's and SumMe's texts are captions of frames, where a new video has its spoken sentences",
    ),
}


def of_pictures(model: str, weights: str) -> FeatureRecipe:
    """The recipe that `features.clip` of a manifest names."""
    if model in PICTURES:
        return PICTURES[model]
    return FeatureRecipe(
        name=f"{model} {weights}",
        title=f"CLIP {model}",
        dim=None,
        fps=None,
        preprocessing="as open_clip says for these weights",
        weights=weights,
        weights_from="a tag of open_clip, a checkpoint's file, or seed:N",
        pooling="the image tower's own",
        normalisation="L2",
        known="ours",
    )


def title_of(model: str, weights: str) -> str:
    """The recipe's name for a person: `CLIP ViT-B-32 openai`, `GoogLeNet pool5 imagenet`."""
    return f"{of_pictures(model, weights).title} {weights}"


def has_text_tower(model: str) -> bool:
    """Whether texts can be compared with these pictures' features."""
    return model not in PICTURES
