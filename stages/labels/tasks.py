"""Tasks of one meaning: titles of videos without an article, by their sentence embeddings.

Letters: N names, S components of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vsumdata.datasets.splits import normalise
from vsumdata.stages.labels.courses import faiss

Encode = Callable[[Sequence[str]], np.ndarray]
# Names that are compared with each other at once; each block is also compared with all leaders so far.
AT_ONCE = 1024


def name_of(feature: Mapping[str, Any], video_id: str) -> tuple[str, str]:
    """A video's task and where its name is from: `article`, `title`, or `""` (neither: a task of its own)."""
    task, title = normalise(feature["task"] or ""), normalise(feature["title"] or "")
    if task and feature["article_url"]:
        return task, "article"
    if task and title:
        # A list may give the steps of an article without its address.
        return task, "title" if task == title else "article"
    # No name begins with a zero byte. An address in the place of a title would be like every other address.
    return f"\0{video_id}", ""


def grouped(articles: Sequence[str], titles: Sequence[str], encode: Encode, least: float) -> dict[str, str]:
    """For each of the `titles` the name under which it counts: an article's, an earlier title's, or its own.

    In the order given, a title joins the name whose embedding is nearest, if their cosine is at least `least`; only
    names of articles and titles that joined none are compared with. Articles stay apart. `encode` gives unit
    embeddings [N,S].
    """
    # Not every pair above the threshold: chains of pairs would join what has nothing in common.
    if not titles:
        return {}
    vectors = encode([*articles, *titles])
    index, leaders = faiss().IndexFlatIP(vectors.shape[1]), list(articles)
    if leaders:
        index.add(vectors[: len(leaders)].astype(np.float32))
    found: dict[str, str] = {}
    for first in range(0, len(titles), AT_ONCE):
        names = titles[first : first + AT_ONCE]
        block = vectors[len(articles) + first :][: len(names)].astype(np.float32)
        near, at = (column[:, 0] for column in index.search(block, 1))
        similar = block @ block.T
        new: list[int] = []
        for i, name in enumerate(names):
            best = new[int(similar[i, new].argmax())] if new else None
            if best is not None and similar[i, best] >= max(least, near[i]):
                found[name] = names[best]
            elif near[i] >= least:
                found[name] = leaders[at[i]]
            else:
                found[name] = name
                new.append(i)
        index.add(block[new])
        leaders += [names[i] for i in new]
    return found
