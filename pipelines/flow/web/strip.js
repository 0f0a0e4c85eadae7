// Overview: accuracy and what each epoch fixed, broke and rerouted; brushing it chooses the epochs.

const strip = document.getElementById("strip");
const STRIP = { height: 132, left: 46, right: 14, top: 14, bottom: 20 };
let brush = null; // [first, last] while dragging

const stripX = (e, width) => STRIP.left + (E > 1 ? e / (E - 1) : 0.5) * (width - STRIP.left - STRIP.right);
// Epoch at a place: the nearest, or, rounded up, the one that the bar there leads into.
function stripEpoch(x, rounded = Math.round) {
  const share = (x - STRIP.left) / (strip.clientWidth - STRIP.left - STRIP.right);
  return Math.min(E - 1, Math.max(0, rounded(share * (E - 1))));
}

function drawStrip() {
  const h = derived.outcomes;
  const { context, width, height } = prepare(strip, STRIP.height);
  const base = height - STRIP.bottom, room = base - STRIP.top;
  drawRange(context, width, base);
  drawOutcomes(context, h, width, base, room);
  drawAccuracy(context, h, width, base, room);
  const step = Math.max(1, Math.ceil(E * 34 / (width - 60)));
  for (let e = 0; e < E; e += step) {
    writeFaint(context, String(head.epochs[e]), stripX(e, width), height - 8, { align: "center" });
  }
  const mark = { align: "center", colour: css("--gold"), halo: true };
  for (let e = 1; e < E; e++) if (head.turbulent[e]) write(context, "▲", stripX(e - 0.5, width), base - 5, mark);
  const chosen = `epochs ${head.epochs[state.from]} to ${head.epochs[state.to]} are chosen`;
  strip.setAttribute("aria-label", `${aboutTransition(h, state.to)}; ${chosen}`);
  legendOf(document.getElementById("strip-legend"), [css("--ink"), "accuracy (line, 0 to 100 %)"],
    ...[FIXED, BROKEN, REROUTED].map(o => [swatch(o), `${SIGNS[o]} ${OUTCOMES[o]}`]),
    ["", `bars: up to ${mostMoves(h).toLocaleString("en")} images an epoch`],
    [css("--gold"), "▲ turbulent: more moves than before, and over 1.5 times the median"]);
}

// The first transition, away from the untrained network, dwarfs all others: its bar is cut, its count written.
const movesInto = (h, e) => h.counts[e][FIXED] + h.counts[e][BROKEN] + h.counts[e][REROUTED];
const mostMoves = h => Math.max(1, ...h.counts.map((_, e) => e > 1 || E < 3 ? movesInto(h, e) : 0));

function drawRange(context, width, base) {
  const [first, last] = brush ?? [state.from, state.to], pad = 4;
  const a = stripX(first, width) - pad, b = stripX(last, width) + pad;
  context.fillStyle = css("--panel");
  context.fillRect(a, STRIP.top - 6, b - a, base - STRIP.top + 6);
  context.strokeStyle = css("--gold");
  context.lineWidth = 2;
  context.strokeRect(a, STRIP.top - 6, b - a, base - STRIP.top + 6);
}

function drawOutcomes(context, h, width, base, room) {
  const most = mostMoves(h), wide = Math.max(1, Math.min(26, (width - 60) / E * 0.7));
  const fills = [FIXED, BROKEN, REROUTED].map(o => patternOf(context, o, colourOfOutcome(o)));
  for (let e = 1; e < E; e++) {
    let y = base;
    for (const o of [FIXED, BROKEN, REROUTED]) {
      const tall = h.counts[e][o] / Math.max(most, movesInto(h, e)) * room;
      context.fillStyle = fills[o];
      context.fillRect(stripX(e - 0.5, width) - wide / 2, y - tall, wide, tall);
      y -= tall;
    }
    const moves = movesInto(h, e).toLocaleString("en");
    if (movesInto(h, e) > most) writeFaint(context, moves, stripX(e - 0.5, width), base - room - 7, { align: "center" });
  }
}

function drawAccuracy(context, h, width, base, room) {
  for (const share of [0, 0.5, 1]) {
    writeFaint(context, `${100 * share} %`, STRIP.left - 8, base - share * room, { align: "right" });
  }
  context.beginPath();
  for (let e = 0; e < E; e++) if (h.n[e]) context.lineTo(stripX(e, width), base - h.right[e] / h.n[e] * room);
  for (const [colour, line] of [[css("--paper"), 4], [css("--ink"), 1.8]]) {
    context.strokeStyle = colour; context.lineWidth = line; context.stroke();
    if (E === 1 && h.n[0]) context.strokeRect(stripX(0, width) - 2, base - h.right[0] / h.n[0] * room - 2, 4, 4);
  }
}

strip.addEventListener("pointerdown", event => {
  strip.setPointerCapture(event.pointerId);
  const start = stripEpoch(event.offsetX);
  brush = [start, start];
  strip.onpointermove = move => {
    const end = stripEpoch(move.offsetX);
    brush = [Math.min(start, end), Math.max(start, end)];
    drawStrip();
  };
});
strip.addEventListener("pointerup", () => {
  strip.onpointermove = null;
  if (!brush) return;
  const [from, to] = brush;
  brush = null;
  // a click alone moves the range there
  if (from !== to) setRange(from, to); else moveRange(from - state.from);
});
strip.addEventListener("pointercancel", () => { brush = strip.onpointermove = null; });
strip.addEventListener("dblclick", () => setRange(0, E - 1));
strip.addEventListener("mousemove", event => {
  showTip(event, aboutTransition(derived.outcomes, stripEpoch(event.offsetX, Math.ceil)));
});
strip.addEventListener("mouseleave", () => showTip(null, ""));
strip.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Home") setRange(0, state.to - state.from);
  else if (event.key === "End") setRange(E - 1 - (state.to - state.from), E - 1);
  else if (!step) return;
  else if (event.shiftKey) setRange(state.from, Math.min(E - 1, Math.max(state.from, state.to + step)));
  else moveRange(step);
  event.preventDefault();
});

// A wide range gets a stride, so that columns stay legible; a narrow one shows every epoch.
function setRange(from, to) {
  change({ from, to, stride: Math.ceil((to - from + 1) / (2 * WIDEST)) });
}
function moveRange(step) {
  const long = state.to - state.from, from = Math.min(Math.max(0, state.from + step), E - 1 - long);
  change({ from, to: from + long });
}
