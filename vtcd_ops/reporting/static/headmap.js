// The map of layers and heads: colours, keyboard, legend.

class HeadMap {
  constructor(onSelect) {
    this.table = document.getElementById("head-map");
    this.cells = [...this.table.querySelectorAll("button")];
    this.select = document.getElementById("quantity");
    this.onSelect = onSelect;
    this.part = runs.get("model").heads[0].part;
    this.select.addEventListener("change", () => this.colour());
    this.table.addEventListener("click", (event) => {
      const cell = event.target.closest("button");
      if (cell) onSelect(this.keyOf(cell));
    });
    this.table.addEventListener("keydown", (event) => this.move(event));
    this.colour();
  }

  keyOf(cell) {
    return `${this.part}-L${cell.dataset.layer}-H${cell.dataset.head}`;
  }

  headOf(cell) {
    return headsOf.get("model").get(this.keyOf(cell));
  }

  // Arrow keys as in a spreadsheet; the selected head follows.
  move(event) {
    const columns = this.table.tHead.rows[0].cells.length - 2;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const index = this.cells.indexOf(event.target);
    if (index < 0) return;
    let target = step ? index + step : null;
    const row = index - (index % columns);
    if (event.key === "Home") target = row;
    if (event.key === "End") target = row + columns - 1;
    const leavesRow = Math.abs(step) === 1 && (target < row || target >= row + columns);
    if (target === null || leavesRow || !this.cells[target]) return;
    event.preventDefault();
    this.cells[target].focus();
    this.onSelect(this.keyOf(this.cells[target]));
  }

  mark(head) {
    this.part = head.part;
    const parts = document.getElementById("part");
    if (parts) parts.value = head.part;
    for (const cell of this.cells) {
      const selected = this.keyOf(cell) === head.key;
      cell.tabIndex = selected ? 0 : -1;
      cell.toggleAttribute("data-selected", selected);
      cell.parentElement.setAttribute("aria-selected", String(selected));
    }
    this.colour();
  }

  colour() {
    const quantity = report.headQuantities.find(({ key }) => key === this.select.value);
    const valueOf = (cell) => this.headOf(cell)?.values[quantity.key] ?? null;
    const values = this.cells.map(valueOf).filter((value) => value !== null);
    const scale = this.scale(quantity, values);
    const ramp = report.ramps[quantity.diverging ? "diverging" : "plain"];
    for (const cell of this.cells) {
      const value = valueOf(cell);
      const head = this.headOf(cell);
      cell.classList.toggle("empty", value === null);
      cell.classList.toggle("flagged", Boolean(head?.warning));
      if (value === null) cell.removeAttribute("style");
      else {
        const colour = alongRamp(ramp, scale.place(value));
        cell.style.backgroundColor = `rgb(${colour.join(" ")})`;
        cell.style.color = inkOn(colour);
      }
      cell.textContent = shortNumber(value, quantity.style);
      const { layer, head: number } = cell.dataset;
      const written = formatNumber(value, quantity.style);
      const warning = head?.warning ? `; ${head.warning}` : "";
      cell.ariaLabel = `layer ${layer}, head ${number}: ${quantity.label} ${written}${warning}`;
      cell.title = `layer ${layer}, head ${number}\n${quantity.label} ${written}${warning}`;
    }
    this.layerMeans(quantity, scale, valueOf);
    this.legend(quantity, scale, ramp);
  }

  scale(quantity, values) {
    let low = Math.min(...values, Infinity);
    let high = Math.max(...values, -Infinity);
    if (!values.length) [low, high] = [0, 1];
    if (quantity.diverging) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
    const span = high - low;
    return { low, high, place: (value) => (span > 0 ? (value - low) / span : 0.5) };
  }

  layerMeans(quantity, scale, valueOf) {
    for (const mean of this.table.querySelectorAll("td.layer-mean")) {
      const cells = this.cells.filter((cell) => cell.dataset.layer === mean.dataset.layer);
      const values = cells.map(valueOf).filter((value) => value !== null);
      const average = values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
      mean.style.setProperty("--v", average === null ? 0 : scale.place(average).toFixed(3));
      mean.querySelector("output").textContent = formatNumber(average, quantity.style);
    }
  }

  legend(quantity, scale, ramp) {
    document.getElementById("legend-low").textContent = formatNumber(scale.low, quantity.style);
    document.getElementById("legend-high").textContent = formatNumber(scale.high, quantity.style);
    document.querySelector(".legend .ramp").style.background = `linear-gradient(to right, ${ramp.join(", ")})`;
    document.getElementById("explanation").textContent = quantity.explanation;
  }
}

// The colour at a place between 0 and 1 of a ramp, as red, green, blue.
function alongRamp(ramp, place) {
  const at = Math.min(Math.max(place, 0), 1) * (ramp.length - 1);
  const first = Math.min(Math.floor(at), ramp.length - 2);
  const [low, high] = [ramp[first], ramp[first + 1]].map((colour) =>
    [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16)),
  );
  return low.map((channel, i) => Math.round(channel + (high[i] - channel) * (at - first)));
}

// Black or white ink, whichever has the larger contrast (WCAG 2): never less than 4.58.
function inkOn(colour) {
  const linear = colour.map((channel) => {
    const c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 ? "#ffffff" : "#000000";
}

// A number short enough for a square: .31, 14, 6.
function shortNumber(value, style) {
  if (value === null) return "";
  if (style === "percent") return (100 * value).toFixed(100 * value < 9.5 ? 1 : 0);
  if (style === "count") return Number.isInteger(value) ? String(value) : value.toFixed(1);
  return twoDigits(value).replace(/^(-?)0\./, "$1.").replace("-", "−");
}
