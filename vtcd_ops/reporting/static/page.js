// The page: what is selected, kept in its address; the sortable table.

const wide = window.matchMedia("(min-width: 64rem)");
const modelHeads = runs.get("model").heads;
const hasControl = runs.has("control");

const state = {
  head: modelHeads[0],
  view: hasControl && wide.matches ? "both" : "model",
  order: byId("order").value,
};

const view = new HeadView();
const map = new HeadMap((key) => select(key));

function render() {
  if (!("DecompressionStream" in window)) {
    byId("columns").textContent = "The clips need a browser of 2024 or later.";
    return;
  }
  const runIds = state.view === "both" ? ["model", "control"] : [state.view];
  view.show(state.head, runIds, state.order);
}

function select(key) {
  const head = headsOf.get("model").get(key);
  if (!head || head === state.head) return;
  state.head = head;
  // replaceState: browsing heads must not fill the browser's history.
  history.replaceState(null, "", `#${key}`);
  map.mark(head);
  render();
}

// An address ends in #keys-L3-H5, or #keys-L3-H5-C2 for one of its concepts.
function followAddress() {
  const match = location.hash.slice(1).match(/^(.+-L\d+-H\d+)(-C\d+)?$/);
  if (!match || !headsOf.get("model").has(match[1])) return;
  state.head = headsOf.get("model").get(match[1]);
  map.mark(state.head);
  render();
  const target = byId(match[1] + (match[2] ?? "")) ?? byId("head");
  target.scrollIntoView({ block: "start" });
}

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
    render();
  });
  for (const input of document.querySelectorAll("#view input")) {
    input.checked = input.value === state.view;
    input.addEventListener("change", () => {
      state.view = input.value;
      render();
    });
  }
  wide.addEventListener("change", () => {
    if (wide.matches || state.view !== "both") return;
    document.querySelector('#view input[value="model"]').click(); // no room side by side
  });
  window.addEventListener("hashchange", followAddress);
}

function setUpTable() {
  const table = byId("concept-table");
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    header.querySelector("button")?.addEventListener("click", () => {
      const descending = header.ariaSort !== "descending";
      for (const other of headers) if (other.ariaSort) other.ariaSort = "none";
      header.ariaSort = descending ? "descending" : "ascending";
      const valueOf = (row) => Number(row.cells[column].dataset.value || -2);
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (descending ? valueOf(b) - valueOf(a) : valueOf(a) - valueOf(b)));
      table.tBodies[0].append(...rows);
    });
  });
}

byId("guide").open = wide.matches; // on a phone the map comes first
setUpNavigation();
setUpPlayback();
setUpTheme();
setUpTable();
map.mark(state.head);
render();
followAddress();
