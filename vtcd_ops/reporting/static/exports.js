// What can be taken out of the page: tables as CSV, figures as SVG, a clip's frame as PNG.

function save(name, text, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function csvOf(rows) {
  // A spreadsheet takes a text that begins so for a formula, which may fetch or run something.
  const plain = (cell) => (/^[=+\-@\t\r]/.test(cell) && Number.isNaN(Number(cell)) ? `'${cell}` : cell);
  const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const quoted = (cell) => quote(plain(cell));
  return rows.map((row) => row.map((cell) => quoted(String(cell ?? ""))).join(",") + "\n").join("");
}

function tableRows(table) {
  return [...table.rows].map((row) =>
    [...row.cells].map((cell) => cell.dataset.value ?? cell.textContent.trim()),
  );
}

// A figure that stands by itself: the page's colours and type written into it.
function svgOf(figure) {
  const source = figure.querySelector("svg");
  const copy = source.cloneNode(true);
  const shown = [source, ...source.querySelectorAll("*")];
  const written = [copy, ...copy.querySelectorAll("*")];
  const properties = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-family", "font-size", "font-weight"];
  shown.forEach((node, index) => {
    const style = getComputedStyle(node);
    written[index].setAttribute("style", properties.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
  });
  const paper = getComputedStyle(document.body).backgroundColor;
  copy.style.background = paper;
  return new XMLSerializer().serializeToString(copy);
}

function setUpExports() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-svg], [data-csv]");
    if (!button) return;
    const { svg, csv } = button.dataset;
    if (svg) save(`${svg}.svg`, svgOf(byId(`figure-${svg}`)), "image/svg+xml");
    if (csv) save(`${csv}.csv`, csvOf(tableRows(byId(`table-${csv}`))), "text/csv");
  });
  byId("export-heads")?.addEventListener("click", () => {
    const keys = report.headQuantities.map(({ key }) => key);
    const rows = runs.get("model").heads.map((head) => [
      head.part, head.layer, head.head, ...keys.map((key) => head.values[key]), head.warning,
    ]);
    save("heads.csv", csvOf([["part", "layer", "head", ...keys, "warning"], ...rows]), "text/csv");
  });
  byId("export-names")?.addEventListener("click", () =>
    save("names.json", JSON.stringify(names.all(), null, 2) + "\n", "application/json"),
  );
  byId("export-print")?.addEventListener("click", () => window.print());
}
