// Views as SVG or PNG, and what is listed as CSV.

// A path that also remembers how SVG writes it.
class TracedPath extends Path2D {
  d = "";
  moveTo(x, y) { super.moveTo(x, y); this.d += `M${digits(x)} ${digits(y)}`; }
  lineTo(x, y) { super.lineTo(x, y); this.d += `${this.d ? "L" : "M"}${digits(x)} ${digits(y)}`; }
  bezierCurveTo(...points) { super.bezierCurveTo(...points); this.d += `C${points.map(digits).join(" ")}`; }
  closePath() { super.closePath(); this.d += "Z"; }
  rect(x, y, width, height) {
    super.rect(x, y, width, height);
    this.d += `M${digits(x)} ${digits(y)}h${digits(width)}v${digits(height)}h${digits(-width)}Z`;
  }
}
const digits = number => String(Math.round(number * 100) / 100);

// Takes what the views draw, as a canvas's context does, and writes it as SVG.
class SvgRecorder {
  static DOTS_PER_UNIT = 3; // where a view paints dots instead of shapes
  static measuring = new OffscreenCanvas(1, 1).getContext("2d");
  fillStyle = "#000";
  strokeStyle = "#000";
  lineWidth = 1;
  globalAlpha = 1;
  textAlign = "left";
  parts = [];
  patterns = new Map();
  dash = [];

  constructor(width, height) {
    const dots = SvgRecorder.DOTS_PER_UNIT;
    this.canvas = { width: Math.round(width * dots), height: Math.round(height * dots) };
    this.width = width;
    this.height = height;
  }

  getTransform() { return { a: SvgRecorder.DOTS_PER_UNIT }; }
  setLineDash(dash) { this.dash = dash; }
  beginPath() { this.path = new TracedPath(); }
  moveTo(x, y) { this.path.moveTo(x, y); }
  lineTo(x, y) { this.path.lineTo(x, y); }
  bezierCurveTo(...points) { this.path.bezierCurveTo(...points); }
  closePath() { this.path.closePath(); }
  measureText(text) {
    SvgRecorder.measuring.font = FONT;
    return SvgRecorder.measuring.measureText(text);
  }

  add(element, paint) {
    const alpha = this.globalAlpha < 1 ? ` opacity="${digits(this.globalAlpha)}"` : "";
    this.parts.push(`<${element} ${paint}${alpha}/>`);
  }
  strokePaint() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
    return `fill="none" stroke="${this.strokeStyle}" stroke-width="${digits(this.lineWidth)}"${dash}`;
  }
  fill(path = this.path) { this.add(`path d="${path.d}"`, `fill="${this.fillStyle}"`); }
  stroke(path = this.path) { this.add(`path d="${path.d}"`, this.strokePaint()); }
  fillRect(x, y, width, height) { this.add(rectangle(x, y, width, height), `fill="${this.fillStyle}"`); }
  strokeRect(x, y, width, height) { this.add(rectangle(x, y, width, height), this.strokePaint()); }
  arc(x, y, radius) { // always a whole circle here, of two halves
    const [r, diameter] = [digits(radius), digits(2 * radius)];
    this.path.d += `M${digits(x - radius)} ${digits(y)}a${r} ${r} 0 0 1 ${diameter} 0a${r} ${r} 0 0 1 -${diameter} 0`;
  }
  fillText(text, x, y) {
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    const escaped = text.replace(/[&<>]/g, sign => `&#${sign.charCodeAt(0)};`);
    this.parts.push(`<text x="${digits(x)}" y="${digits(y + 4)}" text-anchor="${anchor}" fill="${this.fillStyle}">`
      + `${escaped}</text>`);
  }
  drawImage(source, x, y, width, height) {
    const copy = document.createElement("canvas");
    copy.width = source.width;
    copy.height = source.height;
    copy.getContext("2d").drawImage(source, 0, 0);
    this.add(`image x="${x}" y="${y}" width="${width}" height="${height}"`, `href="${copy.toDataURL()}"`);
  }

  // The fill of an outcome, as makePattern draws it.
  outcomePattern(outcome, colour) {
    const key = `${outcome} ${colour}`;
    if (!this.patterns.has(key)) {
      const marks = outcome === REROUTED
        ? `<path d="M1 1h2v2h-2ZM4 4h2v2h-2Z" fill="${colour}"/>`
        : `<path d="M-1 7L7 -1" stroke="${colour}" stroke-width="2"/>`;
      const ground = `<rect width="6" height="6" fill="${colour}" opacity="${outcome === REROUTED ? 0.3 : 0.45}"/>`;
      const id = `pattern-${this.patterns.size}`;
      const pattern = `<pattern id="${id}" width="6" height="6" patternUnits="userSpaceOnUse">${ground}${marks}</pattern>`;
      this.patterns.set(key, { id, pattern });
    }
    return `url(#${this.patterns.get(key).id})`;
  }

  toString() {
    const [width, height] = [Math.ceil(this.width), Math.ceil(this.height)];
    const definitions = [...this.patterns.values()].map(({ pattern }) => pattern).join("");
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${digits(width / 96)}in" height="${digits(height / 96)}in" viewBox="0 0 ${width} ${height}" `
      + `font-family="system-ui, DejaVu Sans, sans-serif" font-size="12"><defs>${definitions}</defs>`
      + `<rect width="100%" height="100%" fill="${themeColour("--paper")}"/>${this.parts.join("\n")}</svg>`;
  }
}
const rectangle = (x, y, width, height) =>
  `rect x="${digits(x)}" y="${digits(y)}" width="${digits(Math.max(0, width))}" height="${digits(Math.max(0, height))}"`;

// caption: what the figure shows; epochs: those of its file's name.
const EXPORTS = {
  strip: {
    canvases: [element("strip")], legend: element("strip-legend"), draw: () => drawStrip(), epochs: () => "",
    caption: () => "Accuracy after each epoch, and how many images each epoch fixes, breaks or reroutes.",
  },
  flow: {
    canvases: [element("flow"), element("traces")], legend: element("flow-legend"), draw: () => drawFlow(),
    epochs: () => `-epochs-${flowColumns().filter((_, column, { length }) => column === 0 || column === length - 1).map(e => head.epochs[e]).join("-")}`,
    caption: () => `Images by predicted class (rows) and epoch (columns), and how they move: ${element("flow-range").textContent}.`,
  },
  confusion: {
    canvases: [element("confusion")], legend: null, draw: () => drawConfusion(), epochs: () => `-epoch-${head.epochs[lastMeasured()]}`,
    caption: () => `Confusion: ${element("confusion-about").textContent}.`,
  },
};
const EXPORT_WIDTH = 660; // units, 1/96 inch each: two columns of a paper, where text of 12 units has 9 points
const LEGEND_LINE = 20;
const CAPTION_LINE = 15;
let exported = null; // {canvases, recorder} while a view is exported
function isExported(canvas) { return exported?.canvases.includes(canvas) ?? false; }

// The recorder in place of a canvas's context while its view is exported; otherwise null.
function recorderOf(canvas, width, height) {
  if (!isExported(canvas)) return null;
  exported.recorder ??= new SvgRecorder(width, height);
  return exported.recorder;
}

// A view as SVG, as wide as a page's text, with its legend and what it shows.
function exportSvg(name) {
  const { canvases, legend, draw, caption } = EXPORTS[name];
  exported = { canvases };
  draw();
  const { recorder } = exported;
  exported = null;
  if (legend) recordLegend(recorder, legend.entries);
  recordCaption(recorder, `${caption()} ${describeShown(name === "strip" && totals !== null)}`);
  draw(); // pointer and keys meet what is on the screen
  return recorder.toString();
}

// Which runs, split and images a view is about: all, or those on the page.
function describeShown(isOfAll) {
  const runs = RUNS.map(({ run_id: id, name }) => `run ${name} (${id.slice(0, 8)})`).join(" and ");
  const classes = state.classes.length < K ? ` of ${state.classes.length} of ${K} classes` : "";
  const splits = state.split === "all" ? head.splits : [state.split];
  const outcome = state.compared ? `, those ${COMPARED_NAMES[OUTCOMES.indexOf(state.compared)]}` : "";
  return `${runs}, split ${splits.join(", ")}, n = ${isOfAll ? countAll() : countShown()} images${classes}${outcome}.`.replace(/^r/, "R");
}

const countAll = () => formatInteger(Math.max(...derived.outcomes.n)); // labelled ones of the chosen classes
const countShown = () => `${formatInteger(derived.ofOutcome.length)}${isSample ? ` (${describeSample("")})` : ""}`;

function recordCaption(recorder, text) {
  const room = recorder.width - 24;
  let line = "";
  let y = recorder.height + CAPTION_LINE / 2;
  const flush = () => {
    write(recorder, line, 12, y);
    y += CAPTION_LINE;
  };
  for (const word of text.split(" ")) {
    if (line && recorder.measureText(`${line} ${word}`).width > room) {
      flush();
      line = "";
    }
    line = line ? `${line} ${word}` : word;
  }
  flush();
  recorder.height = y;
}

function recordLegend(recorder, entries) {
  let [x, y] = [12, recorder.height + LEGEND_LINE / 2];
  for (const [swatch, text] of entries) {
    const width = recorder.measureText(text).width + 48;
    if (x + width - 20 > recorder.width && x > 12) [x, y] = [12, y + LEGEND_LINE];
    if (swatch) {
      recorder.fillStyle = swatch instanceof Node ? swatch.fillFor(recorder) : swatch;
      recorder.fillRect(x, y - 5, 20, 10);
    }
    write(recorder, text, swatch ? x + 26 : x, y);
    x += width;
  }
  recorder.height = y + LEGEND_LINE;
}

function download(content, type, fileName) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const PNG_SCALE = 3.125; // 300 dots per inch
async function downloadPng(name, fileName) {
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(exportSvg(name))}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = PNG_SCALE * picture.width;
  canvas.height = PNG_SCALE * picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.toBlob(blob => download(blob, "image/png", fileName));
}

// The selected images, or else those listed, as the table shows them.
function exportCsv() {
  const hasNames = head.names !== null; // else an ID is the split and instance_id before it
  const columns = COLUMNS.filter(({ key, text, digits: places }) => (text || places !== undefined) && (key !== "id" || hasNames));
  const epochs = isPair ? [] : ["epoch"]; // the last chosen one, of the prediction
  const header = ["split", "instance_id", ...epochs, ...columns.map(({ key }) => key)];
  const instances = state.selected.length ? state.selected : derived.listed;
  const lines = instances.map(i =>
    [head.splits[splitIndices[i]], instanceIds[i], ...epochs.map(() => head.epochs[state.to]), ...columns.map(column => cellText(column, i))]);
  return toCsv([header, ...lines]);
}

const quoted = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
const toCsv = rows => rows.map(cells => cells.map(cell => quoted(String(cell))).join(",")).join("\n");

for (const button of document.querySelectorAll("[data-export]")) {
  const { export: name, format } = button.dataset;
  button.onclick = () => {
    const epochs = EXPORTS[name]?.epochs() ?? "";
    const fileName = `${RUNS.map(run => run.run_id.slice(0, 8)).join("-")}-${name}${epochs}.${format}`;
    if (format === "svg") download(exportSvg(name), "image/svg+xml", fileName);
    else if (format === "png") downloadPng(name, fileName);
    else download(name === "verdicts" ? exportVerdicts() : exportCsv(), "text/csv", fileName);
  };
}
