"""Official weights are copied entry by entry. Entries that do not fit are named, and then nothing changes."""

from __future__ import annotations

import pytest
import torch

from vsumdata.train.models.mlp import MLP, MLPOptions
from vsumdata.train.models.msva import MSVA, UNUSED, MSVAOptions
from vsumdata.train.models.pglsum import PGLSUM, PGLSUMOptions
from vsumdata.train.models.slmodule import SLModule, SLModuleOptions
from vsumdata.train.models.vasnet import VASNet, VASNetOptions


def entries(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def vasnet_weights() -> dict[str, torch.Tensor]:
    square = dict.fromkeys(("att.K.weight", "att.Q.weight", "att.V.weight"), (6, 8))
    shapes = {**square, "att.output_linear.weight": (8, 6), "ka.weight": (5, 8), "ka.bias": (5,)}
    shapes |= {"kb.weight": (5, 5), "kb.bias": (5,), "kc.weight": (5, 5), "kc.bias": (5,)}
    shapes |= {"kd.weight": (1, 5), "kd.bias": (1,)}
    for norm, size in (("layer_norm_y", 8), ("layer_norm_ka", 5)):
        shapes |= {f"{norm}.gamma": (size,), f"{norm}.beta": (size,)}
    return entries(shapes)


def small_vasnet(**options: int) -> VASNet:
    return VASNet(VASNetOptions(hidden=6, regressor=5, **options), 8)


def test_vasnet_takes_every_entry_that_it_uses():
    model, official = small_vasnet(), vasnet_weights()
    model.load_official(official)
    ours = model.state_dict()
    names = model.official_names()
    assert set(official) - set(names.values()) == {"kb.weight", "kb.bias", "kc.weight", "kc.bias"}
    assert all(torch.equal(ours[our], official[name]) for our, name in names.items())
    assert torch.equal(model.attention.query.weight, official["att.Q.weight"])


def test_what_does_not_fit_is_named_and_nothing_changes():
    model, official = small_vasnet(), vasnet_weights()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    del official["att.K.weight"]
    official |= {"ka.weight": torch.zeros(5, 7), "ke.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match="do not fit this VASNet: missing att.K.weight; unexpected ke.bias; ka.wei"):
        model.load_official(official)
    with pytest.raises(ValueError, match=r"ka.weight is \[5, 7\], expected \[5, 8\]"):
        model.load_official(official)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_projection_has_no_official_counterpart():
    with pytest.raises(ValueError, match="our project.weight has no counterpart; our project.bias"):
        small_vasnet(width=8).load_official(vasnet_weights())


def msva_weights() -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {f"att1_3.{part}.weight": (8, 8) for part in ("K", "Q", "V", "output_linear")}
    for layer, size in {"ka1_3": (5, 8), "kb": (6, 5), "kc": (7, 6), "kd": (1, 7)}.items():
        shapes |= {f"{layer}.weight": size, f"{layer}.bias": size[:1]}
    for norm, width in {"y_1_3": 8, "y_4": 8, "kc": 7, "kd": 1}.items():
        shapes |= {f"layer_norm_{norm}.{kind}": (width,) for kind in ("gamma", "beta")}
    return entries(shapes)


def test_msva_takes_every_entry_that_it_uses():
    model, official = MSVA(MSVAOptions(sources=3, regressor=(5, 6, 7)), 24), msva_weights()
    model.load_official(official)
    ours, names = model.state_dict(), model.official_names()
    assert set(official) - set(names.values()) == set(UNUSED)
    assert all(torch.equal(ours[our], official[name]) for our, name in names.items())
    assert torch.equal(model.attention.key.weight, official["att1_3.K.weight"])
    assert torch.equal(ours["regressor.2.bias"], official["kc.bias"])
    before = {name: value.clone() for name, value in ours.items()}
    with pytest.raises(ValueError, match=r"do not fit this MSVA: missing kb.bias; kd.weight is \[2, 7\], expected"):
        model.load_official({k: v for k, v in official.items() if k != "kb.bias"} | {"kd.weight": torch.ones(2, 7)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def pglsum_weights(width: int, heads: int, segments: int) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {}
    modules = [("attention.attention", width, heads)]
    modules += [(f"attention.local_attention.{s}", width // segments, 4) for s in range(segments)]
    for module, hidden, count in modules:
        for part in "kqv":
            shapes |= {f"{module}.W{part}.{head}.weight": (hidden // count, width) for head in range(count)}
        shapes[f"{module}.out.weight"] = (width, hidden)
    for layer, size in (("linear_1", (width, width)), ("linear_2", (1, width))):
        shapes |= {f"{layer}.weight": size, f"{layer}.bias": size[:1]}
    for norm in ("norm_y", "norm_linear"):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return entries(shapes)


def test_pglsum_stacks_the_matrices_of_heads_and_segments():
    model, official = PGLSUM(PGLSUMOptions(heads=2), 16), pglsum_weights(16, 2, 4)
    model.load_official(official)
    assert torch.equal(model.attention.qkv[0, 1, 1], official["attention.attention.Wk.1.weight"])
    assert torch.equal(model.local.qkv[2, 0, 3], official["attention.local_attention.2.Wq.3.weight"])
    assert torch.equal(model.local.qkv[3, 2, 0], official["attention.local_attention.3.Wv.0.weight"])
    assert torch.equal(model.local.out[1], official["attention.local_attention.1.out.weight"])
    del official["attention.local_attention.2.Wq.3.weight"]
    with pytest.raises(ValueError, match="missing attention.local_attention.2.Wq.3.weight$"):
        model.load_official(official)


def test_pglsum_refuses_weights_of_other_options():
    official = pglsum_weights(16, 2, 4)
    with pytest.raises(ValueError, match=r"missing attention.attention.Wq.2.weight.*Wq.0.weight is \[8, 16\]"):
        PGLSUM(PGLSUMOptions(heads=4), 16).load_official(official)
    with pytest.raises(ValueError, match="unexpected attention.local_attention.0.Wk.0.weight"):
        PGLSUM(PGLSUMOptions(heads=2, segments=None), 16).load_official(official)


def test_mlp_and_slmodule_take_mrhisums_names():
    mlp = MLP(MLPOptions(hidden=(5, 4, 3)), 6)
    shapes = {"input": (5, 6), "hidden.0": (4, 5), "hidden.1": (3, 4), "out": (1, 3)}
    official = entries({f"{n}.weight": s for n, s in shapes.items()} | {f"{n}.bias": s[:1] for n, s in shapes.items()})
    mlp.load_official(official)
    assert torch.equal(mlp.state_dict()["layers.2.weight"], official["hidden.1.weight"])
    slmodule = SLModule(SLModuleOptions(layers=2, heads=2, feedforward=5), 16)
    with pytest.raises(ValueError, match=r"missing transformer.layers.1.0.fn.fn.to_qkv.weight.*unexpected out.bias"):
        slmodule.load_official(official)
