// The data of the page: numbers as JSON, pictures and supports as compressed text beside it.

const report = JSON.parse(document.getElementById("report-data").textContent);
const runs = new Map(report.runs.map((run) => [run.id, run]));
const headsOf = new Map(
  report.runs.map((run) => [run.id, new Map(run.heads.map((head) => [head.key, head]))]),
);

// Concepts beyond the last colour take the colours again with a dashed outline; the number is
// always shown as well.
function conceptStyle(concept) {
  const [colour, ink] = report.palette[concept % report.palette.length];
  return { colour, ink, dashed: Math.floor(concept / report.palette.length) % 2 === 1 };
}

function chip(concept) {
  const { colour, ink, dashed } = conceptStyle(concept);
  const style = { class: dashed ? "chip dashed" : "chip", "--colour": colour, "--ink": ink };
  return element("span", style, String(concept));
}

function formatNumber(value, style) {
  if (value === null || value === undefined) return "–";
  if (style === "percent") return `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
  if (style === "count") return Number.isInteger(value) ? String(value) : value.toFixed(1);
  return twoDigits(value).replace("-", "−");
}

// Two digits, and no minus before a zero.
function twoDigits(value) {
  return value.toFixed(2).replace(/^-(0\.00)$/, "$1");
}

// Build an element; text goes in as text, so that no name from the data can become markup.
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function embedded(id) {
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// One head's supports: per packed video a volume [height, width, frames], time running fastest,
// 0 = no concept, otherwise concept + 1.
async function readSupports(runId, head) {
  const bytes = await inflate(embedded(`support-${runId}-${head.key}`));
  const volumes = new Map();
  let start = 0;
  for (const index of head.packed) {
    const video = report.videos[index];
    const { height, width } = video.support[runId];
    const frames = video.frames.length;
    const end = start + height * width * frames;
    volumes.set(index, { height, width, frames, voxels: bytes.subarray(start, end) });
    start = end;
  }
  return volumes;
}

// When there is time, or soon: a page that plays may never be idle, and Safari does not tell.
function whenIdle(work) {
  if ("requestIdleCallback" in window) requestIdleCallback(work, { timeout: 200 });
  else setTimeout(work, 20);
}

// Keep the last few results of an asynchronous function of one or two strings.
function remember(compute, limit) {
  const kept = new Map();
  return (key, ...rest) => {
    const found = kept.get(key) ?? compute(key, ...rest);
    kept.delete(key);
    kept.set(key, found);
    if (kept.size > limit) kept.delete(kept.keys().next().value);
    return found;
  };
}

const supportsByName = remember((name, runId, head) => readSupports(runId, head), 24);
const supportsOf = (runId, head) => supportsByName(`${runId} ${head.key}`, runId, head);

const sheetOf = remember(async (index) => {
  const blob = new Blob([embedded(`frames-${index}`)], { type: "image/webp" });
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  URL.revokeObjectURL(image.src);
  return image;
}, 64);
