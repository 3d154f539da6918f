// The page of Rosetta concepts: cards of tuples, chosen by the filters.

const CARDS_AT_A_TIME = 12;

// A clip whose outline has the colour of its model, whatever the number of its concept.
class MemberClip extends Clip {
  constructor(member, videoIndex) {
    super(member.run, headsOf.get(member.run).get(member.key), member.concept, videoIndex);
    this.member = member;
    this.colour = report.runs.findIndex(({ id }) => id === member.run);
  }

  outline(context, path, _concept, ratio) {
    super.outline(context, path, this.colour, ratio);
  }

  title() {
    const { layer, head } = this.head;
    return `${runs.get(this.runId).title} · layer ${layer} · head ${head} · concept ${this.concept}`;
  }

  largePair() {
    return [new MemberClip(this.member, this.videoIndex), new Clip(this.runId, this.head, null, this.videoIndex)];
  }
}

const enlarged = new Enlarged();

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

// A row of clips, a model each, in one video; they enlarge and step from model to model.
function memberRow(card, videoIndex, named) {
  const clips = card.members.map((member) => new MemberClip(member, videoIndex));
  shown.clips.push(...clips);
  for (const clip of clips.slice(1)) clip.follows = clips[0]; // the same frame of all models
  const figures = clips.map((clip) => {
    const figure = clipFigure(clip, clips, { captioned: false }); // the row names the video
    if (named) figure.prepend(memberName(clip.member));
    return figure;
  });
  return element("div", { class: "members", "--members": card.members.length }, ...figures);
}

function memberName(member) {
  const { title } = runs.get(member.run);
  return element(
    "p",
    { class: "who" },
    element("b", { title }, title.replaceAll(/[:/]/g, "$&\u200b")), // where narrow lines may break
    element("span", {}, `layer ${member.layer} · head ${member.head} · concept ${member.concept}`),
  );
}

const addressOf = (card) => `tuple-${card.order}-${card.rank}`;

// Above the page the card stands alone, with the one video in which it is furthest beyond chance.
function tupleCard(card, { alone = false } = {}) {
  const beyond = ({ ratio, chance }) => (ratio - chance) / Math.max(1 - chance, 1e-9);
  const best = [...card.videos].sort((a, b) => beyond(b) - beyond(a)).slice(0, 1);
  const rows = (alone ? best : card.videos).flatMap(({ video, ratio, chance }, row) => [
    memberRow(card, video, row === 0),
    element("p", { class: "video-name" }, `${report.videos[video].name} · overlap ${formatNumber(ratio, "fraction")}, by chance at these sizes ${formatNumber(chance, "fraction")}`),
  ]);
  const address = addressOf(card);
  return element(
    "article",
    { class: "tuple", id: alone ? null : address },
    element(
      "header",
      {},
      element(alone ? "h2" : "h3", { class: "tuple-title" }, element("a", { href: `#${address}` }, `${card.order} models · no. ${card.rank}`)),
      element("span", { class: "score" }, `score ${formatNumber(card.score, "fraction")}`),
      ...(card.beyond === null ? [] : [element("span", { class: "repeats" }, `beyond chance at these sizes ${formatNumber(card.beyond, "fraction")}${alone ? ", the highest of the tuples below" : ""}`)]),
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
  makeReady();
  byId("more").hidden = visible.length === shown.cards.length;
  byId("count").textContent = shown.cards.length
    ? `${visible.length} of ${plural(shown.cards.length, "tuple")}`
    : "No tuple in this page is like this: choose fewer filters.";
}

function applyFilters() {
  const key = byId("sort").value;
  shown.cards = report.cards.filter(matches);
  if (key) shown.cards.sort((a, b) => b[key] - a[key]);
  shown.count = CARDS_AT_A_TIME;
  renderCards();
}

// An address ends in #tuple-3-1, the best tuple of three models.
function followAddress() {
  const at = shown.cards.findIndex((card) => addressOf(card) === location.hash.slice(1));
  if (at < 0) return;
  if (at >= shown.count) {
    shown.count = at + 1;
    renderCards();
  }
  byId(location.hash.slice(1)).scrollIntoView({ block: "start" });
}

byId("filters").addEventListener("change", applyFilters);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", () => {
  shown.count += CARDS_AT_A_TIME;
  renderCards();
});
window.addEventListener("hashchange", followAddress);
setUpPlayback();
setUpTheme();
setUpExports();
if ("DecompressionStream" in window) {
  const most = report.cards.filter(({ order }) => order === report.cards[0].order);
  const best = most.reduce((a, b) => (b.beyond > a.beyond ? b : a), most[0]);
  if (best) byId("hero-tuple").append(tupleCard(best, { alone: true })); // its clips stay
  shown.clips = [];
  applyFilters();
  followAddress();
} else byId("cards").textContent = "The clips need a browser of 2024 or later.";
