"""The stage `step_frames`: pictures of a made-up site and of the sample's, found in frames."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.stages.pictures.numbered_clips import X264, ffmpeg
from tests.stages.web.web_kit import HOST, HTML, Site, endless, serving

from vsumdata.datasets.sample.site import ASSETS, SampleSite
from vsumdata.datasets.sample.site import HOST as SAMPLE
from vsumdata.manifests.errors import RetryVideo, SkipVideo, ThrottledError
from vsumdata.manifests.rows import to_table
from vsumdata.manifests.sections.labels import StepFrames
from vsumdata.manifests.tables import payload
from vsumdata.stages import frames
from vsumdata.stages.encoders.colours import ColourEncoder
from vsumdata.stages.howto.parser import parse_article
from vsumdata.stages.labels import step_frames
from vsumdata.stages.stage import Context

OPTIONS = {
    **StepFrames().model_dump(),
    **{"clip_model": "colour-histograms", "clip_weights": "none", "precision": "fp32", "fps": 1.0, "picture_dim": 192},
}
PNG = {"Content-Type": "image/png"}
WALL = b"<title>Just a moment...</title><script src='/cf-chl/x.js'></script>"
# What the video shows, second by second: 64x64 px of one hue each, so that the encoder's squares are the same.
SHOWN = np.random.default_rng(0).integers(0, 256, (10, 1, 1, 3)) + np.random.default_rng(1).integers(
    0, 9, (10, 64, 64, 3)
)
SHOWN = SHOWN.clip(0, 255).astype(np.uint8)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def make(site, tmp_path):
    def row_of(steps, frames_of=SHOWN, **more):
        function = step_frames.load(OPTIONS | more, site.context(tmp_path))
        return function({"articles": {"step": steps, "license": "CC BY 4.0"}, "frames": seen(frames_of)})

    return row_of


def seen(pictures):
    feature = ColourEncoder().encode(pictures)
    num = len(feature)
    return {
        "frame_time_s": np.arange(num, dtype=np.float32),
        "frame_feature": feature,
        "shot_start": np.arange(num),
        "shot_stop": np.arange(num) + 1,
    }


def png(k):
    body = io.BytesIO()
    Image.fromarray(SHOWN[k]).save(body, "PNG")
    return body.getvalue()


def step(image=None, clip=None, text="Stir."):
    return {"section": "", "headline": "", "text": text, "image_url": image, "clip_url": clip}


def test_pictures_are_found_in_the_order_of_steps(site, make, tmp_path):
    named = [site.add(f"/{k}.png", (200, PNG, png(k))) for k in (2, 5, 8)]
    # `features.step` leaves out the step without text, and its picture belongs to no step.
    found = make([step(named[0]), step(), step(named[1], text=" "), step(named[1]), step(named[2])])
    assert found["gt_step"].tolist() == [-1, -1, 0, -1, -1, 2, -1, -1, 3, -1]
    assert found["gt_summary"].tolist() == (found["gt_step"] >= 0).tolist()
    assert found["gt_confidence"].tolist() == pytest.approx([float(k in (2, 5, 8)) for k in range(10)], abs=1e-3)
    assert [(p["step"], p["kind"], p["url"], p["time_s"]) for p in found["picture"]] == [
        (number, "image", url, time_s) for number, url, time_s in zip((0, 2, 3), named, (2.0, 5.0, 8.0), strict=True)
    ]
    assert found["picture_feature"].shape == (3, 192)
    assert (found["picture_license"], found["picture_file"]) == ("CC BY 4.0", None)
    table = to_table(payload("step_frames", OPTIONS), [found])
    assert table["picture_feature"].to_pylist()[0][0] == found["picture_feature"][0].tolist()
    assert site.paths() == ["/robots.txt", "/2.png", "/5.png", "/8.png"]
    assert site.asked[-1][1]["User-Agent"].startswith("vsumdata/")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_picture_out_of_order_or_of_nothing_in_the_video_is_not_shown(site, make):
    foreign = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(foreign, "PNG")
    early, late = (site.add(f"/{k}.png", (200, PNG, png(k))) for k in (1, 6))
    noise = site.add("/noise.png", (200, PNG, foreign.getvalue()))
    found = make([step(late), step(noise), step(early), step(late)])
    assert [p["time_s"] for p in found["picture"]] == [6.0, None, None, 6.0]
    assert [p["cosine"] > 0.99 for p in found["picture"]] == [True, False, True, True]
    assert found["gt_summary"].sum() == 1
    with pytest.raises(SkipVideo, match="no_pictures: none of its 1 pictures is seen in the video"):
        make([step(noise)])


def test_a_defect_of_one_picture_costs_that_picture_alone(site, make):
    site.add("/robots.txt", (200, {}, b"User-agent: *\nDisallow: /private/"))
    good = site.add("/good.png", (200, PNG, png(4)))
    whole = png(1)
    # Raw, because the kit's answers have a `Server` of their own.
    site.raw["/s3.png"] = lambda file: file.write(
        b"HTTP/1.0 403 Forbidden\r\nServer: AmazonS3\r\n\r\n<Code>AccessDenied"
    )
    bad = [
        site.add("/gone.png", (404, HTML, b"")),
        f"https://{HOST}/s3.png",
        site.add("/huge.png", (200, PNG | {"Content-Length": "99999999"}, b"")),
        site.add("/endless.png", (200, PNG, endless)),
        site.add("/page.png", (200, HTML, b"<p>Our pictures have moved.")),
        site.add("/cut.png", (200, PNG, whole[: len(whole) // 2])),
        site.add("/cut.mp4", (200, {"Content-Type": "video/mp4"}, b"\0\0\0\x18ftypmp42" + bytes(500))),
        site.add("/away.png", (302, {"Location": "https://evil.example/a.png"}, b"")),
        site.add("/private/a.png", (200, PNG, whole)),
        "https://evil.example/a.png",
        "https://[",
    ]
    found = make([*map(step, bad), step(good)], max_picture_mb=0.05)
    assert [(p["step"], p["time_s"]) for p in found["picture"]] == [(len(bad), 4.0)]
    assert found["detail"] == (
        "11 addresses gave no picture: 3 unreadable, 3 not_allowed, 2 article_gone, 2 too_large, 1 robots"
    )
    with pytest.raises(SkipVideo, match="no_pictures: 2 addresses gave no picture: 1 article_gone, 1 unreadable"):
        make([step(bad[0]), step(bad[4])])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((429, HTML | {"Retry-After": "60"}, b""), ThrottledError),
        ((200, HTML, WALL), ThrottledError),
        ((403, HTML, WALL), ThrottledError),
        ((403, HTML, b""), RetryVideo),
        ((503, HTML | {"Retry-After": "60"}, b""), RetryVideo),
    ],
)
def test_a_host_that_refuses_everybody_puts_the_row_off(site, make, answer, error):
    good = site.add("/good.png", (200, PNG, png(4)))
    with pytest.raises(error):
        make([step(good), step(site.add("/a.png", answer))])


def test_rows_without_pictures(site, tmp_path):
    function = step_frames.load(OPTIONS, site.context(tmp_path))
    article, shown = {"step": [step()], "license": None}, seen(SHOWN)
    for change, reason in (({"articles": None}, "no_article"), ({"frames": None}, "no_frames"), ({}, "no_pictures")):
        with pytest.raises(SkipVideo, match=reason):
            function({"articles": article, "frames": shown} | change)
    assert site.asked == []


def test_a_clip_that_cannot_be_had_leaves_the_image_and_a_shared_picture_is_asked_for_once(site, make):
    gone, image = f"https://{HOST}/gone.mp4", site.add("/3.png", (200, PNG, png(3)))
    # Pages up to 2015 name http addresses.
    plain = image.replace("https", "http")
    found = make([step(plain, gone), step(image), step(image)], max_pictures=2, keep_pictures=True)
    assert [(p["step"], p["kind"], p["url"]) for p in found["picture"]] == [(0, "image", image), (1, "image", image)]
    assert found["picture_file"] == [png(3)] * 2
    assert site.paths().count("/3.png") == 1


@pytest.mark.parametrize(
    ("hosts", "url", "is_asked"),
    [
        ([], "https://www.wikihow.com/images/thumb/d/de/Step-1.jpg/v4-460px-Step-1.jpg", True),
        ([], "http://pad2.whstatic.com/images/Step-1.jpg", True),
        ([], "http://img-aws.ehowcdn.com/default/cme/photography.prod.demandstudios.com/a.jpg", True),
        ([], "https://pictures.example/a.jpg", False),
        (["pictures.example"], "https://pictures.example/a.jpg", True),
        (["pictures.example"], "https://pictures.example:8443/a.jpg", False),
    ],
)
def test_pictures_come_from_known_hosts_and_those_that_the_manifest_names(tmp_path, hosts, url, is_asked):
    class Asked(Exception):
        pass

    def stop(host):
        raise Asked

    # The pace is asked for the host's turn before anything is sent.
    context = Context(root=str(tmp_path), scratch=str(tmp_path), pace=stop)
    function = step_frames.load(OPTIONS | {"hosts": hosts}, context)
    with pytest.raises(Asked if is_asked else SkipVideo):
        function({"articles": {"step": [step(url)], "license": None}, "frames": seen(SHOWN)})


def test_resnet_decodes_the_video_again(site, tmp_path):
    """One hue a second, by random weights; the features of `frames` say nothing."""
    film = tmp_path / "film.mp4"
    ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x64", "-r", 1, "-i", "-", *X264, film, feed=SHOWN.tobytes())
    named = [site.add(f"/{k}.png", (200, PNG, png(k))) for k in (2, 5)]
    own = {"clip_model": "resnet50", "clip_weights": "seed:0", "picture_dim": 2048}
    function = step_frames.load(OPTIONS | own | {"sampling": "exact", "hwaccel": "none"}, site.context(tmp_path))
    article = {"step": [step(url) for url in named], "license": None}
    blind = seen(np.zeros((10, 64, 64, 3), np.uint8))
    found = function({"articles": article, "frames": blind, "media": str(film)})
    assert [p["time_s"] for p in found["picture"]] == [2.0, 5.0]
    assert found["picture_feature"].shape == (2, 2048)


def test_the_samples_pictures_are_found_where_they_were_cut_out(tmp_path):
    """By a small CLIP with random weights."""
    own = {"clip_model": "ViT-S-32-alt", "clip_weights": "seed:0", "picture_dim": 256, "frame_dim": 256}
    options = OPTIONS | own | {"fps": 0.5, "sampling": "exact", "hwaccel": "none"}
    page = (ASSETS / "articles" / "wikihow" / "Make-Pancakes.html").read_text()
    article = parse_article(page, f"https://{SAMPLE}/wikihow/Make-Pancakes")
    with SampleSite() as sample:
        context = Context(root=str(tmp_path), scratch=str(tmp_path / "s"), transport={SAMPLE: sample.address})
        video = frames.load(options, context)({"media": str(ASSETS / "media" / "pancakes_01.mp4")})
        steps = [found._asdict() for found in article.steps]
        row = step_frames.load(options, context)({"articles": {"step": steps, "license": "x"}, "frames": video})
    # As in corpus.yaml.
    expected = [(0, "image", 8), (2, "image", 20), (3, "clip", 24), (4, "image", 31)]
    assert [(p["step"], p["kind"]) for p in row["picture"]] == [(number, kind) for number, kind, _ in expected]
    assert [p["time_s"] for p in row["picture"]] == pytest.approx([time_s for *_, time_s in expected], abs=2)
    assert set(row["gt_step"].tolist()) == {-1, 0, 2, 3, 4}
    assert not list(Path(tmp_path / "s").iterdir())
