"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const player = document.getElementById("player");
  if (!player) return;
  document.documentElement.classList.add("has-script");
  const { film, original } = player.dataset;
  const told = document.getElementById("told");
  const only = document.getElementById("only");
  const whole = document.getElementById("whole");
  const now = document.getElementById("now");
  const cards = [...document.querySelectorAll("a.card[data-start]")];
  const EDGE_S = 0.05; // a browser may land a little before the time that it was sent to
  let source = film ? "film" : "original"; // what the player holds
  let skips = true; // whether what was not chosen is left out

  // Captions as cues of the script: browsers refuse a <track> from a file.
  const track = player.addTextTrack("captions", "Captions", "");
  track.mode = "hidden";
  const caption = () => {
    for (const cue of [...(track.cues || [])]) track.removeCue(cue);
    const add = (start, end, text) => {
      if (end <= start) return;
      const cue = new VTTCue(start, end, "");
      cue.text = text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
      track.addCue(cue);
    };
    for (const [start, end, text] of data.sentences) {
      if (source === "original") add(start, end, text);
      else for (const [from, to, at] of data.segments) add(Math.max(start, from) - from + at, Math.min(end, to) - from + at, text);
    }
  };

  const inVideo = (time) => {
    if (source === "original") return time;
    const last = data.segments[data.segments.length - 1];
    for (const [from, to, at] of data.segments) if (time < at + to - from) return from + Math.max(0, time - at);
    return last ? last[1] : time;
  };
  const inSource = (time) => {
    if (source === "original") return time;
    for (const [from, to, at] of data.segments) if (time < to) return at + Math.max(0, time - from);
    return player.duration || 0;
  };
  const hold = (wanted) => {
    if (source === wanted) return;
    const time = inVideo(player.currentTime), plays = !player.paused;
    source = wanted;
    player.src = wanted === "film" ? film : original;
    player.addEventListener("loadedmetadata", () => {
      player.currentTime = inSource(time);
      if (plays) player.play().catch(() => {});
    }, { once: true });
    caption();
  };
  const say = () => {
    only.setAttribute("aria-pressed", String(skips));
    if (whole) whole.setAttribute("aria-pressed", String(!skips));
    if (source === "film") told.textContent = "This is the film of the chosen shots.";
    else if (skips) told.textContent = "The original, of which only the chosen shots are played.";
    else told.textContent = "The whole original.";
  };

  const follow = () => {
    const time = inVideo(player.currentTime);
    const at = data.duration_s ? (time / data.duration_s) * 1000 : 0;
    now.setAttribute("x1", at);
    now.setAttribute("x2", at);
    for (const card of cards) {
      const is = time >= Number(card.dataset.start) && time < Number(card.dataset.end);
      card.classList.toggle("is-now", is);
    }
    if (source !== "original" || !skips || player.seeking || player.paused) return;
    const inside = data.segments.some(([from, to]) => time >= from - EDGE_S && time < to);
    if (inside) return;
    const next = data.segments.find(([from]) => from > time);
    if (next) player.currentTime = next[0];
    else player.pause();
  };
  const step = () => {
    follow();
    if (!player.paused) requestAnimationFrame(step);
  };
  player.addEventListener("play", () => {
    // Played to its end, the summary begins anew.
    const last = data.segments[data.segments.length - 1];
    if (source === "original" && skips && last && player.currentTime >= last[1] - EDGE_S) player.currentTime = data.segments[0][0];
    requestAnimationFrame(step);
  });
  player.addEventListener("timeupdate", follow);
  player.addEventListener("error", () => {
    if (source !== "original" || !film) {
      told.textContent = "The video cannot be played: it was moved, or this browser does not know its format.";
      return;
    }
    // The original was moved, or is of a format that no browser plays. The film always is.
    hold("film");
    skips = true;
    if (whole) whole.disabled = true;
    say();
    told.textContent = "The original is not there, or cannot be played here: this is the film of the chosen shots.";
  });

  only.addEventListener("click", () => {
    skips = true;
    if (!original || (whole && whole.disabled)) hold("film");
    say();
    player.play().catch(() => {});
  });
  if (whole) whole.addEventListener("click", () => {
    skips = false;
    hold("original");
    say();
    player.play().catch(() => {});
  });
  for (const card of cards) card.addEventListener("click", (event) => {
    event.preventDefault();
    player.currentTime = inSource(Number(card.dataset.start) + 0.01);
    player.play().catch(() => {});
    player.scrollIntoView({ block: "nearest" });
  });
  document.getElementById("curve").addEventListener("click", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const time = ((event.clientX - box.left) / box.width) * data.duration_s;
    if (source === "original") skips = skips && data.segments.some(([from, to]) => time >= from && time < to);
    player.currentTime = inSource(time);
    say();
  });

  if (original) hold("original");
  caption();
  say();
})();
