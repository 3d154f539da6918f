// The page: which part is shown and what is selected, kept in its address.

const wide = window.matchMedia("(min-width: 64rem)");
const modelHeads = runs.get("model").heads;
const hasControl = runs.has("control");
const views = [...document.querySelectorAll("[data-view]")].map(({ dataset }) => dataset.view);

names.load();
const enlarged = new Enlarged();
const card = new Card();
const headView = new HeadView();
const map = new HeadMap((key) => select(key));
const lazy = {}; // parts that are made when they are first looked at

const state = {
  view: null,
  head: headsOf.get("model").get(report.telling[0]?.[0]) ?? modelHeads[0],
  headShown: false,
  which: hasControl ? "both" : "model",
  order: byId("order").value,
};

function showView(view) {
  if (view !== state.view) {
    state.view = view;
    for (const link of document.querySelectorAll("[data-view]")) {
      if (link.dataset.view === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    for (const each of views) byId(`view-${each}`).classList.toggle("current", each === view);
    window.scrollTo(0, 0);
  }
  if (view === "heads" && !state.headShown) renderHead();
  if (view === "concepts" && !lazy.wall) (lazy.wall = new Wall()).render();
  if (view === "videos" && !lazy.videos) (lazy.videos = new VideoView()).render();
}

function renderHead() {
  state.headShown = true;
  map.mark(state.head);
  headView.show(state.head, state.which, state.order);
  makeReady();
}

function select(key) {
  const head = headsOf.get("model").get(key);
  if (!head || head === state.head) return;
  state.head = head;
  // replaceState: browsing heads must not fill the browser's history.
  history.replaceState(null, "", `#${key}`);
  renderHead();
}

// An address ends in #concepts, #keys-L3-H5, or #keys-L3-H5-C2 for a concept.
function followAddress() {
  const asked = decodeURIComponent(location.hash.slice(1));
  const match = asked.match(/^(.+-L\d+-H\d+)(?:-C(\d+))?$/);
  const head = match && headsOf.get("model").get(match[1]);
  if (head && match[2] !== undefined && head.concepts[Number(match[2])]) {
    if (enlarged.dialog.open) enlarged.dialog.close();
    if (!state.view) showView("findings");
    card.show(head, Number(match[2]));
    return;
  }
  if (card.dialog.open) {
    card.quiet = true;
    card.dialog.close();
  }
  if (head) {
    state.head = head;
    state.headShown = false;
    showView("heads");
    return;
  }
  showView(views.includes(asked) ? asked : "findings");
}

// Closed by its reader, a card leaves the address of the part that it lay upon.
card.onClose = () => {
  if (!card.quiet) history.replaceState(null, "", `#${state.view}`);
  card.quiet = false;
};

function setUpNavigation() {
  const go = (step) => {
    const heads = modelHeads.filter(({ part }) => part === state.head.part);
    select(heads[(heads.indexOf(state.head) + step + heads.length) % heads.length].key);
  };
  byId("previous").addEventListener("click", () => go(-1));
  byId("next").addEventListener("click", () => go(1));
  byId("part")?.addEventListener("change", (event) => {
    select(`${event.target.value}-L${state.head.layer}-H${state.head.head}`);
  });
  byId("order").addEventListener("change", (event) => {
    state.order = event.target.value;
    renderHead();
  });
  for (const input of document.querySelectorAll("#view input")) {
    input.checked = input.value === state.which;
    input.addEventListener("change", () => {
      state.which = input.value;
      renderHead();
    });
  }
  window.addEventListener("hashchange", followAddress);
  document.addEventListener("renamed", () => { if (state.headShown) renderHead(); });
}

function setUpTable() {
  const table = byId("table-concepts");
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    header.querySelector("button")?.addEventListener("click", () => {
      const descending = header.ariaSort !== "descending";
      for (const other of headers) if (other.ariaSort) other.ariaSort = "none";
      header.ariaSort = descending ? "descending" : "ascending";
      const valueOf = (row) => (row.cells[column].dataset.value === "" ? -2 : Number(row.cells[column].dataset.value));
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (descending ? valueOf(b) - valueOf(a) : valueOf(a) - valueOf(b)));
      table.tBodies[0].append(...rows);
    });
  });
}

if ("DecompressionStream" in window) {
  document.body.classList.add("js");
  setUpNavigation();
  setUpPlayback();
  setUpTheme();
  setUpTable();
  setUpExports();
  map.mark(state.head);
  setUpFindings();
  followAddress();
  makeReady();
} else {
  byId("hero").textContent = "The clips need a browser of 2024 or later.";
}
