// What every page has: playback of all its clips by one clock, and the choice of colours.

const byId = (id) => document.getElementById(id);

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
  setPlaying(clock.playing);
  clock.onFrame = (tick) => {
    const frame = Math.floor(tick) % longest;
    for (const slider of sliders) if (slider.valueAsNumber !== frame) slider.value = String(frame);
    const text = clock.aligned ? `${frame + 1} / ${longest}` : `peak + ${frame}`;
    for (const number of numbers) if (number.textContent !== text) number.textContent = text;
  };
  for (const slider of sliders) {
    slider.max = String(longest - 1);
    slider.addEventListener("input", () => {
      setPlaying(false);
      clock.aligned = true; // the slider counts frames of the videos
      clock.tick = slider.valueAsNumber;
    });
  }
  for (const button of document.querySelectorAll("[data-play]")) {
    button.addEventListener("click", () => setPlaying(!clock.playing));
  }
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest?.("button, input, select, textarea, summary, a");
    if (event.key !== " " || busy) return;
    event.preventDefault();
    setPlaying(!clock.playing);
  });
  calm.addEventListener("change", () => setPlaying(!calm.matches));
  requestAnimationFrame((now) => clock.step(now));
}

function setUpTheme() {
  const themes = ["auto", "light", "dark"];
  const button = byId("theme");
  button.addEventListener("click", () => {
    const current = document.documentElement.dataset.theme ?? "auto";
    const next = themes[(themes.indexOf(current) + 1) % themes.length];
    document.documentElement.dataset.theme = next;
    button.title = `Colours: ${next}`;
    document.dispatchEvent(new Event("themechange"));
    button.ariaLabel = `Colours: ${next === "auto" ? "automatic" : next}`;
  });
}

// A word with its explanation, for mouse, finger and keyboard.
function term(word, explanation) {
  const tip = element("span", { class: "tip", role: "tooltip" }, explanation);
  return element("button", { type: "button", class: "term" }, word, tip);
}

// The tags of a concept, each with its number and that of chance.
function tagsOf({ tags }) {
  return Object.entries(tags ?? {}).map(([tag, reason]) => element("span", { class: "tag" }, term(tag, `${reason}.`)));
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function capitalise(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// Clips off the screen draw themselves late; for the printer all that is laid out must be there.
// So clips are made ready when there is time, and drawn as soon as the layout is the printer's.
const readied = () =>
  [...document.querySelectorAll("main canvas")].map((canvas) => canvas.clip).filter(Boolean);

function makeReady() {
  whenIdle(() => {
    for (const clip of readied()) if (!clip.still) clip.prepare();
  });
}

function drawForPrinter() {
  for (const clip of readied()) clip.drawIfChanged(clock.tick);
}
window.addEventListener("beforeprint", drawForPrinter);
window.matchMedia("print").addEventListener("change", drawForPrinter);
