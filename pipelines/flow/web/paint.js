// Colours, patterns and canvases. Whatever a colour says, a pattern, a sign or a word says too.

// Colours of the theme, asked of the browser once.
let palette = {};
const css = name => palette[name] ??= getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function setTheme(theme) {
  document.documentElement.dataset.theme = theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  palette = {};
}
const ten = ["#4e79a7", "#f28e2b", "#e15759", "#3fa7a0", "#59a14f", "#c9a400", "#b07aa1", "#e77f95", "#9c755f", "#7f8c8d"];
const oneOfMany = c => `hsl(${(c * 137.5) % 360} 55% ${48 + 14 * (c % 2)}%)`;
const colourOfClass = c => c === UNKNOWN || c === K ? css("--faint") : K <= ten.length ? ten[c] : oneOfMany(c);
const SIGNS = ["+", "−", "~", "", "", ""]; // by outcome
const colourOfOutcome = o => css(["--fixed", "--broken", "--rerouted", "--right", "--wrong"][o] ?? "--faint");

// Fills by outcome: broken and stuck striped, rerouted dotted, the others plain.
const patterns = new Map();
function patternOf(context, outcome, colour) {
  if (![BROKEN, STUCK, REROUTED].includes(outcome)) return colour;
  const key = `${outcome} ${colour}`;
  if (!patterns.has(key)) patterns.set(key, makePattern(context, outcome, colour));
  return patterns.get(key);
}

function makePattern(context, outcome, colour) {
  const tile = new OffscreenCanvas(6, 6), pen = tile.getContext("2d");
  pen.fillStyle = pen.strokeStyle = colour;
  if (outcome !== REROUTED) {
    pen.globalAlpha = 0.45; pen.fillRect(0, 0, 6, 6);
    pen.globalAlpha = 1; pen.lineWidth = 2;
    pen.beginPath(); pen.moveTo(-1, 7); pen.lineTo(7, -1); pen.stroke();
  } else {
    pen.globalAlpha = 0.3; pen.fillRect(0, 0, 6, 6);
    pen.globalAlpha = 1; pen.fillRect(1, 1, 2, 2); pen.fillRect(4, 4, 2, 2);
  }
  return context.createPattern(tile, "repeat");
}

// A canvas of `height` CSS pixels, as wide as its place, sharp on any screen, cleared.
function prepare(canvas, height, width = canvas.parentElement.clientWidth) {
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

function write(context, text, x, y, { align = "left", colour = css("--ink"), most = Infinity, halo = false } = {}) {
  context.textAlign = align;
  let shown = text;
  while (shown.length > 1 && context.measureText(shown).width > most) shown = `${shown.slice(0, -2)}…`;
  if (halo) { // a pale ground, so that text stays legible on links
    const wide = context.measureText(shown).width, left = x - { left: 0, center: wide / 2, right: wide }[align];
    context.globalAlpha = 0.7;
    context.fillStyle = css("--paper");
    context.fillRect(left - 1, y - 7, wide + 2, 13);
    context.globalAlpha = 1;
  }
  context.fillStyle = colour;
  context.fillText(shown, x, y);
}

const writeFaint = (context, text, x, y, options = {}) =>
  write(context, text, x, y, { colour: css("--faint"), ...options });

function swatch(outcome) {
  const canvas = document.createElement("canvas");
  canvas.width = 44; canvas.height = 24;
  const context = canvas.getContext("2d");
  context.fillStyle = patternOf(context, outcome, colourOfOutcome(outcome));
  context.fillRect(0, 0, 44, 24);
  return canvas;
}

function coloured(colour) {
  const box = document.createElement("i");
  box.className = "swatch";
  box.style.background = colour;
  return box;
}

function legendOf(element, ...parts) {
  element.replaceChildren(...parts.map(([mark, text]) => {
    const item = document.createElement("span");
    if (mark instanceof Node) item.append(mark);
    else if (mark) item.append(coloured(mark));
    item.append(text);
    return item;
  }));
}

const tip = document.getElementById("tip");
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
  const { innerWidth, innerHeight } = window;
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)}px`;
}

const count = rows => rows.length.toLocaleString("en");
const percent = share => Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : "–";
const round = (value, digits) => Number.isFinite(value) ? value.toFixed(digits) : "";
