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

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function capitalise(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
