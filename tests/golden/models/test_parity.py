"""Our models compute what the official code computes; the checker notices where they would not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHECKER = Path(__file__).parents[1] / "parity.py"
SMALL, STEP = "dsnet_af_small", "dsnet_af_step"


class Answer:
    """The checker's output for a folder: for each pack and array its verdict and remark."""

    def __init__(self, folder: Path) -> None:
        ran = subprocess.run([sys.executable, str(CHECKER), str(folder)], capture_output=True, text=True, check=False)
        self.code, self.error = ran.returncode, ran.stderr
        lines = [line.split("\t") for line in ran.stdout.splitlines()]
        self.lines = [line for line in lines if len(line) == 5]
        self.total = ran.stdout.splitlines()[-1] if ran.stdout else ""

    def wrong(self, pack: str) -> dict[str, str]:
        return {array: remark for name, array, _, word, remark in self.lines if name == pack and word != "ok"}


@pytest.mark.recorded
@pytest.mark.parametrize("name", ["parity", "parity_more"])
def test_all_packs_agree(recordings: Path, name: str) -> None:
    folder = recordings / name
    packs = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    expected = {(name, array) for name, content in packs.items() for array in content["arrays"]}
    answer = Answer(folder)
    assert [line for line in answer.lines if line[3] != "ok"] == []
    assert answer.code == 0, answer.error
    assert {(line[0], line[1]) for line in answer.lines} == expected
    assert answer.total == f"{len(answer.lines)} arrays, 0 differ"


def write(folder: Path, name: str, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content))
    np.savez(folder / f"{name}.npz", allow_pickle=False, **dict(arrays))


def renamed_weight(content: dict[str, Any]) -> dict[str, Any]:
    """Alter the pack as if our model loaded the queries' weights into the keys."""
    entries = content["state_dict"]
    key = next(entry for entry in entries if entry[0] == "base_model.K.weight")
    others = [entry for entry in entries if entry is not key]
    return content | {"state_dict": [*others, [*key[:3], "alias:base_model.Q.weight"]]}


@pytest.mark.recorded
def test_every_fault_is_noticed(recordings: Path, tmp_path: Path) -> None:
    source = recordings / "parity" / SMALL
    content = json.loads(source.with_suffix(".json").read_text())
    arrays = dict(np.load(source.with_suffix(".npz")))
    altered = {name: array.copy() for name, array in arrays.items()}
    altered["c0_out_cls_logit"][0, 7] += 1e-4
    altered["c0_out64_predict_boxes"][3, 1] += 1e-7
    altered["c0_mid_ln"][2, 5] = np.nan
    altered["c0_mid_trunk"] = altered["c0_mid_trunk"][:-1]
    write(tmp_path, "a_good", content, arrays)
    write(tmp_path, "b_weight", renamed_weight(content), arrays)
    write(tmp_path, "c_altered", content, altered)
    write(tmp_path, "d_more", content, arrays | {"c0_out_more": np.zeros(1), "c1_out_cls_logit": np.zeros(1)})
    write(tmp_path, "e_unknown", content | {"cls": "models.Another (new)"}, arrays)
    write(tmp_path, "f_seed", content | {"SEED": content["SEED"] + 1}, arrays)
    write(tmp_path, "g_half", content, arrays)
    (tmp_path / "g_half.json").write_text((tmp_path / "a_good.json").read_text()[:900])
    (tmp_path / "h_alone.json").write_text(json.dumps(content))
    write(tmp_path, "i_cut", content, arrays)
    (tmp_path / "i_cut.npz").write_bytes((tmp_path / "a_good.npz").read_bytes()[:5000])
    write(tmp_path, "j_linear", content | {"constructor": content["constructor"] | {"base_model": "linear"}}, arrays)
    write(tmp_path, "z_good", content, arrays)
    answer = Answer(tmp_path)
    assert answer.code == 1
    assert answer.wrong("a_good") == answer.wrong("z_good") == {}
    weight = answer.wrong("b_weight")
    assert {"c0_mid_att_heads0_3", "c0_out_cls_logit", "c0_out64_cls_logit", "c0_out64_predict_boxes"} <= weight.keys()
    bad = {"c0_out_cls_logit", "c0_out64_predict_boxes", "c0_mid_ln", "c0_mid_trunk"}
    assert answer.wrong("c_altered").keys() == bad
    assert answer.wrong("d_more") == dict.fromkeys(("c0_out_more", "c1_out_cls_logit"), "not computed")
    assert "models.Another is not known" in answer.wrong("e_unknown")["pack"]
    assert "is made wrongly" in answer.wrong("f_seed")["pack"]
    assert "cannot be checked: JSONDecodeError" in answer.wrong("g_half")["pack"]
    assert "cannot be checked: FileNotFoundError" in answer.wrong("h_alone")["pack"]
    assert "cannot be checked: BadZipFile" in answer.wrong("i_cut")["pack"]
    assert "base_model=linear" in answer.wrong("j_linear")["pack"]


@pytest.mark.recorded
def test_a_fault_in_a_step_is_noticed(recordings: Path, tmp_path: Path) -> None:
    source = recordings / "parity" / STEP
    content = json.loads(source.with_suffix(".json").read_text())
    arrays = dict(np.load(source.with_suffix(".npz")))
    norms = arrays["c0_out_grad_norm"].copy()
    norms[-2] *= 1 + 3e-4
    moved = arrays["c0_out_adam_delta_norm"].copy()
    moved[0] = np.nan
    write(tmp_path, "a_norms", content, arrays | {"c0_out_grad_norm": norms, "c0_out_adam_delta_norm": moved})
    label = [1, *content["cases"][0]["label"][1:]]
    write(tmp_path, "b_label", content | {"cases": [content["cases"][0] | {"label": label}]}, arrays)
    answer = Answer(tmp_path)
    assert answer.code == 1
    assert answer.wrong("a_norms").keys() == {"c0_out_grad_norm", "c0_out_adam_delta_norm"}
    assert {"c0_out_losses", "c0_out64_losses", "c0_out64_grad_norm"} <= answer.wrong("b_label").keys()


def read(source: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return json.loads(source.with_suffix(".json").read_text()), dict(np.load(source.with_suffix(".npz")))


@pytest.mark.recorded
@pytest.mark.parametrize("name", ["umt_va_small", "umt_vo_step", "triplesumm_small", "triplesumm_step"])
def test_a_change_of_any_array_is_noticed(recordings: Path, tmp_path: Path, name: str) -> None:
    content, arrays = read(recordings / "parity_more" / name)
    noise = content["extra"].get("gradients_analytically_zero", [])
    told = {array for array in arrays if array.partition("_grad_")[2] not in noise}
    order = content["extra"].get("param_names")
    changed = {}
    for array, values in arrays.items():
        # Of the norms, one of a parameter whose gradient is not zero in theory.
        at = next(n for n, each in enumerate(order) if each not in noise) if len(values) == len(order or ()) else -1
        changed[array] = values.copy()
        changed[array].flat[at] += 0.03 * abs(values).max()
    write(tmp_path, "pack", content, changed)
    assert Answer(tmp_path).wrong("pack").keys() == told


def without_query(content: dict[str, Any]) -> dict[str, Any]:
    """The pack as if its model had no text, though the weights have it."""
    return content | {"constructor": content["constructor"] | {"query_gen": {"type": "QueryGenerator", "p": 0}}}


def swapped(content: dict[str, Any], one: str, other: str) -> dict[str, Any]:
    """The pack as if one weight was loaded in place of another."""
    entries = [[*entry[:3], f"alias:{other}"] if entry[0] == one else entry for entry in content["state_dict"]]
    return content | {"state_dict": sorted(entries, key=lambda entry: entry[3].startswith("alias"))}


@pytest.mark.recorded
def test_another_model_or_weight_of_umt_and_triplesumm_is_noticed(recordings: Path, tmp_path: Path) -> None:
    umt, umt_arrays = read(recordings / "parity_more" / "umt_va_small")
    triple, triple_arrays = read(recordings / "parity_more" / "triplesumm_small")
    built = triple["constructor"]
    deeper = umt["constructor"] | {"query_dec": umt["constructor"]["query_dec"] | {"dec_cfg": {"num_layers": 2}}}
    write(tmp_path, "a_query", without_query(umt), umt_arrays)
    write(tmp_path, "b_deeper", umt | {"constructor": deeper}, umt_arrays)
    tables = ("query_dec.q_pos_enc.pe", "query_dec.k_pos_enc.pe")
    write(tmp_path, "c_table", swapped(umt, *tables), umt_arrays)
    write(tmp_path, "d_windows", triple | {"constructor": built | {"window_size": [3, 7, 7, 0]}}, triple_arrays)
    write(tmp_path, "e_fewer", triple | {"constructor": built | {"window_size": [3, 7]}}, triple_arrays)
    no_mask = [case | {"mask": "none"} for case in triple["cases"]]
    write(tmp_path, "f_mask", triple | {"cases": no_mask}, triple_arrays)
    answer = Answer(tmp_path)
    assert "unexpected query_gen" in answer.wrong("a_query")["pack"]
    assert "num_layers" in answer.wrong("b_deeper")["pack"]
    assert {"c0_out_logit", "c0_out64_saliency", "c1_mid_query_dec"} <= answer.wrong("c_table").keys()
    assert "c0_mid_cross_enc" not in answer.wrong("c_table")
    assert {"c0_mid_temporal2", "c1_out64_score"} <= answer.wrong("d_windows").keys()
    assert "c0_mid_temporal1" not in answer.wrong("d_windows")
    assert "windows" in answer.wrong("e_fewer")["pack"]
    # The case that has no mask agrees as before.
    assert {array[:2] for array in answer.wrong("f_mask")} == {"c0", "c2"}


def test_an_empty_folder_fails(tmp_path: Path) -> None:
    answer = Answer(tmp_path)
    assert answer.code == 1
    assert "no pack" in answer.error
