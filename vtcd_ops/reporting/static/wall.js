// The wall of concepts: a thumbnail each, at its peak frame, to filter, search and sort.

const TILES_AT_ONCE = 60; // more than a screen holds; the others follow when there is time

class Wall {
  constructor() {
    this.list = byId("wall");
    this.clips = [];
    const rank = new Map(report.telling.map(([key, index], place) => [`${key}-C${index}`, place]));
    this.entries = runs.get("model").heads.flatMap((head) =>
      head.concepts.map((concept, index) => ({
        head, index, concept, address: names.address(head, index),
        telling: rank.get(names.address(head, index)) ?? Infinity,
      })),
    );
    this.fillTags();
    byId("wall-filters").addEventListener("input", () => this.render());
    byId("wall-filters").addEventListener("submit", (event) => event.preventDefault());
    this.list.addEventListener("keydown", (event) => this.move(event));
    document.addEventListener("renamed", () => this.render());
    window.addEventListener("beforeprint", () => this.add(this.waiting.length));
  }

  fillTags() {
    const found = new Set(this.entries.flatMap(({ concept }) => Object.keys(concept.tags)));
    for (const tag of [...found].sort()) byId("wall-tag").append(element("option", {}, tag));
  }

  words({ head, index, concept, address }) {
    const videos = concept.clips.map((video) => videoName(report.videos[video]));
    return `${names.of(head, index) ?? ""} ${names.short(head, index)} ${address} ${Object.keys(concept.tags).join(" ")} ${videos.join(" ")}`.toLowerCase();
  }

  chosen() {
    const asked = byId("wall-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const layer = byId("wall-layer").value;
    const tag = byId("wall-tag").value;
    const fewest = Number(byId("wall-videos").value);
    const flagged = byId("wall-flagged").checked;
    return this.entries.filter((entry) => {
      const { head, concept } = entry;
      if (layer && head.layer !== Number(layer)) return false;
      if (tag && !(tag in concept.tags)) return false;
      if (concept.values.videos < fewest || (head.warning && !flagged)) return false;
      if (!asked.length) return true;
      const words = this.words(entry);
      return asked.every((word) => words.includes(word));
    });
  }

  sorted(entries) {
    const key = byId("wall-sort").value;
    const direction = byId("wall-ascending").checked ? -1 : 1;
    const last = direction > 0 ? -Infinity : Infinity;
    const value = ({ concept, telling }) => (key === "telling" ? -telling : (concept.values[key] ?? last));
    const compare = (a, b) => (value(a) === value(b) ? 0 : direction * (value(b) > value(a) ? 1 : -1));
    return entries.sort((a, b) => compare(a, b) || further(a.concept, b.concept, "videos"));
  }

  render() {
    for (const clip of this.clips) clip.dispose();
    this.clips = [];
    const entries = this.sorted(this.chosen());
    this.waiting = [...entries];
    this.list.replaceChildren();
    this.add(TILES_AT_ONCE);
    this.addOthers(this.waiting);
    const hidden = runs.get("model").heads.filter(({ warning }) => warning).length;
    const left = hidden && !byId("wall-flagged").checked ? `; ${plural(hidden, "flagged head")} left out` : "";
    byId("wall-count").textContent = `${entries.length} of ${plural(this.entries.length, "concept")}${left}`;
  }

  add(count) {
    this.list.append(...this.waiting.splice(0, count).map((entry) => this.tile(entry)));
  }

  // Until all tiles are there or other ones are asked for.
  addOthers(waiting) {
    if (!waiting.length) return;
    whenIdle(() => {
      if (waiting !== this.waiting) return;
      this.add(TILES_AT_ONCE);
      this.addOthers(waiting);
    });
  }

  tile({ head, index, concept, address }) {
    const parts = [];
    if (concept.clips.length) {
      const clip = new Clip("model", head, index, concept.clips[0], { still: true });
      this.clips.push(clip);
      parts.push(clip.canvas);
    }
    const name = names.of(head, index);
    parts.push(element("span", { class: "tile-title" }, chip(index), ` ${name ?? names.short(head, index)}`));
    const key = byId("wall-sort").value === "telling" ? "videos" : byId("wall-sort").value;
    const quantity = report.conceptQuantities.find((each) => each.key === key);
    parts.push(element("span", { class: "tile-facts" },
      `${key === "videos" ? plural(concept.values.videos, "video") : `${quantity.label.toLowerCase()} ${formatNumber(concept.values[key], quantity.style)}`}${Object.keys(concept.tags).map((each) => ` · ${each}`).join("")}`));
    return element("li", {}, element("a", { href: `#${address}` }, ...parts));
  }

  // Arrow keys walk along the wall.
  move(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const link = event.target.closest("a");
    if (!step || !link) return;
    const next = step > 0 ? link.parentElement.nextElementSibling : link.parentElement.previousElementSibling;
    if (!next) return;
    event.preventDefault();
    next.firstElementChild.focus();
  }
}
