"""Benchmark files in the layout that their authors publish, but small: for tests of the loaders."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

from vsumdata.datasets.benchmarks import qfvs, summe

TVSUM_IDS = [f"youtube{i:04d}" for i in range(1, 51)]


def eccv16_video(number: int, users: int = 20, *, named: bool = False) -> dict:
    """One group's data sets; each number gives another length."""
    rng = np.random.default_rng(number)
    n_frames = 60 + number
    picks = np.arange(0, n_frames, 15)
    shots = np.array([[0, 19], [20, 44], [45, n_frames - 1]])
    values = {
        "features": rng.random((len(picks), 8), np.float32),
        "gtscore": rng.random(len(picks), np.float32),
        "gtsummary": np.zeros(len(picks), np.float32),
        "user_summary": rng.integers(0, 2, (users, n_frames)).astype(np.float32),
        "change_points": shots.astype(np.int32),
        "n_frame_per_seg": np.diff(shots)[:, 0].astype(np.int32) + 1,
        "n_frames": np.int64(n_frames),
        "picks": picks.astype(np.int32),
        "n_steps": np.int64(len(picks)),
    }
    return values | ({"video_name": f"Clip {number}"} if named else {})


def write_eccv16(
    path: Path, num_videos: int, changes: dict | None = None, *, named: bool = False, first: int = 1
) -> Path:
    """`changes`: video's name -> data sets to replace, or to leave out where the value is None."""
    with h5py.File(path, "w") as file:
        for number in range(first, first + num_videos):
            name = f"video_{number}"
            values = eccv16_video(number, named=named) | (changes or {}).get(name, {})
            for key, value in values.items():
                if value is not None:
                    file[f"{name}/{key}"] = value
    return path


def tvsum_scores(number: int) -> np.ndarray:
    """20 users' scores of 1 to 5, as long as `eccv16_video(number)`."""
    return np.random.default_rng(number).integers(1, 6, (20, 60 + number)).astype(np.uint8)


def write_tvsum_tsv(folder: Path, *, order: list[int] | None = None, info: bool = True) -> Path:
    path = folder / "ydata-tvsum50-anno.tsv"
    lines = [
        f"{TVSUM_IDS[number - 1]}\tVT\t{','.join(map(str, user))}\n"
        for number in order or range(1, 51)
        for user in tvsum_scores(number)
    ]
    path.write_text("".join(lines))
    if info:
        rows = [
            f'VT\t{name}\tTitle "{i}\n\thttps://x\t0:0{i % 5 + 2}\n'.replace("\n\t", "\t")
            for i, name in enumerate(TVSUM_IDS)
        ]
        (folder / "ydata-tvsum50-info.tsv").write_text("category\tvideo_id\ttitle\turl\tlength\n" + "".join(rows))
    return path


def write_tvsum_mat(path: Path) -> Path:
    """MATLAB 7.3's form of the struct array tvsum50: references to each field's value, transposed, text in UTF-16."""
    with h5py.File(path, "w", userblock_size=512) as file:
        fields: dict[str, list] = {
            name: [] for name in ("video", "title", "category", "length", "nframes", "user_anno")
        }
        for number, name in enumerate(TVSUM_IDS, 1):
            scores = tvsum_scores(number).astype(np.float64)
            values = {
                "video": np.array([list(map(ord, name))], np.uint16).T,
                "title": np.array([list(map(ord, f"Title {number} é"))], np.uint16).T,
                "category": np.array([[86], [84]], np.uint16),
                "length": np.array([[scores.shape[1] / 30]]),
                "nframes": np.array([[float(scores.shape[1])]]),
                "user_anno": scores,
            }
            for field, value in values.items():
                fields[field].append(file.create_dataset(f"#refs#/{field}{number}", data=value).ref)
        for field, references in fields.items():
            file[f"tvsum50/{field}"] = np.array(references, dtype=h5py.ref_dtype)[:, None]
    header = b"MATLAB 7.3 MAT-file, Platform: MACI64"
    with path.open("r+b") as raw:
        raw.write(header.ljust(512, b" "))
    return path


HISUM_SPLIT = {"train_keys": ["video_3", "video_1"], "val_keys": ["video_2"], "test_keys": ["video_4"]}


def write_mrhisum(folder: Path, *, features: bool = True, summary: str = "gt_summary") -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(folder / "mr_hisum.h5", "w") as file:
        for number in range(1, 5):
            seconds = 20 + number
            group = file.create_group(f"video_{number}")
            group["gtscore"] = rng.random(seconds)
            group["change_points"] = np.array([[0, 8], [8, seconds]])
            group[summary] = np.repeat([1.0, 0.0], [8, seconds - 8])
            if features:
                group["features"] = rng.random((seconds, 16), np.float32)
    (folder / "mr_hisum_split.json").write_text(json.dumps(HISUM_SPLIT))
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow("video_id yt8m_file random_id youtube_id duration views labels".split())
        for number in range(1, 5):
            rows.writerow([f"video_{number}", "train0026", "ORaA", f"hisum{number:06d}", 20 + number, 84554, "[8]"])
    return folder


def write_wikihow(folder: Path) -> Path:
    labels = {"Boil-Eggs": [0] * 40 + [1] * 40, "abcdefghijk": [1] * 20, "Tie-a-Tie": [0] * 64}
    (folder / "wikihowto_annt.json").write_text(json.dumps(labels))
    steps = folder / "how_to_steps"
    steps.mkdir()
    step = {str(i): {"text": f"Step {i}.", "img": None, "vid": "/a/b.mp4"} for i in (1, 2, 10)}
    for slug, youtube_id in (("Boil-Eggs", "AAAAAAAAAAA"), ("Fold-a-Map", "abcdefghijk")):
        url = f"https://www.youtube.com/embed/{youtube_id}?showinfo=0"
        (steps / f"{slug}.json").write_text(json.dumps({"video_url": url} | step))
    return folder


def bliss_clip(stream: str = "stream1") -> dict:
    return {
        "video_id": stream,
        "num_frame": 6,
        "num_keyframe": 2,
        "num_sentence": 3,
        "video_label": [0, 1, 0, 0, 1, 0],
        "text_label": [1, 0, 0],
        "sentence": ["hello there", "a brush", "bye"],
        "sentence_time": [[0, 2], [2, 4], [4, 6]],
        "highlight": ["hello", "there"],
    }


def write_bliss(folder: Path, changes: dict | None = None) -> Path:
    """A folder BLiSS with one clip in train and one in test; `changes` go into the test clip's annotation."""
    rng = np.random.default_rng(0)
    for part in ("annotation", "feature"):
        (folder / part).mkdir(parents=True)
    for split, clip in (("train", "clip_a"), ("test", "clip_b")):
        entry = bliss_clip(f"stream of {split}") | ((changes or {}) if split == "test" else {})
        (folder / "annotation" / f"{split}.json").write_text(json.dumps({clip: entry}))
        for name, shape in (("video_clip", (6, 5)), ("text_roberta", (3, 7)), ("video_summ_clip", (2, 5))):
            value = np.array({clip: rng.random(shape, np.float32)}, dtype=object)  # as np.save makes of a dictionary
            np.save(folder / "feature" / f"{name}_{split}.npy", value, allow_pickle=True)
    return folder


def videoxum_video(video_id: str = "v_QOlSCBRmfWY", seconds: int = 20) -> dict:
    """A record of three segments and ten users. Five choose the same seconds, four others, and one others again."""
    rng = np.random.default_rng(seconds)
    starts = np.array([[2.0, 8.0, 15.0]] * 5 + [[4.0, 10.0, 17.0]] * 4 + [[6.0, 12.0, 19.0]])
    spans = np.stack([starts, starts + rng.uniform(1.01, 1.9, starts.shape).round(2)], -1)  # [users, segments, 2]
    chosen = np.zeros((10, seconds), int)
    for user, start in np.ndindex(*starts.shape):
        chosen[user, int(starts[user, start]) : int(starts[user, start]) + 2] = 1
    return {
        "video_id": video_id,
        "duration": seconds - 0.27,
        "sampled_frames": seconds,
        "timestamps": [[1.5, 7.4], [7.0, 13.1], [12.9, 18.0]],
        "tsum": ["A man is seen cutting a plank.", " He (slowly) paints it.", "He shows it: done!"],
        "vsum": spans.transpose(1, 0, 2).tolist(),
        "vsum_onehot": chosen.tolist(),
    }


def write_videoxum(folder: Path, changes: dict | None = None) -> Path:
    """A folder `anno` with two videos for training, one for validation and two for testing.

    `changes` go into the last test video.
    """
    (folder / "anno").mkdir(parents=True)
    parts = {"train": [(1, 20), (2, 24)], "val": [(3, 21)], "test": [(4, 22), (5, 23)]}
    for split, videos in parts.items():
        records = [videoxum_video(f"v_youtube{number:04d}", seconds) for number, seconds in videos]
        if split == "test":
            records[-1] |= changes or {}
        (folder / "anno" / f"{split}_videoxum.json").write_text(json.dumps(records))
    return folder


def instruct_record(video_id: str = "MqTdJwMDZhY", seconds: int = 14) -> dict:
    """A record of three sentences, of which each is shown by one frame."""
    token = {"<f0>": 0.0, "<f1>": 5.0, "<f10>": 12.0}
    both = "[<f0>]A white table. [<f1>]A man, in black, sits down.\n[<f10>]He [smiles]."
    return {
        "id": video_id,
        "meta": {"duration": float(seconds), "sampled_frames": seconds, "token": token},
        "conversations": [
            {
                "from": "human",
                "value": "<video>\nPlease generate BOTH video and text summarization for this video.",
            },
            {"from": "gpt", "value": both},
        ],
        "vsum_onehot": [int(second in token.values()) for second in range(seconds)],
    }


def write_instruct_v2xum(folder: Path, changes: dict | None = None) -> Path:
    """A folder with a file for each split; `changes` go into the last test video."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": [(1, 14), (2, 20)], "val": [(3, 15)], "test": [(4, 16), (5, 17)]}
    for split, videos in parts.items():
        records = [instruct_record(f"youtube{number:04d}", seconds) for number, seconds in videos]
        if split == "test":
            records[-1] |= changes or {}
        (folder / f"instruct_v2xum_{split}.json").write_text(json.dumps(records))
    return folder


def llava_record(number: int) -> dict:
    """A record in LLaVA-Pretrain's layout."""
    name = f"{number:09}"
    turns = [{"from": "human", "value": "Describe the picture.\n<image>"}]
    turns.append({"from": "gpt", "value": f"Picture {number},\n é, of a «pan»."})
    return {"id": name, "image": f"{number:05}/{name}.jpg", "conversations": turns}


def write_llava_pretrain(folder: Path, num: int, *, pictures: bool = True) -> Path:
    """`num` pictures of one colour each, with captions, and the file of metadata that lies beside."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    records = [llava_record(number) for number in range(num)]
    (folder / "blip_laion_cc_sbu_558k.json").write_text(json.dumps(records), "utf-8")
    (folder / "blip_laion_cc_sbu_558k_meta.json").write_text("[]")
    for number, record in enumerate(records if pictures else []):
        path = folder / record["image"]
        path.parent.mkdir()
        Image.new("RGB", (40, 30), (40 * number % 256, 90, 200)).save(path)
    return folder


def write_summe_annotations(folder: Path, changes: dict | None = None) -> Path:
    """SumMe.zip's folder GT. `changes`: a video's name -> variables to replace, or None for no file."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(summe.NAMES, 1):
        rng = np.random.default_rng(number)
        # The number of the user's segment that holds the frame.
        chosen = rng.integers(0, 4, (60 + number, 5)) * (rng.random((60 + number, 5)) < 0.4)
        changed = (changes or {}).get(name, {})
        if changed is not None:
            values = {"user_score": chosen.astype(np.uint8), "FPS": 25.0, "nFrames": 60 + number} | changed
            savemat(folder / f"{name}.mat", {key: value for key, value in values.items() if value is not None})
    return folder


def write_key_frames(folder: Path, changes: dict[str, str | None] | None = None) -> Path:
    """OST's folder user_summaries/VSUMM: five lines of key frames a video. `changes`: a file's name -> its text."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(21, 71):
        users = [f"{31 + user},{301 + number},{601 + 30 * user}" for user in range(5)]
        text = (changes or {}).get(f"v{number}.csv", "\n".join(users) + "\n")
        if text is not None:
            (folder / f"v{number}.csv").write_text(text)
    return folder


QFVS_SHOTS = {"P01": 100, "P02": 120, "P03": 90, "P04": 110}


def write_qfvs(folder: Path) -> Path:
    """CHAN's `data/origin_data`: four videos of about a hundred shots, 48 concepts, 45 queries, three users."""
    rng = np.random.default_rng(3)
    concepts = [f"Concept{number:02d}" for number in range(45)] + list(qfvs.RENAMED)
    tags, queries = folder / qfvs.TAGS, folder / qfvs.QUERIES
    tags.mkdir(parents=True)
    (tags / "Dictionary.txt").write_text("\n".join(f"'{concept}'" for concept in concepts))
    for name, total in QFVS_SHOTS.items():
        (tags / name).mkdir()
        shown = [",".join(rng.choice(concepts, 3, replace=False)) for _ in range(total)]
        (tags / name / f"{name}.txt").write_text("\n".join(shown))  # as published: the last line does not end
        pairs = [f"{concepts[at]}_{concepts[at + 1]}" for at in range(45)]
        for where, before, users in (
            [(folder / qfvs.GLOBAL / name, "", folder / qfvs.GLOBAL / name)]
            + [(queries / "Oracle_Summaries" / name, f"{pair}_", queries / "User_Summaries" / name) for pair in pairs]
        ):  # fmt: skip
            where.mkdir(parents=True, exist_ok=True)
            users.mkdir(parents=True, exist_ok=True)
            for path in (where / f"{before}oracle.txt", *(users / f"{before}user{user}.txt" for user in (1, 2, 3))):
                chosen = np.sort(rng.choice(total, 8, replace=False)) + 1
                path.write_text("".join(f"{shot}\n" for shot in chosen))
    return folder


def write_qfvs_tags(path: Path, origin_data: Path, changes: dict | None = None) -> Path:
    """Tags.mat as published: the text's tags, without the last concept of the last shot."""
    concepts = [line.strip("'") for line in (origin_data / qfvs.TAGS / "Dictionary.txt").read_text().splitlines()]
    structs = np.zeros((1, 4), [("Bin_Vecs", object)])
    for at, name in enumerate(QFVS_SHOTS):
        lines = (origin_data / qfvs.TAGS / name / f"{name}.txt").read_text().splitlines()
        lines[-1] = lines[-1].rpartition(",")[0]
        rows = np.array([[concept in line.split(",") for concept in concepts] for line in lines], np.uint8)
        rows = (changes or {}).get(name, lambda rows: rows)(rows)
        vectors = np.empty((len(rows), 1), object)
        vectors[:, 0] = [row[None] for row in rows]
        structs[0, at]["Bin_Vecs"] = vectors
    savemat(path, {"Tags": structs})
    return path
