// Colours, patterns and canvases. What a colour says, a pattern, a sign or a word also says.

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
  if (context.outcomePattern) return context.outcomePattern(outcome, colour);
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

// Views are drawn in units that are a CSS pixel on a laptop and grow with the screen, like the text around them.
const unit = () => Math.min(1.4, Math.max(1, innerWidth / 1500));
const pixelsPerUnit = () => (devicePixelRatio || 1) * unit();
const widthOf = canvas => isExported(canvas) ? EXPORT_WIDTH : canvas.parentElement.clientWidth / unit();
const placeOf = ({ offsetX, offsetY }) => [offsetX / unit(), offsetY / unit()];

// Clear a canvas and make it `height` units high and as wide as its parent, sharp on any screen. While a view is exported,
// its drawing goes elsewhere.
function prepareCanvas(canvas, height, width = widthOf(canvas)) {
  const recorder = recorderOf(canvas, width, height);
  if (recorder) return { context: recorder, width, height };
  canvas.style.height = `${height * unit()}px`;
  canvas.width = Math.round(width * pixelsPerUnit());
  canvas.height = Math.round(height * pixelsPerUnit());
  const context = canvas.getContext("2d");
  context.setTransform(pixelsPerUnit(), 0, 0, pixelsPerUnit(), 0, 0);
  context.font = FONT;
  context.textBaseline = "middle";
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const FONT = '12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
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

// A run's name over its epochs, from their left end on; without the room, as much as fits between two bounds.
function writeRunName(context, name, left, [from, to], y = 9) {
  const fits = left + context.measureText(name).width <= to;
  if (fits) write(context, name, left, y);
  else write(context, name, to, y, { align: "right", maxWidth: to - from });
}

// A name without its middle, as the ends of names tell them apart.
function shortenMiddle(name, most) {
  if (name.length <= most) return name;
  const end = Math.floor((most - 1) / 2);
  return `${name.slice(0, most - 1 - end)}…${name.slice(-end)}`;
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
  canvas.fillFor = other => patternOf(other, outcome, colourOfOutcome(outcome));
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
  legend.entries = entries;
  legend.replaceChildren(...entries.map(([swatch, text]) => {
    const item = document.createElement("span");
    if (swatch instanceof Node) item.append(swatch);
    else if (swatch) item.append(colourSwatch(swatch));
    item.append(text);
    return item;
  }));
}

const tip = element("tip");
const MAX_TIP_IMAGES = 12;
function showTip(event, text, instances = []) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  if (instances.some(hasPicture)) {
    const images = document.createElement("div");
    images.append(...instances.filter(hasPicture).slice(0, MAX_TIP_IMAGES).map(i => makeThumbnail(i, PICTURE_SIDE)));
    tip.append(images);
  }
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)}px`;
}

// A picture of an image on a canvas, at least this many CSS pixels large, and larger on large screens.
function drawPicture(canvas, i, least) {
  const { side, shrunk } = head.thumbnails;
  const size = shrunk ? Math.round(least * pixelsPerUnit()) : side * wholeMultiple(side, least);
  fixSize(canvas, size, size);
  drawThumbnail(canvas.getContext("2d"), i, 0, 0, size);
}

// How many times as large a picture of `side` pixels is drawn, so that it has at least this many CSS pixels.
function wholeMultiple(side, least) {
  return Math.max(Math.ceil(least * (devicePixelRatio || 1) / side), Math.round(least * pixelsPerUnit() / side));
}

// A canvas of this many pixels of the screen.
function fixSize(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  canvas.width = width;
  canvas.height = height;
  canvas.style.width = `${width / ratio}px`;
  canvas.style.height = `${height / ratio}px`;
}

const PICTURE_SIDE = 96; // CSS pixels of a picture at least, where there are few
const CROWDED_SIDE = 64; // where there are many
function makeThumbnail(i, least) {
  const canvas = document.createElement("canvas");
  drawPicture(canvas, i, least);
  return canvas;
}

// Rows down and columns to the right that a key moves a cursor.
const ARROWS = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };
const clampIndex = (value, length) => Math.min(Math.max(0, value), length - 1);

const formatInteger = value => value.toLocaleString("en");
const formatPercent = fraction => Number.isFinite(fraction) ? `${(100 * fraction).toFixed(1)} %` : "–";
const formatNumber = (value, digits) => Number.isFinite(value) ? value.toFixed(digits) : "";
