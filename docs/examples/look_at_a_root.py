"""Make the sample's root and look at it. Cells begin with `# %%`, as notebooks of VS Code and Jupytext have them."""

# %% The embedded sample, with a small CLIP: no network. A second run finds its work done.
import vsumdata

SMALL = {"features.clip.model": "ViT-S-32-alt", "features.split": {"train": 0.5, "val": 0.2, "test": 0.3}}
status = vsumdata.run("sample", root="work/small", settings=SMALL, quiet=True)
print({table: entry["outcomes"]["done"] for table, entry in status["tables"].items()})

# %% A row for each finished video, as a pandas table.
videos = vsumdata.open_shards("work/small").to_pandas()
print(videos[["title", "duration_s", "split", "task"]])

# %% How long each video is spoken for.
spoken_s = videos["sentence"].map(lambda said: sum(each["end_s"] - each["start_s"] for each in said))
print((spoken_s / videos["duration_s"]).round(2).sort_values())

# %% The vectors, video by video: nothing else is in memory.
for video in vsumdata.open_shards("work/small"):
    print(video.video_id, video.frame_feature.shape, video.replay_score.argmax())

# %% One page for others.
print(vsumdata.report("work/small", "work/report.html"))
