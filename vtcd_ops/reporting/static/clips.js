// Playing clips: one clock for the whole page, and a canvas for each clip that draws itself when
// its frame changes while it is on the screen.

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

const clock = {
  playing: !calm.matches,
  tick: 0, // frames since the start, not whole while playing
  last: null,
  clips: new Set(),
  aligned: false, // all clips at the same frame; otherwise each starts at its own peak
  onFrame: () => {},

  step(now) {
    if (this.playing && this.last !== null) {
      this.tick += (Math.min(now - this.last, 250) / 1000) * report.framesPerSecond;
    }
    this.last = now;
    for (const clip of this.clips) clip.drawIfChanged(this.tick);
    this.onFrame(this.tick);
    requestAnimationFrame((later) => this.step(later));
  },
};

// Draws only clips on the screen.
const onScreen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const clip = target.clip;
      if (!clip) continue;
      if (isIntersecting) {
        clip.prepare();
        clock.clips.add(clip);
      } else {
        clock.clips.delete(clip);
      }
    }
  },
  { rootMargin: "120px" },
);
const onResize = new ResizeObserver((entries) => {
  for (const { target } of entries) target.clip?.invalidate();
});

// What a clip shows: `concept` outlined and all else dimmed, or every concept in its colour
// (concept === "all"), or the bare video (concept === null). It starts at the frame of which the
// concept covers most; a still one stays there.
class Clip {
  constructor(runId, head, concept, videoIndex, { still = false } = {}) {
    Object.assign(this, { runId, head, concept, videoIndex, still, peak: 0, points: new Map() });
    this.video = report.videos[videoIndex];
    this.drawn = -1;
    this.canvas = element("canvas", { role: "img", "aria-label": this.description() });
    this.canvas.style.aspectRatio = `${this.video.width} / ${this.video.height}`;
    this.canvas.clip = this;
    onScreen.observe(this.canvas);
    onResize.observe(this.canvas);
  }

  description() {
    const name = this.video.name;
    if (this.concept === null) return `Video ${name}`;
    if (this.concept === "all") return `Video ${name} with all concepts in their colours`;
    return `Video ${name} with concept ${this.concept} outlined`;
  }

  // Where it is, for the title of the enlarged view.
  title() {
    const { layer, head } = this.head;
    const what = this.concept === "all" ? "all concepts" : `concept ${this.concept}`;
    return `Layer ${layer} · head ${head} · ${what} · ${runs.get(this.runId).title}`;
  }

  // The clip and the bare video, for the enlarged view.
  largePair() {
    return [this.concept, null].map((shown) => new Clip(this.runId, this.head, shown, this.videoIndex));
  }

  async prepare() {
    if (this.sheet) return;
    const [sheet, supports] = await Promise.all([
      sheetOf(this.videoIndex),
      this.concept === null ? null : supportsOf(this.runId, this.head),
    ]);
    this.volume = supports?.get(this.videoIndex);
    if (typeof this.concept === "number") {
      this.shares = coverage(this.volume, this.concept + 1);
      this.peak = this.shares.indexOf(Math.max(...this.shares));
    }
    this.sheet = sheet;
    this.invalidate();
  }

  invalidate() {
    this.paths = new Map();
    this.drawn = -1;
  }

  dispose() {
    clock.clips.delete(this);
    onScreen.unobserve(this.canvas);
    onResize.unobserve(this.canvas);
  }

  frameAt(tick) {
    const count = this.video.frames.length;
    if (this.still) return this.peak;
    if (this.follows) return this.follows.frameAt(tick);
    return (Math.floor(tick) + (clock.aligned ? 0 : this.peak)) % count;
  }

  drawIfChanged(tick) {
    const frame = this.frameAt(tick);
    if (!this.sheet || frame === this.drawn || !this.canvas.clientWidth) return;
    this.drawn = frame;
    this.draw(frame);
  }

  draw(frame) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round((width * this.video.height) / this.video.width);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      Object.assign(this.canvas, { width, height });
      this.paths.clear();
    }
    const context = this.canvas.getContext("2d");
    this.drawVideo(context, frame, width, height);
    if (typeof this.concept === "number") this.drawConcept(context, frame, ratio);
    if (this.concept === "all") this.drawAll(context, frame, ratio);
    this.onDraw?.(frame);
  }

  drawVideo(context, frame, width, height) {
    const { columns, width: w, height: h } = this.video;
    const [column, row] = [frame % columns, Math.floor(frame / columns)];
    context.imageSmoothingQuality = "high";
    context.drawImage(this.sheet, column * w, row * h, w, h, 0, 0, width, height);
  }

  path(frame, value) {
    const key = frame * 256 + value;
    if (!this.paths.has(key)) {
      const loops = traceLoops(this.volume, frame, value);
      const scaleX = this.canvas.width / this.volume.width;
      const scaleY = this.canvas.height / this.volume.height;
      this.paths.set(key, loopsToPath(loops, scaleX, scaleY));
    }
    return this.paths.get(key);
  }

  labels(frame) {
    if (!this.points.has(frame)) this.points.set(frame, labelPoints(this.volume, frame));
    return this.points.get(frame);
  }

  drawConcept(context, frame, ratio) {
    const { width, height } = this.canvas;
    const path = this.path(frame, this.concept + 1);
    const outside = new Path2D();
    outside.rect(0, 0, width, height);
    outside.addPath(path);
    context.save();
    context.clip(outside, "evenodd");
    this.drainColour(context);
    context.fillStyle = "rgb(14 17 22 / 45%)";
    context.fillRect(0, 0, width, height);
    context.restore();
    this.outline(context, path, this.concept, ratio);
  }

  // Turn to grey what is on the canvas.
  drainColour(context) {
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.globalCompositeOperation = "source-over";
  }

  // On grey, so that the video's colours are not taken for those of concepts.
  drawAll(context, frame, ratio) {
    this.drainColour(context);
    const labels = this.labels(frame);
    for (const value of labels.keys()) {
      const path = this.path(frame, value);
      context.globalAlpha = 0.4;
      context.fillStyle = conceptStyle(value - 1).colour;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
      this.outline(context, path, value - 1, 0.7 * ratio);
    }
    context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 3 * ratio;
    context.lineJoin = "round";
    for (const [value, { point, count }] of labels) {
      if (count < 12) continue; // no room for a number
      const x = (point[0] * this.canvas.width) / this.volume.width;
      const y = (point[1] * this.canvas.height) / this.volume.height;
      context.strokeStyle = "rgb(10 12 16 / 75%)";
      context.strokeText(value - 1, x, y);
      context.fillStyle = "#fff";
      context.fillText(value - 1, x, y);
    }
  }

  outline(context, path, concept, ratio) {
    const { colour, dashed } = conceptStyle(concept);
    context.lineJoin = "round";
    context.strokeStyle = "rgb(10 12 16 / 55%)";
    context.lineWidth = 3.6 * ratio;
    context.stroke(path);
    context.strokeStyle = colour;
    context.lineWidth = 2 * ratio;
    context.setLineDash(dashed ? [6 * ratio, 4 * ratio] : []);
    context.stroke(path);
    context.setLineDash([]);
  }
}

// The bars under a clip: share of every frame that the concept covers, and where playing is.
function coverageBars(clip) {
  const bars = element("div", { class: "coverage", "aria-hidden": "true" });
  clip.onDraw = (frame) => {
    if (!bars.childElementCount) {
      const top = Math.max(...clip.shares, 1e-9);
      clip.shares.forEach((share) => bars.append(element("i", { "--v": (share / top).toFixed(3) })));
    }
    bars.querySelector(".now")?.classList.remove("now");
    bars.children[frame].classList.add("now");
  };
  return bars;
}
