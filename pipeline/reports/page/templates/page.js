"use strict";
document.documentElement.classList.add("with-js");

// The table: sort by a click or Enter on a heading, filter as one types.
const list = document.getElementById("list");
if (list) {
  const rows = [...list.tBodies[0].rows];
  const known = rows.map((row) => ({ row, text: row.textContent.toLowerCase(), cells: [...row.cells] }));
  const value = (cell, isNumber) => {
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (!isNumber) return text.toLowerCase();
    return text === "" || text === "–" ? NaN : parseFloat(text.replace(/,/g, ""));
  };
  [...list.tHead.rows[0].cells].forEach((heading, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    const isNumber = heading.classList.contains("n");
    button.addEventListener("click", () => {
      // Numbers begin with the largest, words with a.
      const now = heading.getAttribute("aria-sort");
      const isDown = isNumber ? now !== "descending" : now === "ascending";
      for (const other of list.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const sign = isDown ? -1 : 1;
      const keyed = known.map((each) => [value(each.cells[at], isNumber), each.row]);
      keyed.sort(([a], [b]) => {
        if (!isNumber) return sign * a.localeCompare(b);
        // What is not known comes last, whichever way.
        return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b) || 0;
      });
      list.tBodies[0].append(...keyed.map(([, row]) => row));
    });
  });
  const find = document.getElementById("find");
  const which = document.getElementById("which");
  const split = document.getElementById("split");
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let number = 0;
    for (const { row, text, cells } of known) {
      const isOut = row.classList.contains("out");
      const isShown =
        words.every((word) => text.includes(word)) &&
        (!which.value || (which.value === "out") === isOut) &&
        (!split.value || cells[10].textContent.trim() === split.value);
      row.hidden = !isShown;
      number += isShown;
    }
    document.getElementById("found").textContent = `${number} of ${known.length}`;
  };
  for (const input of [find, which, split]) input.addEventListener("input", filter);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  filter();
}

// A video's clock: the frame and the sentence under the pointer; a click, or a sentence, sets the position.
const written = (seconds) => {
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return parts[0] ? `${parts[0]}:${two(parts[1])}:${two(parts[2])}` : `${parts[1]}:${two(parts[2])}`;
};

function wire(video) {
  const clock = video.querySelector(".clock");
  const tracks = clock.querySelector(".tracks");
  const length = parseFloat(clock.dataset.length);
  const cursor = clock.querySelector(".cursor");
  const preview = clock.querySelector(".preview");
  const pictures = [...clock.querySelectorAll(".strip img")];
  const texts = [...video.querySelectorAll(".texts li[data-from]")];
  const player = video.querySelector("video");
  let position = 0;

  const show = (at) => {
    const time = Math.min(Math.max(at, 0), length);
    cursor.style.display = "block";
    cursor.style.left = `${(time / length) * 100}%`;
    preview.hidden = false;
    let nearest = null;
    for (const picture of pictures) {
      const far = Math.abs(picture.dataset.t - time);
      if (!nearest || far < Math.abs(nearest.dataset.t - time)) nearest = picture;
    }
    const image = preview.querySelector("img");
    image.hidden = !nearest;
    if (nearest && image.src !== nearest.src) image.src = nearest.src;
    const said = [];
    for (const item of texts) {
      const isNow = item.dataset.from <= time && time < item.dataset.to;
      item.classList.toggle("now", isNow);
      if (isNow && item.parentElement.classList.contains("said-list")) said.push(item.textContent.trim());
    }
    preview.querySelector("p").textContent = `${written(time)} ${said.map((text) => text.replace(/^\S+\s/, "")).join(" ")}`;
    return time;
  };
  const go = (at) => {
    position = show(at);
    tracks.setAttribute("aria-valuenow", Math.round(position));
    tracks.setAttribute("aria-valuetext", written(position));
    if (player && Math.abs(player.currentTime - position) > 0.3) player.currentTime = position;
  };
  const under = (event) => {
    const box = tracks.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * length;
  };
  tracks.addEventListener("pointermove", (event) => show(under(event)));
  tracks.addEventListener("pointerleave", () => show(position));
  tracks.addEventListener("click", (event) => go(under(event)));
  tracks.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 }[event.key];
    const end = { Home: 0, End: length }[event.key];
    if (step === undefined && end === undefined) return;
    event.preventDefault();
    go(end ?? position + step * Math.max(1, length / 200));
  });
  for (const item of texts) {
    item.querySelector("a")?.addEventListener("click", (event) => {
      // The address itself leads to the video's site: with a modifier key it still does.
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(parseFloat(item.dataset.from));
    });
  }
  player?.addEventListener("timeupdate", () => go(player.currentTime));
}

const wired = new WeakSet();
const prepare = (video) => {
  if (!wired.has(video)) {
    wired.add(video);
    wire(video);
  }
};
for (const video of document.querySelectorAll("details.video")) {
  video.addEventListener("toggle", () => video.open && prepare(video));
}
document.querySelectorAll("article.video").forEach(prepare);
const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.matches("details.video")) {
    target.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", open);
open();

// `view`: ask now and then whether the root has more, and load the page again if so.
const stamp = document.body.dataset.stamp;
if (stamp) {
  const look = async () => {
    try {
      const answer = await fetch("state", { cache: "no-store" });
      if (answer.ok && (await answer.text()) !== stamp && !document.getElementById("find")?.value) location.reload();
    } catch {
      const live = document.getElementById("live");
      if (live) live.textContent = "vsumdata view has ended: this page no longer follows the root.";
    }
  };
  setInterval(look, 3000);
}
