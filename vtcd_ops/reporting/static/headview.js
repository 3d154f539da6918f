// The selected head: a row for each concept, its clips beside those of the copy's best match.

class HeadView {
  constructor() {
    this.rows = byId("rows");
    this.title = byId("head-title");
    this.clips = [];
  }

  show(head, which, order) {
    for (const clip of this.clips) clip.dispose();
    this.clips = [];
    const part = manyParts() ? `${capitalise(head.part)} · ` : "";
    this.title.textContent = `${part}Layer ${head.layer} · Head ${head.head}`;
    const runId = which === "control" ? "control" : "model";
    const found = headsOf.get(runId).get(head.key);
    const rows = [this.facts(runId, found), this.overview(found, which)];
    const concepts = found.concepts
      .map((concept, index) => ({ ...concept, index }))
      .sort((a, b) => further(a, b, order) || further(a, b, "silhouette") || a.index - b.index);
    for (const concept of concepts) rows.push(this.row(runId, found, concept, which));
    this.rows.replaceChildren(...rows);
    this.rows.className = which;
  }

  facts(runId, head) {
    const tubelets = head.concepts.reduce((sum, { values }) => sum + values.tubelets, 0);
    const { silhouette } = head.values;
    const facts =
      `${runs.get(runId).title}: ${plural(head.concepts.length, "concept")} · ${plural(tubelets, "tubelet")}` +
      (silhouette === null ? "" : ` · silhouette ${formatNumber(silhouette, "fraction")}`);
    const parts = [element("p", { class: "head-facts" }, facts)];
    if (head.warning) parts.push(element("p", { class: "note" }, `Do not believe this head: ${head.warning}.`));
    return element("div", {}, ...parts);
  }

  // All concepts of the head at once, in the videos that most of them are shown in.
  overview(head, which) {
    const runId = which === "control" ? "control" : "model";
    const videos = this.commonVideos(head);
    const parts = [this.clipRow(videos.map((video) => this.clip(runId, head, "all", video)))];
    if (which === "both") {
      const copy = headsOf.get("control").get(head.key);
      const theirs = videos.filter((video) => copy.packed.includes(video)).slice(0, 2);
      const shown = theirs.length ? theirs : this.commonVideos(copy).slice(0, 2);
      parts.push(
        this.matchBlock("The same head of the copy", shown.map((video) => this.clip("control", copy, "all", video))),
      );
    }
    return element(
      "section",
      { class: "concept overview", "aria-label": "All concepts together" },
      element("header", {}, element("h3", {}, "All concepts together")),
      element("div", { class: "beside" }, ...parts),
    );
  }

  commonVideos(head) {
    const uses = new Map(head.packed.map((video) => [video, 0]));
    head.concepts.forEach(({ clips }) => clips.forEach((video) => uses.set(video, uses.get(video) + 1)));
    return [...uses.keys()].sort((a, b) => uses.get(b) - uses.get(a) || a - b).slice(0, 3);
  }

  row(runId, head, concept, which) {
    const clips = concept.clips.map((video) => this.clip(runId, head, concept.index, video));
    const parts = [this.clipRow(clips)];
    if (which === "both" && concept.match) parts.push(this.match(concept, clips));
    const heading = element("h3", {});
    if (runId === "model") heading.append(conceptLink(head, concept.index));
    else heading.append("Concept ", chip(concept.index));
    return element(
      "article",
      { class: "concept", id: runId === "model" ? `row-${head.key}-C${concept.index}` : null },
      element("header", {}, heading, numbersOf(concept.values)),
      element("div", { class: "beside" }, ...parts),
    );
  }

  match(concept, leaders) {
    const [runId, key, index, ratio] = concept.match;
    const head = headsOf.get(runId).get(key);
    const videos = concept.clips.filter((video) => head.packed.includes(video)).slice(0, 2);
    const clips = videos.map((video) => this.clip(runId, head, index, video));
    followSame(clips, leaders);
    const place = `Copy's best match: layer ${head.layer} · head ${head.head} · concept ${index}`;
    return this.matchBlock(place, clips, `overlap ${formatNumber(ratio, "fraction")}`);
  }

  matchBlock(title, clips, note = "") {
    return element(
      "div",
      { class: "match" },
      element("p", { class: "match-title" }, title, note ? element("b", {}, ` ${note}`) : ""),
      this.clipRow(clips),
    );
  }

  clip(runId, head, concept, video) {
    const clip = new Clip(runId, head, concept, video);
    this.clips.push(clip);
    return clip;
  }

  clipRow(clips) {
    return element("div", { class: "clips" }, ...clipFigures(clips));
  }
}

// Let clips show the same frames as others of the same videos.
function followSame(clips, leaders) {
  for (const clip of clips) clip.follows = leaders.find(({ videoIndex }) => videoIndex === clip.videoIndex);
}

// The numbers of a concept, each with its explanation.
function numbersOf(values) {
  return element(
    "dl",
    { class: "numbers" },
    ...report.conceptQuantities.map(({ key, label, explanation, style }) =>
      element(
        "div",
        {},
        element("dt", {}, term(label.toLowerCase(), explanation)),
        element("dd", {}, formatNumber(values[key], style)),
      ),
    ),
  );
}

// A concept by its name and number, which opens its card.
function conceptLink(head, concept) {
  const found = names.of(head, concept);
  // in full: "#..." alone would promise a place in this page, and the script opens a card
  const address = `${location.href.split("#")[0]}#${names.address(head, concept)}`;
  const link = element("a", { href: address, class: "concept-link" });
  link.append(found ? `${found} ` : "Concept ", chip(concept));
  return link;
}

// Order two concepts by a number, the larger one first; an undefined number comes last.
function further(a, b, key) {
  return (b.values[key] ?? -2) - (a.values[key] ?? -2);
}
