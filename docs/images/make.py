"""Make the pictures of README and docs from the sample: `make pictures`. It needs Debian's chromium.

python docs/images/make.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import vsumdata

HERE = Path(__file__).parent
SHOWN = "pancakes_01"


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        work = Path(name)
        keep = {"crawl.keep_media": True}
        vsumdata.run("sample", root=work / "sample", stage="crawl,asr,features,thumbnails", settings=keep)
        report = vsumdata.report(work / "sample", work / "report.html")
        vsumdata.summarize(SHOWN, root=work / "sample", output=work / "summary", budget=0.4, method="replay")
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 640}, color_scheme="light")
        page.goto(f"{report.as_uri()}#v-{SHOWN}")
        shoot_video(page, folder / "report.png")
        page.set_viewport_size({"width": 1000, "height": 1000})
        page.goto((work / "summary" / "summary.html").as_uri())
        page.wait_for_timeout(1000)  # the film's first picture
        page.screenshot(path=folder / "summary.png", scale="css")
        browser.close()


def shoot_video(page: Page, path: Path) -> None:
    """One video's part of the report, at one of its sentences."""
    video = page.locator(f"[id='v-{SHOWN}'][open]")
    video.locator(".said-list a").nth(3).click()
    # It would lie over what is shot.
    page.add_style_tag(content="nav { display: none !important }")
    video.screenshot(path=path, scale="css")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
