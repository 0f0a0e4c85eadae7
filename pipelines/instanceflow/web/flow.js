// The flow: columns of epochs, rows of predicted classes, links of images that move from one to another.

const flowCanvas = element("flow");
const tracesCanvas = element("traces");
// runs: height of their names; gap: between two runs; maxRows: classes that have a row of their own
const FLOW = { right: 18, top: 26, bottom: 24, row: 58, runs: 20, gap: 40, maxRows: 40 };
const OTHER_ROWS = 6; // of many classes Other has most images: it is as high as this many rows, so that links keep visible
const MAX_PANELS = 12;
const PANELS_ACROSS = 3; // if there is one per true class
const MAX_TRACED = 200; // images
const MAX_HOVERED = 60; // images
let hitTargets = []; // what pointer and keys can meet: {path, text, members, column, at, isNode}, the topmost last

// Links lie above nodes.
function addTarget(target) {
  if (target.isNode) hitTargets.unshift(target);
  else hitTargets.push(target);
}

function drawFlow() {
  const columns = flowColumns();
  const { rows } = derived;
  const panels = makePanels(rows);
  const across = Math.min(panels.length, PANELS_ACROSS);
  const panelHeight = flowTop() + (rows.names.length + (tallRow() < 0 ? 0 : OTHER_ROWS - 1)) * rowHeight() + FLOW.bottom;
  const { context, width } = prepareCanvas(flowCanvas, panelHeight * Math.ceil(panels.length / across));
  hitTargets = [];
  glyphCells = [];
  let hidden = 0;
  panels.forEach((panel, index) => {
    const x = (index % across) * width / across;
    const y = Math.floor(index / across) * panelHeight;
    hidden += drawPanel(context, { ...makeBox(x, y, width / across, columns), panel }, rows);
  });
  describeFlow(columns, hidden);
  drawTraces();
}

// More columns side by side cannot be read; nodes with content need more room.
const MAX_COLUMNS = { moves: 16, bars: 8, instances: 8 };
const maxColumns = () => (state.focus ? 8 : MAX_COLUMNS[state.view]) / shownRuns().length; // of a run
function strideOf() {
  const neededStrides = shownRuns().map(rangeOf).map(([from, to]) => Math.ceil((to - from + 1) / maxColumns()));
  return Math.max(state.stride, ...neededStrides);
}

// Of two runs, those of the second come after those of the first.
function flowColumns() {
  if (state.runs === "ends") return ranges().map(([, last]) => last);
  return shownRuns().flatMap(run => columnsOf(...rangeOf(run), strideOf()));
}

// Whether a column and the next one belong to different runs, so that links between them compare two models.
const isBoundary = (columns, column) => column + 1 < columns.length && runOf(columns[column]) !== runOf(columns[column + 1]);

const rowHeight = () => state.focus ? 18 : Math.max(22, Math.min(FLOW.row, 620 / derived.rows.names.length));

// The row of Other if it is higher than others, else -1.
const tallRow = () => K > INITIAL_CLASSES && derived.rows.names.length > derived.rows.classes.length ? derived.rows.classes.length : -1;
const heightOfRow = (box, row) => row === box.tallRow ? OTHER_ROWS * box.rowHeight : box.rowHeight;

// Where a flow stands: its columns are `step` apart, its nodes `nodeWidth` wide and `rowHeight` high.
function makeBox(x, y, width, columns) {
  const longestName = Math.max(...derived.rows.names.map(name => name.length));
  const left = 58 + Math.min(7 * longestName, width * 0.16);
  const room = width - left - FLOW.right;
  const nodeWidth = state.view === "moves" ? 9 : Math.min(room / columns.length * 0.55, 150);
  const boundary = columns.findIndex((_, column) => isBoundary(columns, column)); // the last column of the first run, or -1
  const gap = boundary >= 0 ? Math.min(FLOW.gap, room * 0.1) : 0;
  const step = (room - nodeWidth - gap) / Math.max(1, columns.length - 1);
  return { x, y, left, width, columns, rowHeight: rowHeight(), tallRow: tallRow(), nodeWidth, step, boundary, gap };
}

// One flow of all images, or one per true class.
function makePanels(rows) {
  if (!state.focus) return [{ title: "", instances: derived.inFlow }];
  return rows.classes.slice(0, MAX_PANELS).map(c => (
    { title: nameOfClass(c), instances: derived.inFlow.filter(i => labels[i] === c) }));
}

function drawPanel(context, box, rows) {
  const flow = flows(box.panel.instances, box.columns, rows, { ...state, stride: strideOf() });
  for (const link of flow.links) link.outcome = outcomeOfLink(link, rows);
  const largestOf = isCounted => Math.max(1, ...flow.nodes.flatMap(nodes => nodes.filter((_, row) => isCounted(row)).map(node => node.n)));
  box.largestNode = largestOf(row => row !== box.tallRow);
  box.largestTall = largestOf(row => row === box.tallRow);
  drawFrame(context, box, rows);
  drawLinks(context, box, rows, flow);
  drawNodes(context, box, rows, flow.nodes);
  if (isPair) drawRuns(context, box, rows);
  return flow.hidden;
}

// Undefined for what stays incorrect within Other: whether the class changes there is not known.
function outcomeOfLink({ source, target, label, wasCorrect, isCorrect }, rows) {
  if (label === UNKNOWN) return source === target && source >= rows.classes.length ? undefined : UNLABELLED;
  if (wasCorrect) return isCorrect ? KEPT : BROKEN;
  if (isCorrect) return FIXED;
  if (source !== target) return REROUTED;
  return source >= rows.classes.length ? undefined : STUCK;
}

function columnX({ x, left, step, boundary, gap }, column) {
  return x + left + column * step + (boundary >= 0 && column > boundary ? gap : 0);
}
const flowTop = () => FLOW.top + (isPair ? FLOW.runs : 0);
function rowY(box, row) {
  const isBelowTall = box.tallRow >= 0 && row > box.tallRow;
  return box.y + flowTop() + (row + (isBelowTall ? OTHER_ROWS - 1 : 0)) * box.rowHeight;
}
const colourOfRow = (rows, row) => colourOfClass(rows.classes[row] ?? K);

function drawFrame(context, box, rows) {
  rows.names.forEach((name, row) => {
    const middle = rowY(box, row) + heightOfRow(box, row) / 2;
    context.fillStyle = colourOfRow(rows, row);
    context.fillRect(box.x + 2, middle - 5, 4, 10);
    write(context, name, box.x + 10, middle, { maxWidth: box.left - 56 });
    context.fillStyle = themeColour("--line");
    context.fillRect(box.x + box.left - 6, rowY(box, row + 1) - 1, box.width - box.left, 0.6);
  });
  const { title, instances } = box.panel;
  const labelEvery = Math.ceil(46 / box.step);
  const top = box.y + flowTop() - FLOW.top;
  box.columns.forEach((e, column) => {
    const place = column - (column > box.boundary ? box.boundary + 1 : 0); // among those of its run
    if (place % labelEvery) return;
    const prefix = place || title ? "" : "epoch ";
    const x = columnX(box, column) + box.nodeWidth / 2;
    writeFaint(context, `${prefix}${head.epochs[e]}`, x, top + 12, { align: "center" });
  });
  if (title) write(context, `true ${title}`, box.x + 4, top + 12, { maxWidth: box.left - 14 });
  if (instances.length) return;
  writeFaint(context, "no image matches; change classes, filters or epochs", box.x + box.left, rowY(box, 0) + 12);
}

const boundaryX = box => (columnX(box, box.boundary) + box.nodeWidth + columnX(box, box.boundary + 1)) / 2;

// The names of the runs over their columns, and a dashed line between them.
function drawRuns(context, box, rows) {
  const columnsOfRun = run => box.columns.flatMap((e, column) => runOf(e) === run ? [column] : []);
  for (const run of shownRuns()) {
    const columns = columnsOfRun(run);
    const [left, right] = [columnX(box, columns[0]), columnX(box, columns.at(-1)) + box.nodeWidth];
    const bounds = [left, box.x + box.width - 4];
    if (box.boundary >= 0) bounds[run === 0 ? 1 : 0] = boundaryX(box) + (run === 0 ? -6 : 6);
    writeRunName(context, RUNS[run].name, left, bounds, box.y + 9);
    context.fillStyle = themeColour("--ink");
    context.fillRect(left, box.y + 18, right - left, 1.4);
  }
  if (box.boundary < 0) return;
  const x = boundaryX(box);
  context.beginPath();
  context.moveTo(x, box.y + 2);
  context.lineTo(x, rowY(box, rows.names.length));
  context.strokeStyle = themeColour("--ink");
  context.lineWidth = 1.4;
  context.setLineDash([5, 4]);
  context.stroke();
  context.setLineDash([]);
}

// Links that are drawn one by one, those of the largest moves between pairs of classes in each column; and the rest.
function splitLinks(links) {
  const moves = links.filter(link => link.source !== link.target);
  const rowLimit = FLOW.maxRows + 1;
  const pairOf = link => (link.column * rowLimit + link.source) * rowLimit + link.target;
  const pairsByColumn = new Map(); // column: pair: images
  for (const link of moves) {
    if (!pairsByColumn.has(link.column)) pairsByColumn.set(link.column, new Map());
    const pairs = pairsByColumn.get(link.column);
    pairs.set(pairOf(link), (pairs.get(pairOf(link)) ?? 0) + link.n);
  }
  const largest = new Set();
  for (const pairs of pairsByColumn.values()) {
    const ranked = [...pairs].sort((a, b) => b[1] - a[1]);
    for (const [pair] of ranked.slice(0, state.top)) largest.add(pair);
  }
  return [moves.filter(link => largest.has(pairOf(link))), moves.filter(link => !largest.has(pairOf(link)))];
}

function drawLinks(context, box, rows, flow) {
  const [drawn, rest] = splitLinks(flow.links);
  if (state.stays) drawn.push(...flow.links.filter(link => link.source === link.target));
  const stubs = makeStubs(rest);
  const scale = linkScale(box, drawn, stubs);
  const filledTo = stackLinks(drawn, box, scale);
  for (const link of drawn.sort((a, b) => b.n - a.n)) drawLink(context, box, rows, link, link.n * scale);
  for (const stub of stubs) drawStub(context, box, rows, stub, stub.n * scale, filledTo);
  for (const link of drawn) writeCount(context, box, link, link.n * scale); // above all links
  countStubs(context, box, rows, drawn, rest);
}

// The two sides of nodes that a link joins.
const sourceSide = link => `out ${link.column} ${link.source}`;
const targetSide = link => `in ${link.column} ${link.target}`;

// Moves that are not drawn one by one leave their node, and enter the next, as one stub per outcome.
function makeStubs(rest) {
  const stubs = new Map();
  for (const link of rest) {
    for (const isLeaving of [true, false]) {
      const side = isLeaving ? sourceSide(link) : targetSide(link);
      const key = `${side} ${link.outcome}`;
      const row = isLeaving ? link.source : link.target;
      if (!stubs.has(key)) {
        stubs.set(key, { side, row, isLeaving, column: link.column, outcome: link.outcome, n: 0, links: [] });
      }
      stubs.get(key).n += link.n;
      stubs.get(key).links.push(link);
    }
  }
  return [...stubs.values()].sort((a, b) => a.outcome - b.outcome);
}

// Units per image: the fullest side of a node fills its row.
function linkScale(box, drawn, stubs) {
  const sides = new Map(); // images per unit of a side's height
  const count = (side, row, n) => sides.set(side, (sides.get(side) ?? 0) + n / (heightOfRow(box, row) - 8));
  for (const link of drawn) {
    count(sourceSide(link), link.source, link.n);
    count(targetSide(link), link.target, link.n);
  }
  for (const stub of stubs) count(stub.side, stub.row, stub.n);
  return 1 / Math.max(1 / (box.rowHeight - 8), ...sides.values());
}

// InstanceFlow's order: links leave a node sorted by target and label, and enter it sorted by source and label. Returns how
// far the sides of nodes are filled.
function stackLinks(drawn, box, scale) {
  const filledTo = new Map(); // by side
  const stack = (side, row, height) => {
    const y = filledTo.get(side) ?? rowY(box, row) + 4;
    filledTo.set(side, y + height);
    return y;
  };
  const leaving = [...drawn].sort((a, b) => a.target - b.target || a.label - b.label);
  for (const link of leaving) link.sourceY = stack(sourceSide(link), link.source, link.n * scale);
  const entering = [...drawn].sort((a, b) => a.source - b.source || a.label - b.label);
  for (const link of entering) link.targetY = stack(targetSide(link), link.target, link.n * scale);
  return filledTo;
}

function drawLink(context, box, rows, link, thickness) {
  const left = columnX(box, link.column) + box.nodeWidth;
  const right = columnX(box, link.column + 1);
  const middle = (left + right) / 2;
  const { sourceY, targetY } = link;
  const path = new TracedPath();
  path.moveTo(left, sourceY);
  path.bezierCurveTo(middle, sourceY, middle, targetY, right, targetY);
  path.lineTo(right, targetY + thickness);
  path.bezierCurveTo(middle, targetY + thickness, middle, sourceY + thickness, left, sourceY + thickness);
  path.closePath();
  const colour = state.colour === "outcome" ? colourOfOutcome(link.outcome) : colourOfClass(link.label);
  context.globalAlpha = thickness > 2 ? 0.72 : 1;
  context.fillStyle = thickness > 2.5 ? patternOf(context, link.outcome, colour) : colour; // no room for a pattern
  context.fill(path);
  context.globalAlpha = 1;
  const text = () => describeLink(link, rows.names, box.columns);
  const members = () => membersOfLink(link, box, rows);
  addTarget({ path, text, members, column: link.column, at: [middle, (sourceY + targetY + thickness) / 2] });
}

// How many images a link has, where it leaves its node.
function writeCount(context, box, link, thickness) {
  const left = columnX(box, link.column) + box.nodeWidth;
  if (thickness <= 9 || columnX(box, link.column + 1) - left <= 46) return;
  const y = link.sourceY + thickness / 2 + (link.targetY - link.sourceY) * 0.03;
  write(context, `${SIGNS[link.outcome] ?? ""}${link.n}`, left + 4, y, { halo: true });
}

// As high as its moves, like a link; its point shows where it continues.
function drawStub(context, box, rows, stub, thickness, filledTo) {
  const y = filledTo.get(stub.side) ?? rowY(box, stub.row) + 4;
  filledTo.set(stub.side, y + thickness);
  const length = Math.min(26, box.step * 0.14);
  const node = columnX(box, stub.isLeaving ? stub.column : stub.column + 1);
  const [flat, point] = stub.isLeaving ? [node + box.nodeWidth, node + box.nodeWidth + length] : [node, node - length];
  const neck = flat + (point - flat) * 0.6;
  const path = new TracedPath();
  path.moveTo(flat, y);
  path.lineTo(neck, y);
  path.lineTo(point, y + thickness / 2);
  path.lineTo(neck, y + thickness);
  path.lineTo(flat, y + thickness);
  path.closePath();
  const colour = state.colour === "outcome" ? colourOfOutcome(stub.outcome) : themeColour("--rerouted");
  context.globalAlpha = 0.55;
  context.fillStyle = thickness > 2.5 ? patternOf(context, stub.outcome, colour) : colour;
  context.fill(path);
  context.globalAlpha = 1;
  const text = () => describeStub(stub, rows.names, box.columns);
  const members = () => stub.links.flatMap(link => membersOfLink(link, box, rows));
  addTarget({ path, text, members, column: stub.column, at: [(flat + point) / 2, y + thickness / 2] });
}

function countStubs(context, box, rows, drawn, rest) {
  const y = rowY(box, rows.names.length) + 10;
  const movesIn = (links, column) => links.reduce((sum, link) => sum + (link.column === column ? link.n : 0), 0);
  for (let column = 0; column + 1 < box.columns.length; column++) {
    const inStubs = movesIn(rest, column);
    if (!inStubs) continue;
    const moves = inStubs + movesIn(drawn.filter(link => link.source !== link.target), column);
    const left = columnX(box, column) + box.nodeWidth;
    const right = columnX(box, column + 1);
    const count = formatInteger(inStubs);
    const texts = [`${count} of ${formatInteger(moves)} as stubs`, `${count} of ${formatInteger(moves)}`, count];
    const text = texts.find(words => context.measureText(words).width <= right - left) ?? count;
    writeFaint(context, text, (left + right) / 2, y, { align: "center" });
  }
}

function membersOfLink(link, box, rows) {
  const from = box.columns[link.column];
  const to = box.columns[link.column + 1];
  return box.panel.instances.filter(i => {
    const before = predictedAt(i, from);
    const after = predictedAt(i, to);
    if (labels[i] !== link.label || before === MISSING || after === MISSING) return false;
    if (rows.rowOf[before] !== link.source || rows.rowOf[after] !== link.target) return false;
    if ((before === link.label) !== link.wasCorrect || (after === link.label) !== link.isCorrect) return false;
    return !(state.flicker && before !== after && isFlicker(i, from, to, strideOf()));
  });
}

function drawNodes(context, box, rows, nodes) {
  const glyphGroups = state.view === "instances" ? groupGlyphs(box, rows) : null;
  const kindBars = state.view === "bars" ? countKinds(box, rows) : null;
  nodes.forEach((nodesOfColumn, column) => nodesOfColumn.forEach((node, row) => {
    const x = columnX(box, column);
    const y = rowY(box, row) + 3;
    const width = box.nodeWidth;
    const height = heightOfRow(box, row) - 6;
    const colour = colourOfRow(rows, row);
    const path = new TracedPath();
    path.rect(x, y, width, height);
    if (state.view === "moves") {
      drawBar(context, node, x, y, box, { height, colour, largest: row === box.tallRow ? box.largestTall : box.largestNode });
    } else {
      context.fillStyle = themeColour("--paper");
      context.fill(path);
      context.strokeStyle = colour;
      context.lineWidth = 1.2;
      context.stroke(path);
    }
    if (kindBars) drawKinds(context, kindBars, kindBars.counts[column][row], x, y, width, height);
    if (glyphGroups) {
      const place = { column, row, panel: box.panel, x, y, width, height };
      glyphCells.push(layOutGlyphs(glyphGroups[column][row], place));
    }
    const members = () => membersOfNode(box, rows, column, row);
    const text = () => describeNode(node, rows.names[row], box.columns[column], members());
    addTarget({ path, text, members, column, at: [x + width / 2, y + height / 2], isNode: true });
  }));
  if (glyphGroups) drawGlyphs(context, glyphCells.filter(cell => cell.panel === box.panel), box.columns);
}

function membersOfNode(box, rows, column, row) {
  const e = box.columns[column];
  return box.panel.instances.filter(i => predictedAt(i, e) !== MISSING && rows.rowOf[predictedAt(i, e)] === row);
}

// How many images a node has: the correct ones solid, the incorrect ones outlined.
function drawBar(context, node, x, y, box, { height, colour, largest }) {
  if (!node.n) return;
  const barHeight = node.n / largest * height;
  const solidHeight = node.correct / largest * height;
  context.fillStyle = themeColour("--paper");
  context.fillRect(x, y, box.nodeWidth, height);
  context.fillStyle = colour;
  context.fillRect(x, y, box.nodeWidth, solidHeight);
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.strokeRect(x + 0.5, y + 0.5, box.nodeWidth - 1, Math.max(0, barHeight - 1));
  if (box.rowHeight < 18 || box.step < 45) return;
  writeFaint(context, String(node.n), x - 3, y + height / 2, { align: "right", halo: true });
}

// InstanceFlow's overview: per node a bar for every true class, stacked in, stable, inout, out.
// Counts [column][row] of images by true class and kind, and the most in one bar.
function countKinds(box, rows) {
  const size = rows.classes.length;
  const counts = box.columns.map(() => rows.names.map(() => new Int32Array(size * KINDS.length)));
  for (const i of box.panel.instances) {
    const bar = labels[i] === UNKNOWN ? -1 : rows.rowOf[labels[i]];
    if (bar < 0 || bar >= size) continue;
    box.columns.forEach((e, column) => {
      if (predictedAt(i, e) === MISSING) return;
      counts[column][rows.rowOf[predictedAt(i, e)]][bar * KINDS.length + kindOf(i, e)]++;
    });
  }
  let longestBar = 1;
  for (const nodeCounts of counts.flat()) {
    for (let bar = 0; bar < size; bar++) {
      const kindCounts = nodeCounts.subarray(bar * KINDS.length, (bar + 1) * KINDS.length);
      longestBar = Math.max(longestBar, kindCounts.reduce((sum, n) => sum + n, 0));
    }
  }
  return { counts, longestBar, classes: rows.classes };
}

function drawKinds(context, { longestBar, classes }, nodeCounts, x, y, width, height) {
  const barHeight = (height - 2) / classes.length;
  classes.forEach((label, bar) => {
    let left = x + 1;
    for (let kind = 0; kind < KINDS.length; kind++) {
      const length = nodeCounts[bar * KINDS.length + kind] / longestBar * (width - 2);
      context.globalAlpha = [0.6, 1, 0.6, 0.35][kind];
      context.fillStyle = colourOfClass(label);
      context.fillRect(left, y + 1 + bar * barHeight, length, Math.max(0.7, barHeight - 0.7));
      left += length;
    }
  });
  context.globalAlpha = 1;
}

// The paths of selected images: green and solid where they arrive correct, red and dashed where incorrect.
function drawTraces(hovered = []) {
  const { context } = prepareCanvas(tracesCanvas, parseFloat(flowCanvas.style.height) / unit());
  if (state.focus) return;
  const box = makeBox(0, 0, widthOf(flowCanvas), flowColumns());
  const traced = [...new Set([...hovered, ...state.selected])].slice(0, MAX_TRACED);
  for (const i of traced) drawTrace(context, i, box, derived.rows, hovered.includes(i));
}

function drawTrace(context, i, box, rows, isHovered) {
  let last = null;
  box.columns.forEach((e, column) => {
    if (predictedAt(i, e) === MISSING) return;
    const [x, y] = tracePoint(i, e, column, box, rows);
    if (last) {
      const isWrong = labels[i] !== UNKNOWN && !isCorrect(i, e);
      const arrival = isWrong ? "--incorrect" : "--correct";
      const middle = (last[0] + x) / 2;
      context.strokeStyle = themeColour(isHovered ? "--gold" : labels[i] === UNKNOWN ? "--faint" : arrival);
      context.lineWidth = isHovered ? 3 : 1.8;
      context.setLineDash(isWrong ? [5, 4] : []);
      context.beginPath();
      context.moveTo(...last);
      context.bezierCurveTo(middle, last[1], middle, y, x, y);
      context.stroke();
    }
    context.setLineDash([]);
    context.beginPath();
    context.arc(x, y, 3.2, 0, 7);
    context.fillStyle = colourOfClass(labels[i]);
    context.fill();
    last = [x, y];
  });
}

// On the instance's glyph; without glyphs, at a height within the node that only the instance's number decides, so that
// images of a node keep apart.
function tracePoint(i, e, column, box, rows) {
  const row = rows.rowOf[predictedAt(i, e)];
  const spread = (i * 0.618034) % 1;
  return glyphCentre(i, column, row, kindOf(i, e))
    ?? [columnX(box, column) + box.nodeWidth / 2, rowY(box, row) + 6 + spread * (heightOfRow(box, row) - 12)];
}

// The epochs of the flow, in words.
function describeColumns(columns) {
  if (state.runs === "ends") return stepName(...columns);
  return shownRuns().map(rangeName).join(", then ");
}

const NODE_LEGENDS = {
  moves: "node: images there, solid correct, outlined incorrect",
  bars: "bar: true class; in, stable (full colour), in and out, out",
  instances: "glyph: ▷ in, □ stable, ◇ in and out, ◁ out; filled correct, hollow incorrect",
};

function describeFlow(columns, hidden) {
  const stride = strideOf() > 1 ? `, 1 in ${strideOf()}: moves that are undone between two columns do not show` : "";
  const classCount = derived.rows.classes.length;
  const panels = state.focus && classCount > MAX_PANELS ? `; the first ${MAX_PANELS} of ${classCount} classes` : "";
  const rows = state.classes.length > classCount
    ? `; of ${formatInteger(state.classes.length)} classes the ${classCount} that are confused most have a row` : "";
  const images = `${formatInteger(derived.inFlow.length)} images${describeSample()}`;
  const range = `${describeColumns(columns)}${stride}; ${images}${rows}${panels}`;
  element("flow-range").textContent = range;
  flowCanvas.setAttribute("aria-label", range);
  element("top-value").textContent = `${state.top} moves per column`;
  element("flicker-count").textContent = state.flicker ? `${hidden} moves hidden` : "";

  const outcomes = [...MOVES];
  if (state.stays) outcomes.push(KEPT, STUCK);
  if (derived.members.some(i => labels[i] === UNKNOWN)) outcomes.push(UNLABELLED);
  const links = state.colour === "outcome"
    ? outcomes.map(outcome => [outcomeSwatch(outcome), `${SIGNS[outcome]} ${OUTCOMES[outcome]}`])
    : derived.rows.classes.slice(0, 20).map(c => [colourOfClass(c), nameOfClass(c)]);
  const traces = state.focus || !state.selected.length ? [] : [
    [themeColour("--correct"), `paths of selected images (at most ${MAX_TRACED}), correct`],
    [themeColour("--incorrect"), "dashed: incorrect"],
  ];
  const notes = ["stubs with a point: smaller moves, to scale", NODE_LEGENDS[state.view]];
  if (tallRow() >= 0 && state.view === "moves") notes.push("Other: nodes to a scale of their own");
  const boundary = columns.findIndex((_, column) => isBoundary(columns, column));
  if (boundary >= 0) {
    notes.unshift(`dashed line: links across it compare two models, ${stepName(columns[boundary], columns[boundary + 1])}, not time`);
  }
  fillLegend(element("flow-legend"), ...links, ...notes.map(note => ["", note]), ...traces);
}

function targetUnder(event) {
  const [x, y] = placeOf(event);
  const glyph = glyphUnder(x, y);
  if (glyph) {
    const [i, column] = glyph;
    return { text: () => describeInstance(i, flowColumns()[column]), members: () => [i], instance: i };
  }
  const context = flowCanvas.getContext("2d");
  const ratio = pixelsPerUnit();
  return hitTargets.findLast(({ path }) => context.isPointInPath(path, x * ratio, y * ratio));
}

let hoveredTarget = null;
let hoveredMembers = [];
flowCanvas.addEventListener("mousemove", event => {
  const target = targetUnder(event);
  if (target?.instance !== hoveredTarget?.instance || target?.path !== hoveredTarget?.path) {
    hoveredTarget = target;
    hoveredMembers = target?.members() ?? [];
    drawTraces(hoveredMembers.slice(0, MAX_HOVERED));
  }
  showTip(event, target?.text() ?? "", hoveredMembers);
});
flowCanvas.addEventListener("mouseleave", () => {
  hoveredTarget = null;
  showTip(null, "");
  drawTraces();
});
flowCanvas.addEventListener("click", event => {
  const members = targetUnder(event)?.members() ?? [];
  select(members, event.shiftKey || event.ctrlKey || event.metaKey, { first: true });
});
flowCanvas.addEventListener("dblclick", event => {
  const target = targetUnder(event);
  if (target?.instance !== undefined) openDetail(target.instance);
});

// Left and right move between the columns of nodes and links, up and down within one, Enter selects.
let flowCursor = null; // {column, row} of targetColumns
flowCanvas.addEventListener("keydown", event => {
  const step = ARROWS[event.key];
  if (step) moveFlowCursor(...step);
  else if (event.key === "Enter" || event.key === " ") select(targetAtCursor()?.members() ?? [], event.shiftKey, { first: true });
  else if (event.key === "Escape" && openInstance === null) select([], false);
  else return;
  event.preventDefault();
  showFlowCursor();
  if (!step) showTip(null, ""); // what it said is now selected, and the images stand below
});
flowCanvas.addEventListener("focus", () => showFlowCursor());
flowCanvas.addEventListener("blur", () => {
  showTip(null, "");
  drawTraces();
});

// Nodes and links in turn, from left to right: each column's targets from top to bottom.
function targetColumns() {
  const columns = [];
  for (const target of hitTargets) {
    const index = 2 * target.column + (target.isNode ? 0 : 1);
    columns[index] ??= [];
    columns[index].push(target);
  }
  return columns.filter(Boolean).map(targets => targets.sort((a, b) => a.at[1] - b.at[1] || a.at[0] - b.at[0]));
}

function moveFlowCursor(down, right) {
  const columns = targetColumns();
  if (!columns.length) return;
  const column = flowCursor ? clampIndex(flowCursor.column + right, columns.length) : 0;
  flowCursor = { column, row: flowCursor ? clampIndex(flowCursor.row + down, columns[column].length) : 0 };
}

const targetAtCursor = () => flowCursor && targetColumns()[flowCursor.column]?.[flowCursor.row];

function showFlowCursor() {
  const target = targetAtCursor();
  if (!target || document.activeElement !== flowCanvas) return;
  const members = target.members();
  drawTraces(members.slice(0, MAX_HOVERED));
  const context = tracesCanvas.getContext("2d");
  context.strokeStyle = themeColour("--gold");
  context.lineWidth = 2.5;
  context.setLineDash([]);
  context.stroke(target.path);
  const place = flowCanvas.getBoundingClientRect();
  const [x, y] = target.at;
  showTip({ clientX: place.x + x * unit(), clientY: place.y + y * unit() }, target.text(), members);
}

// `first`: the table lists them before all others.
function select(instances, add, { first = false } = {}) {
  const selected = add ? [...state.selected, ...instances] : instances;
  if (first) table.scrollTop = 0;
  change({ selected, ...(first && { first: selected }), selectedOnly: state.selectedOnly && selected.length > 0 });
}
