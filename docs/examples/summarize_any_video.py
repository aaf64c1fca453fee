"""Summarize a film of your own: no root, no training."""

# %% Any film that ffmpeg reads. This one is of the sample; captions beside it would be read.
from pathlib import Path

import vsumdata

FILM = Path(vsumdata.__file__).parent / "datasets" / "sample" / "assets" / "media" / "pancakes_01.mp4"
summary = vsumdata.summarize(FILM, output="work/pancakes", budget=0.4)

# %% How it was made, and what to know before trusting it.
print(summary.method, f"{summary.summary_s:.0f} of {summary.duration_s:.0f} s")
print(*summary.remarks, sep="\n")

# %% The chosen pieces of the video. The folder also holds the film, a page and a picture.
for piece in summary.segments:
    print(f"{piece.start_s:.1f} to {piece.end_s:.1f} s")
print(*summary.files)
