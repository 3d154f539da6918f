// The page of Rosetta concepts: cards of tuples, chosen by the filters.

const CARDS_AT_A_TIME = 12;

// A clip whose outline has the colour of its model, whatever the number of its concept.
class MemberClip extends Clip {
  constructor(member, videoIndex) {
    super(member.run, headsOf.get(member.run).get(member.key), member.concept, videoIndex);
    this.colour = report.runs.findIndex(({ id }) => id === member.run);
  }

  outline(context, path, _concept, ratio) {
    super.outline(context, path, this.colour, ratio);
  }
}

const shown = { cards: [], count: CARDS_AT_A_TIME, clips: [] };

function matches(card) {
  const order = byId("order").value;
  if (order && card.order !== Number(order)) return false;
  if (byId("unique").checked && !card.unique) return false;
  return [...document.querySelectorAll("[data-run]")].every(({ value, dataset }) => {
    if (!value) return true;
    return card.members.some(({ run, layer }) => run === dataset.run && layer === Number(value));
  });
}

function memberFigure(member, videoIndex, named) {
  const clip = new MemberClip(member, videoIndex);
  shown.clips.push(clip);
  const who = element(
    "p",
    { class: "who" },
    element("b", { title: runs.get(member.run).title }, runs.get(member.run).title),
    element("span", {}, `layer ${member.layer} · head ${member.head} · concept ${member.concept}`),
  );
  return element("figure", {}, ...(named ? [who] : []), clip.canvas, coverageBars(clip));
}

function tupleCard(card) {
  const rows = card.videos.flatMap(({ video, ratio }, row) => [
    element(
      "div",
      { class: "members", "--members": card.members.length },
      ...card.members.map((member) => memberFigure(member, video, row === 0)),
    ),
    element("p", { class: "video-name" }, `${report.videos[video].name} · overlap ${formatNumber(ratio, "fraction")}`),
  ]);
  return element(
    "article",
    { class: "tuple", "--members": card.members.length },
    element(
      "header",
      {},
      element("h3", {}, `${card.order} models · no. ${card.rank}`),
      element("span", { class: "score" }, `score ${formatNumber(card.score, "fraction")}`),
      ...(card.unique ? [] : [element("span", { class: "repeats" }, "shares a concept with a better one")]),
    ),
    ...rows,
  );
}

function renderCards() {
  for (const clip of shown.clips) clip.dispose();
  shown.clips = [];
  const visible = shown.cards.slice(0, shown.count);
  byId("cards").replaceChildren(...visible.map(tupleCard));
  byId("more").hidden = visible.length === shown.cards.length;
  byId("count").textContent = shown.cards.length
    ? `${visible.length} of ${plural(shown.cards.length, "tuple")}`
    : "No tuple in this page is like this: choose fewer filters.";
}

function applyFilters() {
  shown.cards = report.cards.filter(matches);
  shown.count = CARDS_AT_A_TIME;
  renderCards();
}

byId("guide").open = window.matchMedia("(min-width: 64rem)").matches;
byId("filters").addEventListener("change", applyFilters);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", () => {
  shown.count += CARDS_AT_A_TIME;
  renderCards();
});
setUpPlayback();
setUpTheme();
if ("DecompressionStream" in window) applyFilters();
else byId("cards").textContent = "The clips need a browser of 2024 or later.";
