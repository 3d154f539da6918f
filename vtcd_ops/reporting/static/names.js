// Names of concepts: those written into the page, and what the reader calls them, which this
// browser keeps where it may.

const names = {
  place: `vtcd names ${report.run}`,
  given: {},

  load() {
    try {
      this.given = JSON.parse(localStorage.getItem(this.place)) ?? {};
    } catch {
      this.given = {}; // a browser that keeps nothing for files
    }
  },

  address(head, concept) {
    return `${head.key}-C${concept}`;
  },

  plain(head, concept) {
    const part = manyParts() ? `${head.part} ` : "";
    return `${part}layer ${head.layer} · head ${head.head} · concept ${concept}`;
  },

  short(head, concept) {
    return `${manyParts() ? `${head.part} ` : ""}L${head.layer} H${head.head} C${concept}`;
  },

  // What the page has: a name that somebody gave, or a model's suggestion.
  entry(head, concept) {
    const address = this.address(head, concept);
    if (this.given[address]) return { name: this.given[address], suggested: false };
    const known = report.names[address];
    if (!known) return null;
    return typeof known === "string" ? { name: known, suggested: false } : { ...known, suggested: true };
  },

  of(head, concept) {
    const found = this.entry(head, concept);
    if (!found) return null;
    return found.suggested ? `${found.name}?` : found.name;
  },

  title(head, concept) {
    return this.of(head, concept) ?? capitalise(this.plain(head, concept));
  },

  give(head, concept, name) {
    const address = this.address(head, concept);
    if (name.trim()) this.given[address] = name.trim();
    else delete this.given[address];
    try {
      localStorage.setItem(this.place, JSON.stringify(this.given));
    } catch {
      // kept until the page is closed
    }
    document.dispatchEvent(new Event("renamed"));
  },

  all() {
    const written = Object.entries(report.names).filter(([, name]) => typeof name === "string");
    return { ...Object.fromEntries(written), ...this.given };
  },
};

function manyParts() {
  return new Set(runs.get("model").heads.map(({ part }) => part)).size > 1;
}
