// Colours, patterns and canvases. Whatever a colour says, a pattern, a sign or a word says too.

let themeColours = {}; // by CSS variable, each read from the browser once
function themeColour(name) {
  themeColours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return themeColours[name];
}

function setTheme(theme) {
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = theme || preferred;
  themeColours = {};
}

const FEW_COLOURS = ["#4e79a7", "#f28e2b", "#e15759", "#3fa7a0", "#59a14f",
  "#c9a400", "#b07aa1", "#e77f95", "#9c755f", "#7f8c8d"];
function colourOfClass(c) {
  if (c === UNKNOWN || c === K) return themeColour("--faint");
  if (K <= FEW_COLOURS.length) return FEW_COLOURS[c];
  return `hsl(${(c * 137.5) % 360} 55% ${48 + 14 * (c % 2)}%)`; // the golden angle keeps neighbours apart
}

const SIGNS = ["+", "−", "~", "", "", ""]; // by outcome
const OUTCOME_COLOURS = ["--fixed", "--broken", "--rerouted", "--correct", "--incorrect"];
const colourOfOutcome = outcome => themeColour(OUTCOME_COLOURS[outcome] ?? "--faint");

// Fills by outcome: broken and stuck striped, rerouted dotted, the others plain.
const patterns = new Map();
function patternOf(context, outcome, colour) {
  if (![BROKEN, STUCK, REROUTED].includes(outcome)) return colour;
  const key = `${outcome} ${colour}`;
  if (!patterns.has(key)) patterns.set(key, makePattern(context, outcome, colour));
  return patterns.get(key);
}

function makePattern(context, outcome, colour) {
  const tile = new OffscreenCanvas(6, 6);
  const pen = tile.getContext("2d");
  pen.fillStyle = pen.strokeStyle = colour;
  pen.globalAlpha = outcome === REROUTED ? 0.3 : 0.45;
  pen.fillRect(0, 0, 6, 6);
  pen.globalAlpha = 1;
  if (outcome === REROUTED) {
    pen.fillRect(1, 1, 2, 2);
    pen.fillRect(4, 4, 2, 2);
  } else {
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(-1, 7);
    pen.lineTo(7, -1);
    pen.stroke();
  }
  return context.createPattern(tile, "repeat");
}

// Clear a canvas and make it `height` CSS pixels high and as wide as its parent, sharp on any screen.
function prepareCanvas(canvas, height, width = canvas.parentElement.clientWidth) {
  const ratio = devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = '12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
  context.textBaseline = "middle";
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

function write(context, text, x, y, options = {}) {
  const { align = "left", colour = themeColour("--ink"), maxWidth = Infinity, halo = false } = options;
  context.textAlign = align;
  let shortened = text;
  while (shortened.length > 1 && context.measureText(shortened).width > maxWidth) {
    shortened = `${shortened.slice(0, -2)}…`;
  }
  if (halo) { // a pale background keeps text legible on links
    const width = context.measureText(shortened).width;
    const left = x - { left: 0, center: width / 2, right: width }[align];
    context.globalAlpha = 0.7;
    context.fillStyle = themeColour("--paper");
    context.fillRect(left - 1, y - 7, width + 2, 13);
    context.globalAlpha = 1;
  }
  context.fillStyle = colour;
  context.fillText(shortened, x, y);
}

const writeFaint = (context, text, x, y, options = {}) =>
  write(context, text, x, y, { colour: themeColour("--faint"), ...options });

function outcomeSwatch(outcome) {
  const canvas = document.createElement("canvas");
  canvas.width = 44;
  canvas.height = 24;
  const context = canvas.getContext("2d");
  context.fillStyle = patternOf(context, outcome, colourOfOutcome(outcome));
  context.fillRect(0, 0, 44, 24);
  return canvas;
}

function colourSwatch(colour) {
  const box = document.createElement("i");
  box.className = "swatch";
  box.style.background = colour;
  return box;
}

// Entries are [swatch, text], the swatch a canvas, a colour or empty.
function fillLegend(legend, ...entries) {
  legend.replaceChildren(...entries.map(([swatch, text]) => {
    const item = document.createElement("span");
    if (swatch instanceof Node) item.append(swatch);
    else if (swatch) item.append(colourSwatch(swatch));
    item.append(text);
    return item;
  }));
}

const tip = element("tip");
function showTip(event, text, i = null) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  if (i !== null && sprite) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 64;
    drawThumbnail(canvas.getContext("2d"), i, 0, 0, 64);
    tip.append(canvas);
  }
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)}px`;
}

const formatInteger = value => value.toLocaleString("en");
const formatPercent = fraction => Number.isFinite(fraction) ? `${(100 * fraction).toFixed(1)} %` : "–";
const formatNumber = (value, digits) => Number.isFinite(value) ? value.toFixed(digits) : "";
