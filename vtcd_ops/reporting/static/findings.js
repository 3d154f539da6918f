// The first screen: the most telling concept in large beside the copy's match, then further ones.

function setUpFindings() {
  const [first, ...others] = report.telling;
  if (!first) return;
  const render = () => {
    byId("hero").replaceChildren(...heroParts(...first));
    byId("telling").replaceChildren(...others.slice(0, 8).map(([key, index]) => tellingCard(key, index)));
  };
  render();
  document.addEventListener("renamed", render);
}

function heroParts(key, index) {
  const head = headsOf.get("model").get(key);
  const concept = head.concepts[index];
  const clips = concept.clips.slice(0, 3).map((video) => new Clip("model", head, index, video));
  const parts = [
    element(
      "div",
      { class: "hero-model" },
      element("p", { class: "hero-title" }, element("b", {}, "Model "), conceptLink(head, index),
        element("span", {}, ` ${names.plain(head, index)} · colour = inside the concept, grey = outside`)),
      element("div", { class: "hero-clips", "--clips": clips.length }, ...clipFigures(clips)),
    ),
  ];
  if (concept.match) parts.push(heroMatch(concept, clips));
  return parts;
}

function heroMatch(concept, leaders) {
  const [runId, key, index, ratio] = concept.match;
  const head = headsOf.get(runId).get(key);
  const videos = concept.clips.filter((video) => head.packed.includes(video)).slice(0, 2);
  const clips = videos.map((video) => new Clip(runId, head, index, video));
  followSame(clips, leaders);
  const median = medianOf("overlap");
  const facts = head.warning ? ` (${head.warning})` : "";
  return element(
    "div",
    { class: "hero-match" },
    element("p", { class: "hero-title" }, element("b", {}, "Randomised copy, best match"),
      element("span", {}, ` layer ${head.layer} · head ${head.head} · concept ${index}${facts}`)),
    element("div", { class: "hero-clips", "--clips": Math.max(clips.length, 1) }, ...clipFigures(clips)),
    element("p", { class: "explanation" }, "Overlap with the concept on the left, mean over videos: ",
      element("b", {}, formatNumber(ratio, "fraction")), ` (median of all concepts ${formatNumber(median, "fraction")}).`),
  );
}

function tellingCard(key, index) {
  const head = headsOf.get("model").get(key);
  const concept = head.concepts[index];
  const clips = concept.clips.slice(0, 3).map((video) => new Clip("model", head, index, video));
  const { videos } = concept.values;
  const shown = report.conceptQuantities.find((each) => each.key === "overlap")
    ?? report.conceptQuantities.find((each) => each.key === "silhouette");
  const parts = [
    element("header", {}, conceptLink(head, index),
      element("span", {}, `${names.short(head, index)} · ${plural(videos, "video")}`)),
    element("div", { class: "clips" }, ...clipFigures(clips, { bars: false })),
  ];
  if (shown) parts.push(valueBar(shown, concept.values[shown.key], medianOf(shown.key)));
  parts[0].append(...tagsOf(concept));
  return element("article", { class: "telling-card" }, ...parts);
}
