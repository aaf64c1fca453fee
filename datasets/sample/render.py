"""Render the embedded corpus from corpus.yaml: videos, captions, listings, and the site's metadata of each video.

    apt-get update && apt-get install -y espeak-ng
    python -m vsumdata.datasets.sample.render [--out FOLDER] [VIDEO_ID ...]

Needs the speech synthesiser espeak-ng, Pillow and imageio-ffmpeg. The same versions of them give the same bytes. The
articles and robots.txt under assets/ are written by hand and stay as they are.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import tempfile
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont

from vsumdata.datasets.sample.render_captions import WRITERS, Spoken
from vsumdata.datasets.sample.site import ASSETS, HOST

CORPUS = Path(__file__).with_name("corpus.yaml")
FPS = 10
SIZE = (426, 240)
SAMPLE_RATE = 22050  # of espeak-ng's output
WORDS_PER_MINUTE = 130
LEAD_S, BETWEEN_S, TAIL_S = 0.5, 0.4, 0.7  # silence before, between and after the sentences of a step
BAR_HEIGHT = 46  # pixels, of the bar that shows the step's words
# Pillow draws shapes with hard edges: pictures are drawn this many times larger, then reduced.
OVERSAMPLE = 2
PICTURE_WIDTH = 320  # pixels, of the pictures of articles
# One thread: with several, libx264's bytes depend on how many cores the machine has. Without `bitexact` ffmpeg and x264
# write their versions into the file.
ENCODING = (
    f"-c:v libx264 -preset veryslow -tune animation -crf 30 -g {10 * FPS} -threads 1 -pix_fmt yuv420p"
    " -c:a aac -b:a 28k -ar 16000 -movflags +faststart"
    " -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1"
)
NUM_BINS = 100
NUM_BROKEN_BYTES = 20_000
MANUAL, AUTOMATIC = "manual", "automatic"

Record = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """One step on the screen, from `start_frame` up to `stop_frame`, which is not part of it."""

    step: Record
    start_frame: int
    stop_frame: int


@dataclass(frozen=True)
class Film:
    """A video before it is encoded."""

    scenes: Sequence[Scene]
    sentences: Sequence[Spoken]
    sound: np.ndarray  # int16, mono, SAMPLE_RATE

    @property
    def duration_s(self) -> float:
        return self.scenes[-1].stop_frame / FPS


def speak(text: str, voice: str) -> np.ndarray:
    """The spoken text, int16, mono, SAMPLE_RATE."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["espeak-ng", "-v", voice, "-s", str(WORDS_PER_MINUTE), "-g", "3", "-w", file.name, text]
        subprocess.run(command, check=True)
        with wave.open(file.name) as sound:
            assert sound.getframerate() == SAMPLE_RATE
            return np.frombuffer(sound.readframes(sound.getnframes()), np.int16)


def hush(seconds: float) -> np.ndarray:
    """Silence, int16."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def play_tune(seconds: float) -> np.ndarray:
    """Music without words, int16: plucked notes, one every half second."""
    note_s = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    pitches_hz = [262, 330, 392, 523, 440, 392, 330, 294]
    notes = [np.sin(2 * np.pi * hz * note_s) * np.exp(-6 * note_s) for hz in pitches_hz]
    tune = np.concatenate([notes[i % len(notes)] for i in range(int(seconds * 2) + 1)])
    return (tune[: round(seconds * SAMPLE_RATE)] * 9000).astype(np.int16)


def narrate(step: Record, voice: str | None, start_s: float) -> tuple[np.ndarray, list[Spoken]]:
    """The sound of one step, not yet padded to whole frames, and the time of each sentence."""
    if voice is None:
        return play_tune(step["seconds"]), []
    parts, sentences = [hush(LEAD_S)], []
    for text in step["say"]:
        sound = speak(text, voice)
        begin_s = start_s + sum(map(len, parts)) / SAMPLE_RATE
        sentences.append(Spoken(round(begin_s, 3), round(begin_s + len(sound) / SAMPLE_RATE, 3), text))
        parts += [sound, hush(BETWEEN_S)]
    return np.concatenate([*parts, hush(TAIL_S - BETWEEN_S)]), sentences


def stage_film(video: Record) -> Film:
    """Sound, scenes and spoken sentences of a video of the corpus."""
    scenes: list[Scene] = []
    sentences: list[Spoken] = []
    sounds = []
    frame = 0
    for step in video["steps"]:
        sound, said = narrate(step, video["voice"], frame / FPS)
        # Each step is padded to a whole frame. Otherwise picture and sound would drift apart, step by step.
        num_frames = -(-len(sound) * FPS // SAMPLE_RATE)
        sounds += [sound, np.zeros(num_frames * SAMPLE_RATE // FPS - len(sound), np.int16)]
        scenes.append(Scene(step, frame, frame + num_frames))
        sentences += said
        frame += num_frames
    return Film(scenes, sentences, np.concatenate(sounds))


def draw_frame(step: Record, progress: float, size: tuple[int, int]) -> Image.Image:
    """One frame of a step; `progress`, 0 to 1, moves its shapes."""
    width, height = size
    image = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE), step["back"])
    pen = ImageDraw.Draw(image)
    for kind, fill, points, *motion in step["draw"]:
        shift = motion[0] if motion else (0, 0)
        moved = [OVERSAMPLE * (value + shift[i % 2] * progress) for i, value in enumerate(points)]
        thick = {"width": 8 * OVERSAMPLE} if kind == "line" else {}
        getattr(pen, kind)(moved, fill=fill, **thick)
    top = (height - BAR_HEIGHT) * OVERSAMPLE
    pen.rectangle([0, top, width * OVERSAMPLE, height * OVERSAMPLE], fill="#101418")
    middle = (width * OVERSAMPLE / 2, top + BAR_HEIGHT * OVERSAMPLE / 2)
    pen.text(middle, step["show"], fill="#ffffff", anchor="mm", font=ImageFont.load_default(22 * OVERSAMPLE))
    return image.reduce(OVERSAMPLE)


def draw_frames(film: Film, size: tuple[int, int]) -> Iterator[Image.Image]:
    """All frames of the film, in order."""
    for scene in film.scenes:
        num_frames = scene.stop_frame - scene.start_frame
        for frame in range(num_frames):
            yield draw_frame(scene.step, frame / num_frames, size)


def encode(film: Film, size: tuple[int, int], path: Path) -> None:
    """Write the film as a small MP4: H.264 and mono AAC, with the index at the front. Exits if ffmpeg fails."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as sound_file:
        with wave.open(sound_file.name, "wb") as sound:
            sound.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            sound.writeframes(film.sound.tobytes())
        pictures = f"-f rawvideo -pix_fmt rgb24 -s {size[0]}x{size[1]} -r {FPS} -i -"
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *pictures.split()]
        command = [*ffmpeg, "-i", sound_file.name, *ENCODING.split(), str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            for image in draw_frames(film, size):
                process.stdin.write(image.tobytes())
    if process.returncode:
        raise SystemExit(f"ffmpeg failed on {path.name}")


def reupload(original: Path, changes: Record, size: tuple[int, int], path: Path) -> None:
    """Write a finished film again: mirrored, cropped or faster, as people upload what is not theirs."""
    inner, speed = 1 - 2 * changes["crop"], changes["speed"]
    pictures = ["hflip"] * changes["mirrored"]
    pictures += [f"crop=iw*{inner}:ih*{inner}", f"scale={size[0]}:{size[1]}", f"setpts=PTS/{speed}", f"fps={FPS}"]
    # swscale and the AAC codec round differently with AVX, so the bytes would depend on the CPU (seen with ffmpeg 9.0).
    portable = ["-cpuflags", "0"]
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *portable, "-i", str(original)]
    filters = ["-vf", ",".join(pictures), "-af", f"atempo={speed}"]
    subprocess.run([*ffmpeg, *filters, *ENCODING.split(), str(path)], check=True)


def cut_pictures(video: Record, assets: Path) -> None:
    """Write the pictures that the video's article shows, cut out of the finished film: stills and clips."""
    for name, (start_s, length_s) in video.get("pictures", {}).items():
        path = assets / "images" / name
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-ss", str(start_s)]
        source = ["-i", str(assets / "media" / f"{video['id']}.mp4"), "-an", "-vf", f"scale={PICTURE_WIDTH}:-2"]
        if length_s:
            h264 = "-c:v libx264 -preset veryslow -crf 33 -threads 1 -pix_fmt yuv420p -movflags +faststart"
            exact = "-fflags +bitexact -flags:v +bitexact -map_metadata -1"
            subprocess.run(
                [*ffmpeg, *source, "-t", str(length_s), *h264.split(), *exact.split(), str(path)], check=True
            )
            continue
        png = [*ffmpeg, *source, "-frames:v", "1", "-c:v", "png", "-f", "image2pipe", "-"]
        with Image.open(io.BytesIO(subprocess.run(png, check=True, capture_output=True).stdout)) as image:
            image.convert("RGB").save(path, quality=70)


def make_heatmap(scenes: Sequence[Scene], duration_s: float) -> list[Record]:
    """A heatmap as YouTube gives it: bins of equal length, the highest 1.0. It is smooth from step to step."""
    edges_s = np.linspace(0, duration_s, NUM_BINS + 1)
    middles = (edges_s[:-1] + edges_s[1:]) / 2 * FPS
    steps = [next(scene.step for scene in scenes if middle < scene.stop_frame) for middle in middles]
    # Padded with the edge values: the convolution would pull both ends down to 0.
    replay = np.pad([step["replay"] for step in steps], 4, mode="edge")
    smooth = np.convolve(replay, np.hanning(11)[1:-1] / np.hanning(11).sum(), mode="valid")
    return [
        {"start_time": round(start_s, 2), "end_time": round(end_s, 2), "value": round(value, 6)}
        for (start_s, end_s), value in zip(pairwise(edges_s.tolist()), smooth / smooth.max(), strict=True)
    ]


def caption_tracks(video: Record, kind: str) -> dict[str, list[Record]]:
    """Language key -> tracks, in yt-dlp's form."""
    tracks: dict[str, list[Record]] = {}
    for caption in video["captions"]:
        if caption["kind"] == kind:
            url = f"https://{HOST}/captions/{caption_name(video, caption)}"
            track = {"ext": caption["format"], "url": url, "name": "English"}
            tracks[caption["key"]] = [track]
            # YouTube offers machine-translated tracks and answers 429 to those who take them. So does the site: a run
            # that asks for one is caught.
            for language in caption.get("translated", []):
                tracks[language] = [{**track, "url": f"{url}?tlang={language}", "name": language}]
    # yt-dlp lists the live chat among the subtitles, where it could be taken for captions.
    if kind == MANUAL and video.get("live_chat"):
        url = f"https://{HOST}/live_chat/{video['id']}"
        tracks["live_chat"] = [{"ext": "json", "url": url, "protocol": "youtube_live_chat_replay"}]
    return tracks


def caption_name(video: Record, caption: Record) -> str:
    """The name of a caption's file."""
    return f"{video['id']}.{caption['kind']}.en.{caption['format']}"


def describe_video(video: Record, channel: Record, film: Film | None, size_bytes: int) -> Record:
    """The site's metadata of a video, in yt-dlp's keys. `film` is None for a broken or unavailable video."""
    if "unavailable" in video:
        return {"unavailable": video["unavailable"]}
    duration_s = film.duration_s if film else video["duration_s"]
    whole = [Scene({"replay": 0.5, "show": ""}, 0, round(duration_s * FPS))]
    scenes = film.scenes if film else whole
    width, height = video.get("size", SIZE)
    chapters = [
        {"start_time": s.start_frame / FPS, "end_time": s.stop_frame / FPS, "title": s.step["show"]} for s in scenes
    ]
    return {
        **{key: video[key] for key in ("id", "title", "description")},
        "channel": channel["name"],
        "channel_id": channel["id"],
        "duration": int(duration_s),
        "view_count": video["views"],
        "upload_date": video["uploaded"].strftime("%Y%m%d"),
        "license": "Creative Commons Attribution license (reuse allowed)",
        "language": video.get("language", "en"),
        "live_status": "not_live",
        "media_type": "video",
        "availability": "public",
        "heatmap": make_heatmap(scenes, duration_s) if video.get("heatmap", True) else None,
        "chapters": chapters if video.get("chapters") else None,
        "subtitles": caption_tracks(video, MANUAL),
        "automatic_captions": caption_tracks(video, AUTOMATIC),
        "format": {"width": width, "height": height, "fps": FPS, "filesize": size_bytes},
    }


def render_video(video: Record, channel: Record, assets: Path) -> Record:
    """Write all assets of one video, and return the site's metadata of it."""
    film = stage_film(video) if video.get("steps") else None
    path = assets / "media" / f"{video['id']}.mp4"
    if film:
        encode(film, tuple(video.get("size", SIZE)), path)
        cut_pictures(video, assets)
        for caption in video["captions"]:
            text = WRITERS[caption["kind"], caption["format"]](film.sentences)
            (assets / "captions" / caption_name(video, caption)).write_text(text, encoding="utf-8")
    # Seeded by the id: noise that is the same at every render, and that no decoder can read.
    elif video.get("broken"):
        path.write_bytes(random.Random(video["id"]).randbytes(NUM_BROKEN_BYTES))
    info = describe_video(video, channel, film, path.stat().st_size if path.exists() else 0)
    write_json(assets / "videos" / f"{video['id']}.json", info)
    return info


def render_reupload(video: Record, channel: Record, assets: Path) -> Record:
    """Write all assets of a re-upload, made of its original's, and return the site's metadata of it.

    Its viewers replay the same moments, so its heatmap is the original's in less time. The original must have been
    rendered to `assets` before; else FileNotFoundError.
    """
    original = json.loads((assets / "videos" / f"{video['reupload_of']}.json").read_bytes())
    path, speed = assets / "media" / f"{video['id']}.mp4", video["changes"]["speed"]
    size = original["format"]["width"], original["format"]["height"]
    reupload(path.with_stem(video["reupload_of"]), video["changes"], size, path)
    heatmap = [
        span | {key: round(span[key] / speed, 2) for key in ("start_time", "end_time")} for span in original["heatmap"]
    ]
    facts = video | {"duration_s": heatmap[-1]["end_time"], "size": size}
    info = describe_video(facts, channel, None, path.stat().st_size) | {"heatmap": heatmap}
    write_json(assets / "videos" / f"{video['id']}.json", info)
    return info


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON, which shows its changes in a diff."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def listing(channel: Record, videos: Sequence[Record], infos: Mapping[str, Record]) -> Record:
    """A channel's listing. Some channels list no view counts, as on YouTube; a private video never has one."""
    entries = [
        {
            "id": video["id"],
            "title": video["title"],
            "duration": infos[video["id"]].get("duration"),
            "view_count": video.get("views") if channel["lists_views"] else None,
        }
        for video in videos
    ]
    return {"id": channel["id"], "name": channel["name"], "entries": entries}


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the embedded corpus.")
    parser.add_argument("video_ids", nargs="*", metavar="VIDEO_ID", help="render only these videos, and no listings")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder to write to; default: the package's assets")
    parser.add_argument(
        "--pictures", action="store_true", help="only cut the articles' pictures again, out of the films that are there"
    )
    options = parser.parse_args()
    corpus = yaml.safe_load(CORPUS.read_text(encoding="utf-8"))
    for folder in ("channels", "videos", "captions", "media", "images"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    if options.pictures:
        for video in corpus["videos"]:
            cut_pictures(video, options.out)
        return
    infos = {}
    for video in corpus["videos"]:
        if not options.video_ids or video["id"] in options.video_ids:
            render = render_reupload if "reupload_of" in video else render_video
            infos[video["id"]] = render(video, corpus["channels"][video["channel"]], options.out)
    # A listing needs the metadata of all its videos.
    if not options.video_ids:
        for name, channel in corpus["channels"].items():
            videos = [video for video in corpus["videos"] if video["channel"] == name]
            write_json(options.out / "channels" / f"{name}.json", listing(channel, videos, infos))


if __name__ == "__main__":
    main()
