// The card of a concept: its clips, numbers and figures, its match in the copy, its neighbours
// through the layers, and a name that the reader can give.

class Card {
  constructor() {
    this.dialog = byId("card");
    this.body = byId("card-body");
    this.clips = [];
    byId("card-close").addEventListener("click", () => this.dialog.close());
    byId("card-previous").addEventListener("click", () => this.step(-1));
    byId("card-next").addEventListener("click", () => this.step(1));
    byId("card-link").addEventListener("click", () => this.copyLink());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("close", () => {
      this.dispose();
      this.onClose();
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select")) return;
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
  }

  dispose() {
    for (const clip of this.clips) clip.dispose();
    this.clips = [];
  }

  step(by) {
    const count = this.head.concepts.length;
    location.hash = names.address(this.head, (this.concept + by + count) % count);
  }

  async copyLink() {
    const button = byId("card-link");
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = "Copied";
    } catch {
      button.textContent = location.hash; // a browser that lets files copy nothing
    }
    setTimeout(() => { button.textContent = "Copy link"; }, 2000);
  }

  show(head, concept) {
    this.dispose();
    Object.assign(this, { head, concept });
    const found = head.concepts[concept];
    byId("card-title").replaceChildren(chip(concept), ` ${names.title(head, concept)}`);
    this.body.replaceChildren(
      this.naming(found),
      numbersOf(found.values),
      ...(head.warning ? [element("p", { class: "note" }, `Do not believe this head: ${head.warning}.`)] : []),
      this.examples(found),
      this.figures(found),
      ...this.matched(found),
      ...this.layers(found),
    );
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  naming(found) {
    const entry = names.entry(this.head, this.concept);
    const input = element("input", {
      type: "text", value: entry && !entry.suggested ? entry.name : "", placeholder: "name it", "aria-label": "Name of the concept", maxlength: "60",
    });
    const place = element("span", { class: "place" });
    const sayPlace = () => { // the title says it where there is no name
      place.textContent = names.of(this.head, this.concept) ? names.plain(this.head, this.concept) : "";
    };
    sayPlace();
    input.addEventListener("change", () => {
      names.give(this.head, this.concept, input.value);
      byId("card-title").replaceChildren(chip(this.concept), ` ${names.title(this.head, this.concept)}`);
      sayPlace();
    });
    const parts = [element("label", {}, "Name ", input), place];
    parts.push(...tagsOf(found));
    if (entry?.suggested) {
      parts.push(element("span", { class: "place" }, `suggested by ${entry.by}: “${entry.name}”, score ${formatNumber(entry.score, "fraction")}; not checked by anybody`));
    }
    parts.push(element("a", { href: `#${this.head.key}` }, "all of this head"));
    return element("p", { class: "naming" }, ...parts);
  }

  examples(found) {
    const groups = [["best", found.clips], ...Object.entries(found.more ?? {})];
    const clips = groups.flatMap(([kind, videos]) => videos.map((video) => [kind, this.clip("model", this.head, this.concept, video)]));
    const row = clips.map(([, clip]) => clip);
    this.best = row;
    return element("div", { class: "clips card-clips" }, ...clips.map(([kind, clip]) => clipFigure(clip, row, { note: kind })));
  }

  clip(runId, head, concept, video) {
    const clip = new Clip(runId, head, concept, video);
    this.clips.push(clip);
    return clip;
  }

  figures(found) {
    const percent = (value) => (value ? formatNumber(value, "percent") : "0 %");
    const count = (value) => String(Math.round(value));
    return element(
      "div",
      { class: "card-figures" },
      barChart({
        title: "When it is there", xTitle: "time in the video", yTitle: "share of frame",
        xEnds: ["start", "end"], values: found.time, format: percent,
      }),
      barChart({
        title: "How clearly tubelets belong to it (grey: the head's other tubelets)",
        xTitle: "encoding", yTitle: "tubelets", xEnds: ["0", "head's largest"],
        values: found.histogram, behind: found.others, format: count,
      }),
    );
  }

  matched(found) {
    if (!found.match) return [];
    const [runId, key, index, ratio] = found.match;
    const head = headsOf.get(runId).get(key);
    const videos = found.clips.filter((video) => head.packed.includes(video)).slice(0, 3);
    const quantity = report.conceptQuantities.find((each) => each.key === "overlap");
    const clips = videos.map((video) => this.clip(runId, head, index, video));
    followSame(clips, this.best);
    return [
      element("h3", {}, `What the randomised copy has: layer ${head.layer} · head ${head.head} · concept ${index}`),
      valueBar(quantity, ratio, medianOf("overlap")),
      element("div", { class: "clips card-clips" }, ...clipFigures(clips)),
    ];
  }

  // The nearest concept of every layer, in the video that shows this one best.
  layers(found) {
    if (!found.near?.length) return [];
    const figures = found.near.map(([runId, key, index, ratio]) => {
      const head = headsOf.get(runId).get(key);
      const video = found.clips.find((each) => head.packed.includes(each));
      const link = conceptLink(head, index);
      link.prepend(`L${head.layer} H${head.head} `);
      const parts = [element("p", { class: "near-title" }, link, ` overlap ${formatNumber(ratio, "fraction")}`)];
      if (video !== undefined) parts.push(clipFigure(this.clip(runId, head, index, video), undefined, { bars: false }));
      return element("div", {}, ...parts);
    });
    return [
      element("h3", {}, "Through the layers: the nearest concept of each"),
      element("div", { class: "clips card-clips near" }, ...figures),
    ];
  }
}
