// One video: what it is, the model's answer, all concepts of a head over time, what removals cost.

class VideoView {
  constructor() {
    this.clips = [];
    this.video = byId("video-choice");
    this.head = byId("video-head");
    report.videos.forEach((video, index) =>
      this.video.append(element("option", { value: String(index) }, videoName(video))),
    );
    const heads = runs.get("model").heads;
    for (const head of heads) {
      const part = manyParts() ? `${head.part} · ` : "";
      this.head.append(element("option", { value: head.key }, `${part}layer ${head.layer} · head ${head.head}`));
    }
    if (report.telling.length) this.head.value = report.telling[0][0];
    for (const id of ["video-choice", "video-head"]) byId(id).addEventListener("change", () => this.render());
    byId("video-part")?.addEventListener("change", ({ target }) => {
      const now = headsOf.get("model").get(this.head.value);
      this.head.value = `${target.value}-L${now.layer}-H${now.head}`;
      this.render();
    });
  }

  render() {
    for (const clip of this.clips) clip.dispose();
    const index = Number(this.video.value);
    const video = report.videos[index];
    const head = headsOf.get("model").get(this.head.value);
    this.clips = [new Clip("model", head, null, index)];
    const there = head.packed.includes(index);
    if (there) this.clips.push(new Clip("model", head, "all", index));
    const facts = [["Video", videoName(video)], ["Frames", `${video.frames.length} of ${video.total}`]];
    if (video.text) facts.push(["Text", video.text]);
    const answer = report.answers?.values[index];
    if (answer !== null && answer !== undefined) {
      facts.push([`The model's answer (${report.answers.metric})`, formatNumber(answer, "fraction")]);
    }
    byId("video-body").replaceChildren(
      element("dl", { class: "measured" }, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
      element("div", { class: "clips video-clips" }, ...clipFigures(this.clips, { bars: false })),
      there ? "" : element("p", { class: "explanation" }, "This page does not hold the supports of this head in this video: none of its concepts is seen best here."),
      this.concepts(head, index),
      this.removals(index),
    );
    if (there) this.overTime(head, index);
  }

  // Share of the video that each concept of the head covers.
  concepts(head, index) {
    const rows = head.concepts
      .map((concept, number) => [number, concept.shares[index] ?? 0])
      .filter(([, share]) => share > 0)
      .sort((a, b) => b[1] - a[1]);
    const list = rows.map(([number, share]) =>
      element("li", { id: `time-C${number}` }, conceptLink(head, number),
        element("span", {}, ` ${formatNumber(share, "percent")} of the video`), element("div", { class: "time-row" })),
    );
    return element("section", {},
      element("h2", {}, `Its concepts over time, layer ${head.layer} · head ${head.head}`),
      list.length ? element("ul", { class: "over-time" }, ...list) : element("p", {}, "None of the head's concepts is in this video."));
  }

  async overTime(head, index) {
    const volume = (await supportsOf("model", head)).get(index);
    head.concepts.forEach((_, number) => {
      const row = document.querySelector(`#time-C${number} .time-row`);
      if (!row) return;
      const shares = coverage(volume, number + 1);
      row.style.setProperty("--colour", conceptStyle(number).colour);
      row.replaceChildren(...[...shares].map((share, frame) =>
        element("i", { "--v": Math.sqrt(share).toFixed(3), title: `frame ${frame + 1}: ${formatNumber(share, "percent")}` })));
    });
  }

  removals(index) {
    const found = runs.get("model").heads
      .flatMap((head) => head.concepts.map((concept, number) => [head, number, concept.costs[index]]))
      .filter(([, , cost]) => cost !== undefined)
      .sort((a, b) => b[2] - a[2])
      .slice(0, 10);
    if (!found.length) return "";
    const rows = found.map(([head, number, cost]) =>
      element("tr", {}, element("th", { scope: "row" }, element("a", { href: `#${names.address(head, number)}` }, names.title(head, number))),
        element("td", {}, cost.toFixed(3).replace("-", "−"))));
    return element("section", {},
      element("h2", {}, "What its answer loses"),
      element("p", { class: "explanation" }, `The ten removals that cost this video most: mean ${report.answers.metric} with the concept less without it. From one video's masks, so noisier than the importance.`),
      element("table", { class: "numbers-table narrow" },
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Concept"), element("th", { scope: "col" }, `Loss (${report.answers.metric})`))),
        element("tbody", {}, ...rows)));
  }
}
