// The page: what is selected, kept in its address; playback; theme; the sortable table.

const byId = (id) => document.getElementById(id);
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

function setPlaying(playing) {
  clock.playing = playing;
  for (const button of document.querySelectorAll("[data-play]")) {
    button.textContent = playing ? "❚❚" : "▶";
    button.ariaLabel = playing ? "Pause" : "Play";
  }
}

// One clock drives all clips; the page and the enlarged clip have a set of controls each.
function setUpPlayback() {
  const longest = Math.max(...report.videos.map(({ frames }) => frames.length), 1);
  const sliders = [...document.querySelectorAll("[data-frame]")];
  const numbers = [...document.querySelectorAll("[data-frame-number]")];
  if (!clock.playing) clock.tick = Math.floor(longest / 2);
  setPlaying(clock.playing);
  clock.onFrame = (tick) => {
    const frame = Math.floor(tick) % longest;
    for (const slider of sliders) if (slider.valueAsNumber !== frame) slider.value = String(frame);
    for (const number of numbers) number.textContent = `${frame + 1} / ${longest}`;
  };
  for (const slider of sliders) {
    slider.max = String(longest - 1);
    slider.addEventListener("input", () => {
      setPlaying(false);
      clock.tick = slider.valueAsNumber;
    });
  }
  for (const button of document.querySelectorAll("[data-play]")) {
    button.addEventListener("click", () => setPlaying(!clock.playing));
  }
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest("button, input, select, summary, a");
    if (event.key !== " " || busy) return;
    event.preventDefault();
    setPlaying(!clock.playing);
  });
  calm.addEventListener("change", () => setPlaying(!calm.matches));
  requestAnimationFrame((now) => clock.step(now));
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

function setUpTheme() {
  const themes = ["auto", "light", "dark"];
  const button = byId("theme");
  button.addEventListener("click", () => {
    const current = document.documentElement.dataset.theme ?? "auto";
    const next = themes[(themes.indexOf(current) + 1) % themes.length];
    document.documentElement.dataset.theme = next;
    button.querySelector("span").textContent = capitalise(next);
    button.ariaLabel = `Colours: ${next === "auto" ? "automatic" : next}`;
  });
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
