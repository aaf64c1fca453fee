"""Our MSVA against the official packs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from tests.golden.models.attention import batch_of, logits, ready, watched
from tests.golden.models.pack import Ours, Pack

from vsumdata.train.models.msva import MSVA, MSVAOptions
from vsumdata.train.models.parts.rows import Rows


def msva(pack: Pack, case: Mapping[str, Any], dtype: torch.dtype) -> Iterator[Ours]:
    """Check one video without padding."""
    # The official code takes three arrays of features; ours takes them concatenated.
    given, inputs = pack["constructor"]["feat_input"], pack.inputs(case, torch.float32)
    sources = [inputs[f"src{n}"] for n in range(len(inputs))]
    options = MSVAOptions(
        sources=len(sources),
        aperture=given["apperture"] if given["apperture"] > 0 else None,
        regressor=(given["L1_out"], given["L2_out"], given["L3_out"]),
    )
    batch = batch_of([torch.cat(sources, 1)], dtype)
    model = ready(MSVA(options, batch.frame_feature.shape[-1]), pack, dtype)
    with watched(model.norm_mixed, model.regressor, model.norm_hidden) as calls:
        logit = logits(model, batch)
    (_, norm_mixed), ((fused,), third), (_, norm_hidden) = calls
    seen = batch.frame_mask.repeat(len(sources), 1)
    # On a CPU the layers see the sources one after the other.
    norm_mixed = Rows(seen).give(norm_mixed)
    with torch.no_grad():
        _, weight = model.attention(torch.stack(sources).to(dtype), seen)
    some = slice(None, None, 16 if fused.shape[-1] > 128 else 1)
    for n in range(len(sources)):
        yield Ours(f"mid_att_src{n}", weight[n])
        yield Ours(f"mid_ln_src{n}", norm_mixed[n, :, some])
    yield Ours("mid_fused", fused[0, :, some])
    yield Ours("mid_kc", third[0])
    yield Ours("mid_lnkc", norm_hidden[0])
    yield Ours("out_att_last_source", weight[-1])
    yield Ours("out_logit", logit.T)
    yield Ours("out_score", logit.sigmoid())


CHECKS = {"src.msva_models.MSVA_Gen_auto": msva}
