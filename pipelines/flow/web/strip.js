// Overview: accuracy, and what each epoch fixes, breaks and reroutes; dragging over it chooses the epochs.

const strip = element("strip");
const STRIP = { height: 136, left: 46, right: 66, top: 18, bottom: 20 };
let draggedRange = null; // [first, last] while dragging

const stripX = (e, width) => STRIP.left + (E > 1 ? e / (E - 1) : 0.5) * (width - STRIP.left - STRIP.right);

// Epoch at x: the nearest one, or with Math.ceil the one that the bar at x leads into.
function stripEpoch(x, roundEpoch = Math.round) {
  const fraction = (x / unit() - STRIP.left) / (widthOf(strip) - STRIP.left - STRIP.right);
  return Math.min(E - 1, Math.max(0, roundEpoch(fraction * (E - 1))));
}

function drawStrip() {
  const { outcomes } = derived;
  const { context, width, height } = prepareCanvas(strip, STRIP.height);
  const base = height - STRIP.bottom;
  const plotHeight = base - STRIP.top;
  const maxMoves = tallestBar(outcomes);
  drawRange(context, width, base);
  drawOutcomes(context, outcomes, maxMoves, width, base, plotHeight);
  drawAccuracy(context, outcomes, width, base, plotHeight);
  drawMovesAxis(context, maxMoves, width, base, plotHeight);

  const labelEvery = Math.max(1, Math.ceil(E * 34 / (width - 60)));
  for (let e = 0; e < E; e += labelEvery) {
    writeFaint(context, String(head.epochs[e]), stripX(e, width), height - 8, { align: "center" });
  }
  const markStyle = { align: "center", colour: themeColour("--gold"), halo: true };
  for (let e = 1; e < E; e++) {
    if (head.turbulent[e]) write(context, "▲", stripX(e - 0.5, width), base - 5, markStyle);
  }

  const chosen = `epochs ${head.epochs[state.from]} to ${head.epochs[state.to]} are chosen`;
  strip.setAttribute("aria-label", `${describeTransition(outcomes, state.to)}; ${chosen}`);
  fillLegend(element("strip-legend"),
    [themeColour("--ink"), "accuracy (line, left axis)"],
    ...MOVES.map(outcome => [outcomeSwatch(outcome), `${SIGNS[outcome]} ${OUTCOMES[outcome]}`]),
    ["", "bars: images whose prediction changes (right axis)"],
    [themeColour("--gold"), "▲ turbulent: more moves than in the epoch before, and over 1.5 times the median"]);
}

// Moves of the tallest bar. The first transition, from the untrained network, dwarfs all others: its bar is cut off.
function tallestBar(outcomes) {
  let maxMoves = 1;
  for (let e = E < 3 ? 0 : 2; e < E; e++) maxMoves = Math.max(maxMoves, movesInto(outcomes, e));
  return maxMoves;
}

function drawRange(context, width, base) {
  const [first, last] = draggedRange ?? [state.from, state.to];
  const padding = 4;
  const left = stripX(first, width) - padding;
  const right = stripX(last, width) + padding;
  context.fillStyle = themeColour("--panel");
  context.fillRect(left, STRIP.top - 6, right - left, base - STRIP.top + 6);
  context.strokeStyle = themeColour("--gold");
  context.lineWidth = 2;
  context.strokeRect(left, STRIP.top - 6, right - left, base - STRIP.top + 6);
}

function drawOutcomes(context, outcomes, maxMoves, width, base, plotHeight) {
  const barWidth = Math.max(1, Math.min(26, (width - 60) / E * 0.7));
  const fills = MOVES.map(outcome => patternOf(context, outcome, colourOfOutcome(outcome)));
  for (let e = 1; e < E; e++) {
    const moves = movesInto(outcomes, e);
    const x = stripX(e - 0.5, width);
    let y = base;
    MOVES.forEach((outcome, index) => {
      const height = outcomes.counts[e][outcome] / Math.max(maxMoves, moves) * plotHeight;
      context.fillStyle = fills[index];
      context.fillRect(x - barWidth / 2, y - height, barWidth, height);
      y -= height;
    });
    if (moves > maxMoves) drawBreak(context, moves, x, barWidth, base - plotHeight);
  }
}

// A bar that is cut off has a gap across it, and its count on top.
function drawBreak(context, moves, x, barWidth, top) {
  const [left, right] = [x - barWidth / 2 - 3, x + barWidth / 2 + 3];
  context.beginPath();
  context.moveTo(left, top + 16);
  context.lineTo(right, top + 10);
  context.lineTo(right, top + 14);
  context.lineTo(left, top + 20);
  context.closePath();
  context.fillStyle = themeColour("--panel");
  context.fill();
  write(context, formatInteger(moves), x, top - 8, { align: "center", colour: themeColour("--faint"), halo: true });
}

function drawMovesAxis(context, maxMoves, width, base, plotHeight) {
  const x = width - STRIP.right + 12;
  for (const moves of new Set([0, Math.round(maxMoves / 2), maxMoves])) {
    writeFaint(context, formatInteger(moves), x, base - moves / maxMoves * plotHeight);
  }
}

function drawAccuracy(context, { correct, n }, width, base, plotHeight) {
  for (const accuracy of [0, 0.5, 1]) {
    writeFaint(context, `${100 * accuracy} %`, STRIP.left - 8, base - accuracy * plotHeight, { align: "right" });
  }
  context.beginPath();
  for (let e = 0; e < E; e++) {
    if (n[e]) context.lineTo(stripX(e, width), base - correct[e] / n[e] * plotHeight);
  }
  for (const [colour, lineWidth] of [[themeColour("--paper"), 4], [themeColour("--ink"), 1.8]]) {
    context.strokeStyle = colour;
    context.lineWidth = lineWidth;
    context.stroke();
    // a single epoch makes no line
    if (E === 1 && n[0]) context.strokeRect(stripX(0, width) - 2, base - correct[0] / n[0] * plotHeight - 2, 4, 4);
  }
}

strip.addEventListener("pointerdown", event => {
  strip.setPointerCapture(event.pointerId);
  const start = stripEpoch(event.offsetX);
  draggedRange = [start, start];
  strip.onpointermove = move => {
    const end = stripEpoch(move.offsetX);
    draggedRange = [Math.min(start, end), Math.max(start, end)];
    drawStrip();
  };
});
strip.addEventListener("pointerup", () => {
  strip.onpointermove = null;
  if (!draggedRange) return;
  const [from, to] = draggedRange;
  draggedRange = null;
  // a mere click moves the range there
  if (from !== to) setRange(from, to);
  else moveRange(from - state.from);
});
strip.addEventListener("pointercancel", () => { draggedRange = strip.onpointermove = null; });
strip.addEventListener("dblclick", () => setRange(0, E - 1));
strip.addEventListener("mousemove", event => {
  showTip(event, describeTransition(derived.outcomes, stripEpoch(event.offsetX, Math.ceil)));
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
  change({ from, to, stride: Math.ceil((to - from + 1) / (2 * INITIAL_COLUMNS)) });
}

function moveRange(step) {
  const length = state.to - state.from;
  const from = Math.min(Math.max(0, state.from + step), E - 1 - length);
  change({ from, to: from + length });
}
