// The selected head: its concepts with their clips, for one or both shown runs.

class HeadView {
  constructor() {
    this.columns = document.getElementById("columns");
    this.title = document.getElementById("head-title");
    this.clips = [];
    this.enlarged = new Enlarged();
  }

  show(head, runIds, order) {
    for (const clip of this.clips) clip.dispose();
    this.clips = [];
    const part = manyParts() ? `${capitalise(head.part)} · ` : "";
    this.title.textContent = `${part}Layer ${head.layer} · Head ${head.head}`;
    const columns = runIds
      .map((runId) => [runs.get(runId), headsOf.get(runId).get(head.key)])
      .filter(([, found]) => found)
      .map(([run, found]) => this.column(run, found, order));
    this.columns.replaceChildren(...columns);
    this.columns.style.setProperty("--columns", columns.length);
  }

  column(run, head, order) {
    const concepts = head.concepts
      .map((concept, index) => ({ ...concept, index }))
      .sort((a, b) => further(a, b, order) || further(a, b, "silhouette") || a.index - b.index);
    const tubelets = concepts.reduce((sum, { values }) => sum + values.tubelets, 0);
    const { silhouette } = head.values;
    const facts =
      `${plural(concepts.length, "concept")} · ${plural(tubelets, "tubelet")}` +
      (silhouette === null ? "" : ` · silhouette ${formatNumber(silhouette, "fraction")}`);
    return element(
      "div",
      { class: `column ${run.id}` },
      element(
        "header",
        { class: "column-head" },
        element("h3", {}, run.title),
        element("p", {}, facts),
      ),
      this.overview(run, head),
      ...concepts.map((concept) => this.card(run, head, concept)),
    );
  }

  // All concepts of the head at once, in the videos that most of them are shown in.
  overview(run, head) {
    const uses = new Map(head.packed.map((video) => [video, 0]));
    head.concepts.forEach(({ clips }) => clips.forEach((video) => uses.set(video, uses.get(video) + 1)));
    const videos = [...uses.keys()].sort((a, b) => uses.get(b) - uses.get(a) || a - b).slice(0, 3);
    return element(
      "section",
      { class: "concept overview", "aria-label": "All concepts together" },
      element("header", {}, element("h4", {}, "All concepts together")),
      this.clipRow(run, head, "all", videos),
    );
  }

  card(run, head, concept) {
    const { colour, dashed } = conceptStyle(concept.index);
    const chip = element("span", { class: dashed ? "chip dashed" : "chip", "--colour": colour }, String(concept.index));
    const numbers = report.conceptQuantities.map(({ key, label, explanation, style }) =>
      element(
        "div",
        { title: explanation },
        element("dt", {}, label.toLowerCase()),
        element("dd", {}, formatNumber(concept.values[key], style)),
      ),
    );
    return element(
      "article",
      { class: "concept", id: run.id === "model" ? `${head.key}-C${concept.index}` : null },
      element(
        "header",
        {},
        element("h4", {}, "Concept ", chip),
        element("dl", { class: "numbers" }, ...numbers),
      ),
      this.clipRow(run, head, concept.index, concept.clips),
    );
  }

  clipRow(run, head, concept, videos) {
    return element(
      "div",
      { class: "clips" },
      ...videos.map((video) => this.figure(new Clip(run.id, head, concept, video))),
    );
  }

  figure(clip) {
    this.clips.push(clip);
    const button = element(
      "button",
      {
        type: "button",
        class: "clip",
        "aria-label": `Enlarge: ${clip.description()}`,
        onclick: () => this.enlarged.open(clip),
      },
      clip.canvas,
    );
    const parts = [button];
    if (typeof clip.concept === "number") parts.push(coverageBars(clip));
    parts.push(caption(clip.video));
    return element("figure", {}, ...parts);
  }
}

// A clip in large beside the bare video.
class Enlarged {
  constructor() {
    this.dialog = document.getElementById("enlarged");
    this.clips = [];
    document.getElementById("close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // a click beside it
    });
    this.dialog.addEventListener("close", () => {
      for (const clip of this.clips) clip.dispose();
      this.clips = [];
    });
  }

  open(clip) {
    const { head, video } = clip;
    const concept = clip.concept === "all" ? "all concepts" : `concept ${clip.concept}`;
    const where = `Layer ${head.layer} · Head ${head.head} · ${concept}`;
    this.clips = [clip.concept, null].map(
      (shown) => new Clip(clip.runId, head, shown, clip.videoIndex),
    );
    this.dialog.querySelector("h2").textContent = `${where} · ${runs.get(clip.runId).title}`;
    const figures = this.clips.map((each) => {
      const bars = typeof each.concept === "number" ? [coverageBars(each)] : [];
      return element("figure", {}, each.canvas, ...bars);
    });
    this.dialog.querySelector(".pair").replaceChildren(...figures);
    this.dialog.querySelector("p").textContent =
      `${caption(video).title}, ${video.frames.length} of ${plural(video.total, "frame")}` +
      (typeof clip.concept === "number"
        ? "; bars: share of each frame that the concept covers, relative to its largest."
        : ".");
    this.dialog.showModal();
  }
}

// Order two concepts by a number, the larger one first; an undefined number comes last.
function further(a, b, key) {
  return (b.values[key] ?? -2) - (a.values[key] ?? -2);
}

function caption(video) {
  const { name, label } = video;
  const text = label === null || label === name ? name : `${name} · ${label}`;
  return element("figcaption", { title: text }, text);
}


function manyParts() {
  return new Set(runs.get("model").heads.map(({ part }) => part)).size > 1;
}
