// A clip in large beside the bare video, with a way to the next one.

class Enlarged {
  constructor() {
    this.dialog = byId("enlarged");
    this.clips = [];
    byId("close").addEventListener("click", () => this.dialog.close());
    byId("clip-previous").addEventListener("click", () => this.step(-1));
    byId("clip-next").addEventListener("click", () => this.step(1));
    byId("clip-png").addEventListener("click", () => this.savePicture());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // a click beside it
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input")) return;
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
    this.dialog.addEventListener("close", () => this.dispose());
  }

  dispose() {
    for (const clip of this.clips) clip.dispose();
    this.clips = [];
  }

  // `row` holds the clips between which one may step.
  open(clip, row = [clip]) {
    Object.assign(this, { row, at: Math.max(row.indexOf(clip), 0) });
    this.show();
    if (!this.dialog.open) this.dialog.showModal();
  }

  step(by) {
    this.at = (this.at + by + this.row.length) % this.row.length;
    this.show();
  }

  show() {
    this.dispose();
    const clip = this.row[this.at];
    this.clips = clip.largePair();
    this.dialog.querySelector("h2").textContent = clip.title();
    const figures = this.clips.map((each) => {
      const bars = typeof each.concept === "number" ? [coverageBars(each)] : [];
      return element("figure", {}, each.canvas, ...bars);
    });
    this.clips.slice(1).forEach((bare) => { bare.follows = this.clips[0]; });
    this.dialog.querySelector(".pair").replaceChildren(...figures);
    for (const id of ["clip-previous", "clip-next"]) byId(id).hidden = this.row.length < 2;
    const { video } = clip;
    const position = this.row.length > 1 ? `Clip ${this.at + 1} of ${this.row.length}. ` : "";
    const text = video.text ? ` “${video.text}”.` : "";
    this.dialog.querySelector("p.explanation").textContent =
      `${position}${videoName(video)}, ${video.frames.length} of ${plural(video.total, "frame")}.${text}` +
      (typeof clip.concept === "number"
        ? " Bars: share of each frame that the concept covers, relative to its largest."
        : "");
  }

  savePicture() {
    this.clips[0].canvas.toBlob((blob) => {
      if (blob) save("clip.png", blob, "image/png");
    });
  }
}

function videoName(video) {
  const { name, label } = video;
  return label === null || label === undefined || String(label) === name ? name : `${name} · ${label}`;
}

function caption(video) {
  const text = videoName(video);
  return element("figcaption", { title: video.text ? `${text}: ${video.text}` : text }, text);
}

// A clip that enlarges when it is clicked, its bars and its caption.
function clipFigure(clip, row, { bars = true, note = null, captioned = true } = {}) {
  const button = element(
    "button",
    { type: "button", class: "clip", "aria-label": `Enlarge: ${clip.description()}`, onclick: () => enlarged.open(clip, row) },
    clip.canvas,
  );
  const parts = [button];
  if (bars && typeof clip.concept === "number") parts.push(coverageBars(clip));
  if (captioned) {
    const below = caption(clip.video);
    if (note) below.prepend(element("b", {}, `${note} `));
    parts.push(below);
  }
  return element("figure", {}, ...parts);
}

// Figures of several clips between which the enlarged view may step.
function clipFigures(clips, options = {}) {
  return clips.map((clip) => clipFigure(clip, clips, options));
}
