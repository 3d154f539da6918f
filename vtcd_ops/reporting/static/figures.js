// Small figures of the cards, drawn as SVG: a histogram, a profile over time, a value on a bar.

const SVG = "http://www.w3.org/2000/svg";

function svgElement(tag, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

// Bars over a horizontal axis with titles; a second series is drawn behind, hollow.
function barChart({ title, xTitle, yTitle, xEnds, values, behind = null, format }) {
  const [width, height, left, bottom, top] = [300, 150, 46, 38, 8];
  const highest = Math.max(...values, ...(behind ?? []), 1e-9);
  const svg = svgElement("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const y = (value) => height - bottom - ((height - bottom - top) * value) / highest;
  const step = (width - left - 6) / values.length;
  const text = (x, at, words, kind, anchor) =>
    svg.append(svgElement("text", { class: kind, x, y: at, "text-anchor": anchor }, words));
  for (const value of [0, highest]) {
    svg.append(svgElement("line", { class: "grid-line", x1: left, x2: width - 6, y1: y(value), y2: y(value) }));
    text(left - 5, y(value) + 4, format(value), "tick", "end");
  }
  const bars = (series, kind) =>
    series.forEach((value, index) => {
      const bar = svgElement("rect", {
        class: kind, x: (left + index * step + 1).toFixed(1), width: (step - 2).toFixed(1),
        y: y(value).toFixed(1), height: Math.max(height - bottom - y(value), 0).toFixed(1),
      });
      bar.append(svgElement("title", {}, format(value)));
      svg.append(bar);
    });
  if (behind) bars(behind, "bar-behind");
  bars(values, "bar-front");
  text(left, height - bottom + 14, xEnds[0], "tick", "start");
  text(width - 6, height - bottom + 14, xEnds[1], "tick", "end");
  text((left + width) / 2, height - 6, xTitle, "axis-title", "middle");
  const label = svgElement("text", { class: "axis-title", "text-anchor": "middle", transform: `translate(11 ${(top + height - bottom) / 2}) rotate(-90)` }, yTitle);
  svg.append(label);
  return element("figure", { class: "small-figure" }, element("figcaption", {}, title), svg);
}

// A value between 0 and 1 on a bar, with a mark at the median of all concepts.
function valueBar(quantity, value, median) {
  const track = element("span", { class: "value-track", "--x": clamp(value), "--median": clamp(median) },
    element("i"), element("b"));
  return element("p", { class: "value-bar" }, term(quantity.label.toLowerCase(), quantity.explanation),
    track, element("b", {}, formatNumber(value, quantity.style)));
}

function clamp(value) {
  return Math.min(Math.max(value ?? 0, 0), 1).toFixed(4);
}

// Median over all concepts of the model; numbers that are not defined do not count.
const medianOf = remember((key) => {
  const values = runs.get("model").heads
    .flatMap(({ concepts }) => concepts.map((concept) => concept.values[key]))
    .filter((value) => value !== null && value !== undefined)
    .sort((a, b) => a - b);
  return values.length ? values[Math.floor(values.length / 2)] : 0;
}, 40);
