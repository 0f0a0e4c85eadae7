// Overview: accuracy, and what each epoch fixes, breaks and reroutes; dragging over it chooses the epochs.

const strip = element("strip");
const STRIP = { height: isPair ? 164 : 148, left: 46, right: 66, top: isPair ? 46 : 30, bottom: 20 };
let draggedRange = null; // [first, last] while dragging

const stripX = (e, width) => STRIP.left + placeOfEpoch(e, width - STRIP.left - STRIP.right);

// Epoch at x: the nearest one, or with Math.ceil the one that the bar at x leads into.
function stripEpoch(x, roundEpoch = Math.round, run = runUnder(x)) {
  const { start, end } = RUNS[run];
  const [left, right] = [start, end - 1].map(e => stripX(e, widthOf(strip)));
  const fraction = right > left ? (x / unit() - left) / (right - left) : 0;
  return Math.min(end - 1, Math.max(start, start + roundEpoch(fraction * (end - 1 - start))));
}

// The run whose part of the strip has a point.
function runUnder(x) {
  if (!isPair) return 0;
  const [end, start] = [RUNS[0].end - 1, RUNS[1].start].map(e => stripX(e, widthOf(strip)));
  return x / unit() > (end + start) / 2 ? 1 : 0;
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
  for (const { start, end } of RUNS) {
    for (let e = start; e < end; e += labelEvery) {
      writeFaint(context, String(head.epochs[e]), stripX(e, width), height - 8, { align: "center" });
    }
  }
  if (isPair) {
    const [[firstLeft, firstRight], [secondLeft]] = RUNS.map(({ start, end }) => [stripX(start, width), stripX(end - 1, width)]);
    writeRunName(context, RUNS[0].name, firstLeft, [firstLeft, secondLeft - 8]);
    writeRunName(context, RUNS[1].name, secondLeft, [firstRight + 8, width - 4]);
  }
  writeFaint(context, "accuracy", 2, STRIP.top - 22);
  writeFaint(context, "images", width - 2, STRIP.top - 22, { align: "right" });
  writeFaint(context, "epoch", width - 2, height - 8, { align: "right" });
  const markStyle = { align: "center", colour: themeColour("--ink"), halo: true };
  for (let e = 0; e < E; e++) {
    if (head.turbulent[e]) write(context, "▲", stripX(e - 0.5, width), base - 5, markStyle);
  }

  const chosen = `chosen: ${RUNS.map((_, run) => rangeName(run)).join(", and ")}`;
  strip.setAttribute("aria-label", `${describeTransition(outcomes, lastMeasured())}; ${chosen}`);
  fillLegend(element("strip-legend"),
    [themeColour("--ink"), "accuracy (line, left axis)"],
    ...MOVES.map(outcome => [outcomeSwatch(outcome), `${SIGNS[outcome]} ${OUTCOMES[outcome]}`]),
    ["", "bars: images whose prediction changes (right axis)"],
    [themeColour("--gold"), "frame: the chosen epochs"],
    ...(totals ? [["", "of all images, not only those on this page"]] : []),
    ...(head.turbulent.some(Boolean)
      ? [["", "▲ turbulent: more moves than in the epoch before, and over 1.5 times the median"]] : []));
}

// Moves of the tallest bar. The first transition, from a network that guesses, dwarfs all others: its bar is cut off.
function tallestBar(outcomes) {
  let maxMoves = 1;
  for (const { start, end, is_trained: isTrained } of RUNS) {
    const first = end - start < 3 || isTrained ? start : start + 2;
    for (let e = first; e < end; e++) maxMoves = Math.max(maxMoves, movesInto(outcomes, e));
  }
  return maxMoves;
}

function drawRange(context, width, base) {
  const padding = 4;
  ranges().forEach((range, run) => {
    const [first, last] = draggedRange && runOf(draggedRange[0]) === run ? draggedRange : range;
    const left = stripX(first, width) - padding;
    const right = stripX(last, width) + padding;
    context.fillStyle = themeColour("--panel");
    context.fillRect(left, STRIP.top - 6, right - left, base - STRIP.top + 6);
    context.strokeStyle = themeColour("--gold");
    context.lineWidth = run === measuredRun() ? 2 : 1;
    context.strokeRect(left, STRIP.top - 6, right - left, base - STRIP.top + 6);
  });
}

function drawOutcomes(context, outcomes, maxMoves, width, base, plotHeight) {
  const barWidth = Math.max(1, Math.min(26, (width - 60) / E * 0.7));
  const fills = MOVES.map(outcome => patternOf(context, outcome, colourOfOutcome(outcome)));
  for (let e = 0; e < E; e++) {
    if (e === RUNS[runOf(e)].start) continue; // nothing leads into it
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
  for (const { start, end } of RUNS) {
    const y = e => base - correct[e] / n[e] * plotHeight;
    context.beginPath();
    for (let e = start; e < end; e++) if (n[e]) context.lineTo(stripX(e, width), y(e));
    for (const [colour, lineWidth] of [[themeColour("--paper"), 4], [themeColour("--ink"), 1.8]]) {
      context.strokeStyle = colour;
      context.lineWidth = lineWidth;
      context.stroke();
      // a single epoch makes no line
      if (end - start === 1 && n[start]) context.strokeRect(stripX(start, width) - 2, y(start) - 2, 4, 4);
    }
  }
}

strip.addEventListener("pointerdown", event => {
  strip.setPointerCapture(event.pointerId);
  const start = stripEpoch(event.offsetX);
  draggedRange = [start, start];
  strip.onpointermove = move => {
    const end = stripEpoch(move.offsetX, Math.round, runOf(start));
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
  else moveRange(runOf(from), from - rangeOf(runOf(from))[0]);
});
strip.addEventListener("pointercancel", () => { draggedRange = strip.onpointermove = null; });
strip.addEventListener("dblclick", event => {
  const { start, end } = RUNS[runUnder(event.offsetX)];
  setRange(start, end - 1);
});
strip.addEventListener("mousemove", event => {
  showTip(event, describeTransition(derived.outcomes, stripEpoch(event.offsetX, Math.ceil)));
});
strip.addEventListener("mouseleave", () => showTip(null, ""));
strip.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const run = measuredRun();
  const [from, to] = rangeOf(run);
  if (event.key === "Home") moveRange(run, -E);
  else if (event.key === "End") moveRange(run, E);
  else if (isPair && ["ArrowUp", "ArrowDown"].includes(event.key)) change({ measured: run ? "first" : "second" });
  else if (!step) return;
  else if (event.shiftKey) setRange(from, Math.min(RUNS[run].end - 1, Math.max(from, to + step)));
  else moveRange(run, step);
  event.preventDefault();
});

// A wide range gets a stride, so that columns stay legible; a narrow one shows every epoch.
function setRange(from, to) {
  const [fromKey, toKey] = RANGE_KEYS[runOf(from)];
  change({ [fromKey]: from, [toKey]: to, stride: Math.ceil((to - from + 1) / (2 * INITIAL_COLUMNS)) });
}

function moveRange(run, step) {
  const [first, last] = rangeOf(run);
  const { start, end } = RUNS[run];
  const from = Math.min(Math.max(start, first + step), end - 1 - (last - first));
  const [fromKey, toKey] = RANGE_KEYS[run];
  change({ [fromKey]: from, [toKey]: from + last - first });
}
