// The flow: columns of epochs, rows of predicted classes, links of images that go from one to another.

const flowCanvas = document.getElementById("flow"), tracesCanvas = document.getElementById("traces");
const FLOW = { right: 18, top: 26, rest: 46, row: 58 };
const PANELS = 12, TRACED = 200; // flows and ways drawn at the most
const ACROSS = 3; // flows beside each other, where there is one for each true class
let shapes = []; // what the pointer can meet: {path, text, members, instance}

function drawFlow() {
  const columns = flowColumns(), rank = derived.rank;
  const panels = panelsOf(rank), across = Math.min(panels.length, ACROSS);
  const tall = FLOW.top + rank.names.length * rowHeight() + FLOW.rest;
  const { context, width } = prepare(flowCanvas, tall * Math.ceil(panels.length / across));
  shapes = [];
  cells = [];
  let hidden = 0;
  panels.forEach((panel, p) => {
    const box = boxOf((p % across) * width / across, Math.floor(p / across) * tall, width / across, columns);
    hidden += drawPanel(context, { ...box, panel }, rank);
  });
  describeFlow(columns, hidden);
  drawTraces();
}

// More columns beside each other cannot be read; nodes with content need more room.
const MOST_COLUMNS = { moves: 16, bars: 8, instances: 8 };
const mostColumns = () => state.focus ? 6 : MOST_COLUMNS[state.view];
const strideOf = () => Math.max(state.stride, Math.ceil((state.to - state.from + 1) / mostColumns()));
const flowColumns = () => columnsOf(state.from, state.to, strideOf());

const rowHeight = () => state.focus ? 18 : Math.max(22, Math.min(FLOW.row, 620 / derived.rank.names.length));

// Where a flow stands: its columns are `step` apart, its nodes `wide` and `row` tall.
function boxOf(x, y, width, columns) {
  const letters = Math.max(...derived.rank.names.map(name => name.length));
  const left = 58 + Math.min(7 * letters, width * 0.16), room = width - left - FLOW.right;
  const wide = state.view === "moves" ? 9 : Math.min(room / columns.length * 0.55, 150);
  return { x, y, left, width, columns, row: rowHeight(), wide, step: (room - wide) / Math.max(1, columns.length - 1) };
}

// One flow of all images, or one for each true class, at most twelve.
function panelsOf(rank) {
  if (!state.focus) return [{ title: "", rows: derived.inFlow }];
  return rank.order.slice(0, PANELS).map(c => ({ title: classOf(c), rows: derived.inFlow.filter(i => label[i] === c) }));
}

function drawPanel(context, box, rank) {
  const found = flows(box.panel.rows, box.columns, rank, { ...state, stride: strideOf() });
  for (const link of found.links) link.outcome = outcomeOfLink(link, rank);
  box.most = Math.max(1, ...found.nodes.flat().map(node => node.n));
  drawFrame(context, box, rank);
  drawLinks(context, box, rank, found);
  drawNodes(context, box, rank, found.nodes);
  return found.hidden;
}

// What happens between classes that are not shown is not told apart.
function outcomeOfLink(link, rank) {
  if (link.source === link.target && link.source >= rank.order.length) return undefined;
  const own = link.truth === UNKNOWN ? -1 : rank.place[link.truth];
  return outcomeOf(link.truth === UNKNOWN ? UNKNOWN : own, link.source, link.target);
}

const columnX = (box, c) => box.x + box.left + c * box.step;
const rowY = (box, r) => box.y + FLOW.top + r * box.row;

function drawFrame(context, box, rank) {
  rank.names.forEach((name, r) => {
    const colour = r < rank.order.length ? colourOfClass(rank.order[r]) : css("--faint");
    context.fillStyle = colour;
    context.fillRect(box.x + 2, rowY(box, r) + box.row / 2 - 5, 4, 10);
    write(context, name, box.x + 10, rowY(box, r) + box.row / 2, { most: box.left - 56 });
    context.fillStyle = css("--line");
    context.fillRect(box.x + box.left - 6, rowY(box, r + 1) - 1, box.width - box.left, 0.6);
  });
  const every = Math.ceil(46 / box.step);
  box.columns.forEach((e, c) => {
    if (c % every) return;
    const title = `${c || box.panel.title ? "" : "epoch "}${head.epochs[e]}`;
    writeFaint(context, title, columnX(box, c) + box.wide / 2, box.y + 12, { align: "center" });
  });
  if (box.panel.title) write(context, `true ${box.panel.title}`, box.x + 4, box.y + 12, { most: box.left - 14 });
  if (box.panel.rows.length) return;
  writeFaint(context, "no image fits; change classes, filters or epochs", box.x + box.left, rowY(box, 0) + 12);
}

// Which links are drawn one by one: the largest moves between pairs of classes; all others become the rest.
function split(links) {
  const pairs = new Map();
  const moves = links.filter(link => link.source !== link.target);
  for (const link of moves) {
    const key = `${link.column} ${link.source} ${link.target}`;
    pairs.set(key, (pairs.get(key) ?? 0) + link.n);
  }
  const ranked = new Map();
  for (const [key, n] of pairs) {
    const column = key.split(" ")[0];
    ranked.set(column, [...(ranked.get(column) ?? []), [key, n]]);
  }
  const kept = new Set();
  for (const list of ranked.values()) for (const [key] of list.sort((a, b) => b[1] - a[1]).slice(0, state.top)) kept.add(key);
  const isKept = link => kept.has(`${link.column} ${link.source} ${link.target}`);
  return [moves.filter(isKept), moves.filter(link => !isKept(link))];
}

function drawLinks(context, box, rank, found) {
  const [kept, rest] = split(found.links);
  const drawn = state.stays ? [...kept, ...found.links.filter(link => link.source === link.target)] : kept;
  const scale = linkScale(box, drawn);
  stack(drawn, box, scale);
  for (const link of drawn.sort((a, b) => b.n - a.n)) drawLink(context, box, rank, link, link.n * scale);
  drawRest(context, box, rank, rest, scale);
}

// The two sides of nodes a link joins.
const outOf = link => `o${link.column} ${link.source}`, into = link => `i${link.column} ${link.target}`;

// Pixels an image takes: the fullest side of a node fills its row.
function linkScale(box, drawn) {
  const sides = new Map();
  for (const link of drawn) {
    for (const key of [outOf(link), into(link)]) sides.set(key, (sides.get(key) ?? 0) + link.n);
  }
  return (box.row - 8) / Math.max(1, ...sides.values());
}

// InstanceFlow's order: leaving a node by target and truth, entering it by source and truth.
function stack(drawn, box, scale) {
  const fill = new Map();
  const put = (key, row, height) => {
    const y = fill.get(key) ?? rowY(box, row) + 4;
    fill.set(key, y + height);
    return y;
  };
  const leaving = [...drawn].sort((a, b) => a.target - b.target || a.truth - b.truth);
  for (const link of leaving) link.y0 = put(outOf(link), link.source, link.n * scale);
  const entering = [...drawn].sort((a, b) => a.source - b.source || a.truth - b.truth);
  for (const link of entering) link.y1 = put(into(link), link.target, link.n * scale);
}

function drawLink(context, box, rank, link, thick) {
  const x0 = columnX(box, link.column) + box.wide, x1 = columnX(box, link.column + 1), middle = (x0 + x1) / 2;
  const path = new Path2D();
  path.moveTo(x0, link.y0);
  path.bezierCurveTo(middle, link.y0, middle, link.y1, x1, link.y1);
  path.lineTo(x1, link.y1 + thick);
  path.bezierCurveTo(middle, link.y1 + thick, middle, link.y0 + thick, x0, link.y0 + thick);
  path.closePath();
  const colour = state.colour === "outcome" ? colourOfOutcome(link.outcome) : colourOfClass(link.truth);
  context.globalAlpha = thick > 2 ? 0.72 : 1;
  context.fillStyle = thick > 2.5 ? patternOf(context, link.outcome, colour) : colour; // no room for a pattern
  context.fill(path);
  context.globalAlpha = 1;
  if (thick > 9 && x1 - x0 > 46) {
    const text = `${SIGNS[link.outcome] ?? ""}${link.n}`;
    write(context, text, x0 + 4, link.y0 + thick / 2 + (link.y1 - link.y0) * 0.03, { halo: true });
  }
  shapes.push({ path, text: () => sentence(link, rank.names, box.columns), members: () => membersOf(link, box, rank) });
}

function drawRest(context, box, rank, rest, ofLinks) {
  const sums = box.columns.map((_, c) => rest.reduce((sum, link) => sum + (link.column === c ? link.n : 0), 0));
  const scale = Math.min(ofLinks, (FLOW.rest - 26) / Math.max(1, ...sums));
  const y = rowY(box, rank.names.length) + 8;
  for (let c = 0; c + 1 < box.columns.length; c++) {
    const links = rest.filter(link => link.column === c);
    const n = links.reduce((sum, link) => sum + link.n, 0);
    if (!n) continue;
    const x0 = columnX(box, c) + box.wide, x1 = columnX(box, c + 1), thick = n * scale;
    const path = new Path2D();
    path.rect(x0 + 2, y, x1 - x0 - 4, Math.max(thick, 0.5));
    context.fillStyle = css("--line");
    context.fill(path);
    writeFaint(context, `rest ${n}`, (x0 + x1) / 2, y + thick + 9, { align: "center", most: x1 - x0 });
    const pairs = new Set(links.map(link => `${link.source} ${link.target}`)).size;
    const cut = scale < ofLinks ? "\n(the bands of the rest have a scale of their own)" : "";
    const text = () => `${n} more moves in ${links.length} links between ${pairs} pairs of classes${cut}`;
    shapes.push({ path, text, members: () => links.flatMap(link => membersOf(link, box, rank)) });
  }
}

function membersOf(link, box, rank) {
  const e = box.columns[link.column], f = box.columns[link.column + 1];
  return box.panel.rows.filter(i => label[i] === link.truth && at(i, e) !== MISSING && at(i, f) !== MISSING
    && rank.place[at(i, e)] === link.source && rank.place[at(i, f)] === link.target
    && !(state.flicker && at(i, e) !== at(i, f) && isFlicker(i, e, f, strideOf())));
}

function drawNodes(context, box, rank, nodes) {
  const content = state.view === "instances" ? glyphs(box, rank) : state.view === "bars" ? kindBars(box, rank) : null;
  nodes.forEach((column, c) => column.forEach((node, r) => {
    const x = columnX(box, c), y = rowY(box, r) + 3, tall = box.row - 6;
    const colour = r < rank.order.length ? colourOfClass(rank.order[r]) : css("--faint");
    const path = new Path2D();
    path.rect(x, y, box.wide, tall);
    if (state.view === "moves") drawBar(context, node, x, y, box, tall, colour);
    else {
      context.fillStyle = css("--paper"); context.fill(path);
      context.strokeStyle = colour; context.lineWidth = 1.2; context.stroke(path);
      if (state.view === "bars") drawKinds(context, content, c, r, x, y, box.wide, tall);
      else cells.push(cellOf(content[c][r], { column: c, row: r, panel: box.panel, x, y, wide: box.wide, tall }));
    }
    const members = () => inNode(box, rank, c, r);
    shapes.unshift({ path, text: () => aboutNode(node, rank.names[r], box.columns[c], members()), members });
  }));
  if (content && state.view === "instances") drawGlyphs(context, cells.filter(cell => cell.panel === box.panel), box.columns);
}

function inNode(box, rank, c, r) {
  const e = box.columns[c];
  return box.panel.rows.filter(i => at(i, e) !== MISSING && rank.place[at(i, e)] === r);
}

// Who is there: right ones solid, wrong ones outlined.
function drawBar(context, node, x, y, box, tall, colour) {
  if (!node.n) return;
  const full = node.n / box.most * tall, solid = node.right / box.most * tall;
  context.fillStyle = css("--paper");
  context.fillRect(x, y, box.wide, tall);
  context.fillStyle = colour;
  context.fillRect(x, y, box.wide, solid);
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.strokeRect(x + 0.5, y + 0.5, box.wide - 1, Math.max(0, full - 1));
  if (box.row < 18 || box.step < 45) return;
  writeFaint(context, String(node.n), x - 3, y + tall / 2, { align: "right", halo: true });
}

// InstanceFlow's overview: per node a bar for every true class, stacked in, stable, inout, out.
function kindBars(box, rank) {
  const size = rank.order.length, found = box.columns.map(() => rank.names.map(() => new Int32Array(size * 4)));
  for (const i of box.panel.rows) {
    const truth = label[i] === UNKNOWN ? -1 : rank.place[label[i]];
    if (truth < 0 || truth >= size) continue;
    box.columns.forEach((e, c) => { if (at(i, e) !== MISSING) found[c][rank.place[at(i, e)]][truth * 4 + kindOf(i, e)]++; });
  }
  let most = 1;
  const inBar = (node, t) => node[4 * t] + node[4 * t + 1] + node[4 * t + 2] + node[4 * t + 3];
  for (const node of found.flat()) for (let t = 0; t < size; t++) most = Math.max(most, inBar(node, t));
  return { found, most, order: rank.order };
}

function drawKinds(context, { found, most, order }, c, r, x, y, wide, tall) {
  const each = (tall - 2) / order.length;
  order.forEach((truth, t) => {
    let left = x + 1;
    for (let kind = 0; kind < 4; kind++) {
      const long = found[c][r][t * 4 + kind] / most * (wide - 2);
      context.globalAlpha = [0.6, 1, 0.6, 0.35][kind];
      context.fillStyle = colourOfClass(truth);
      context.fillRect(left, y + 1 + t * each, long, Math.max(0.7, each - 0.7));
      left += long;
    }
  });
  context.globalAlpha = 1;
}

// The ways of selected images: green and whole where they arrive right, red and dashed where wrong.
function drawTraces(hovered = []) {
  const { context } = prepare(tracesCanvas, parseFloat(flowCanvas.style.height));
  const columns = flowColumns(), rank = derived.rank;
  if (state.focus) return;
  const box = boxOf(0, 0, flowCanvas.parentElement.clientWidth, columns);
  const traced = [...new Set([...hovered, ...state.selected])].slice(0, TRACED);
  for (const i of traced) traceOne(context, i, box, rank, hovered.includes(i));
}

function traceOne(context, i, box, rank, isHovered) {
  let last = null;
  box.columns.forEach((e, c) => {
    if (at(i, e) === MISSING) return;
    const known = whereIs(i, c, rank.place[at(i, e)], kindOf(i, e));
    // without glyphs, images of a node keep apart by a spread that only their number decides
    const y = known ? known[1] : rowY(box, rank.place[at(i, e)]) + 6 + ((i * 0.618034) % 1) * (box.row - 12);
    const x = known ? known[0] : columnX(box, c) + box.wide / 2;
    if (last) {
      const middle = (last[0] + x) / 2, kind = label[i] === UNKNOWN ? "--faint" : isRight(i, e) ? "--right" : "--wrong";
      context.strokeStyle = css(isHovered ? "--gold" : kind);
      context.lineWidth = isHovered ? 3 : 1.8;
      context.setLineDash(kind === "--wrong" ? [5, 4] : []);
      context.beginPath(); context.moveTo(...last); context.bezierCurveTo(middle, last[1], middle, y, x, y); context.stroke();
    }
    context.setLineDash([]);
    context.beginPath(); context.arc(x, y, 3.2, 0, 7);
    context.fillStyle = colourOfClass(label[i]); context.fill();
    last = [x, y];
  });
}

function describeFlow(columns, hidden) {
  const classes = derived.rank.order.length;
  const left = state.focus && classes > PANELS ? `; the first ${PANELS} of ${classes} classes` : "";
  const stride = strideOf() > 1 ? `, one in ${strideOf()}: what goes and comes back between is not seen` : "";
  document.getElementById("flow-range").textContent =
    `epochs ${head.epochs[columns[0]]} to ${head.epochs[columns.at(-1)]}${stride}; ${count(derived.inFlow)} images${left}`;
  document.getElementById("top-said").textContent = `${state.top} moves a column`;
  document.getElementById("flicker-said").textContent = state.flicker ? `${hidden} moves hidden` : "";
  flowCanvas.setAttribute("aria-label", document.getElementById("flow-range").textContent);
  const outcomes = [FIXED, BROKEN, REROUTED, ...(state.stays ? [KEPT, STUCK] : []), ...(derived.members.some(i => label[i] === UNKNOWN) ? [UNLABELLED] : [])];
  const links = state.colour === "outcome" ? outcomes.map(o => [swatch(o), `${SIGNS[o]} ${OUTCOMES[o]}`])
    : derived.rank.order.slice(0, 20).map(c => [colourOfClass(c), classOf(c)]);
  const nodes = { moves: "node: images there, solid right, outlined wrong", bars: "bar: true class; in, stable (full colour), in and out, out",
    instances: "glyph: ▷ in, □ stable, ◇ in and out, ◁ out; filled right, hollow wrong" }[state.view];
  const traces = state.focus ? []
    : [[css("--right"), `ways of selected images (${TRACED} at the most), right`], [css("--wrong"), "dashed: wrong"]];
  legendOf(document.getElementById("flow-legend"), ...links, ["", nodes], ...traces);
}

function shapeUnder(event) {
  const context = flowCanvas.getContext("2d"), ratio = devicePixelRatio || 1, x = event.offsetX, y = event.offsetY;
  const glyph = glyphUnder(x, y);
  if (glyph) {
    const [i, column] = glyph;
    return { text: () => aboutInstance(i, flowColumns()[column]), members: () => [i], instance: i };
  }
  return shapes.findLast(shape => context.isPointInPath(shape.path, x * ratio, y * ratio));
}

let under = null;
flowCanvas.addEventListener("mousemove", event => {
  const shape = shapeUnder(event);
  showTip(event, shape?.text() ?? "", shape?.instance ?? null);
  if (shape?.instance !== under?.instance || shape?.path !== under?.path) {
    under = shape;
    drawTraces(shape ? shape.members().slice(0, 60) : []);
  }
});
flowCanvas.addEventListener("mouseleave", () => { under = null; showTip(null, ""); drawTraces(); });
flowCanvas.addEventListener("click", event => {
  const shape = shapeUnder(event), found = shape ? shape.members() : [];
  select(found, event.shiftKey || event.ctrlKey || event.metaKey);
});
flowCanvas.addEventListener("dblclick", event => {
  const shape = shapeUnder(event);
  if (shape?.instance !== undefined) openDetail(shape.instance);
});
flowCanvas.addEventListener("keydown", event => {
  if (event.key === "Escape" && opened === null) select([], false);
});

function select(found, add) {
  const selected = add ? [...state.selected, ...found] : found;
  change({ selected, selectedOnly: state.selectedOnly && selected.length > 0 });
}
