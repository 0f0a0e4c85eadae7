// The table: one row an image, only those in sight are elements.

const ROW = 32, table = document.getElementById("table"), body = document.getElementById("body");
const number = (key, title, width, digits, help) => ({ key, title, width, help, digits, value: i => derived.metrics[key][i] });
const COLUMNS = [
  { key: "id", title: "ID", width: 92, value: i => i, text: nameOf, help: "image, row number in its split" },
  { key: "label", title: "Label", width: 92, value: i => label[i], text: i => classOf(label[i]), help: "true class" },
  ...(head.thumbnails ? [{ key: "image", title: "", width: 34, help: "the image", draw: (context, i) => drawThumbnail(context, i, 1, 1, 30) }] : []),
  { key: "trinary", title: "Outcomes", width: 130, draw: drawTrinary,
    value: i => label[i] === UNKNOWN ? NaN : derived.metrics.correct[i] / derived.metrics.n[i],
    help: "trinary distribution over the epochs: right (full), a class not shown (grey), another class (striped)" },
  { key: "strip", title: "Predictions", width: 176, draw: drawPredictions, value: i => at(i, state.to),
    help: "predicted class at every epoch; a tick underneath where wrong; the chosen range framed; sorts by its last" },
  { key: "visited", title: "Visited classes", width: 122, help: "classes predicted in the range",
    text: i => visitedBy(i, state.from, state.to).map(classOf).join(", "),
    value: i => derived.metrics.n_classes_visited[i] },
  number("n_classes_visited", "Variability", 112, 0,
    "InstanceFlow's variability: number of different classes predicted in the range, right or wrong"),
  number("frequency_raw", "Frequency", 112, 0, "changes of the prediction in the range"),
  number("score_raw", "Score", 80, 0, "epochs of the range predicted wrong"),
  number("forgetting", "Forgetting", 116, 0,
    "changes from right to wrong in the range, by evaluation after each epoch (Toneva 2019 counts in training)"),
  number("first_learned", "Learned", 96, 0, "first epoch of the range predicted right; empty if never"),
  ...(pTrue ? [number("confidence", "Confidence", 118, 3, "mean softmax probability of the label over the range"),
  number("p_true_std", "p(true) std", 118, 3, "its standard deviation over the range (population)")] : []),
  ...(margin ? [number("aum", "Margin", 90, 2,
    "mean over the range of logit of the label minus largest other logit (AUM, Pleiss 2020)")] : []),
];

function drawTrinary(context, i, width) {
  const m = derived.metrics, n = m.n[i];
  if (!n || label[i] === UNKNOWN) return;
  const wrong = patternOf(context, BROKEN, css("--wrong"));
  const parts = [[m.correct[i], css("--right")], [m.other[i], css("--line")], [n - m.correct[i] - m.other[i], wrong]];
  let x = 4;
  for (const [count, fill] of parts) {
    const wide = count / n * (width - 8);
    context.fillStyle = fill;
    context.fillRect(x, 9, wide, 14);
    x += wide;
  }
}

function drawPredictions(context, i, width) {
  const wide = (width - 8) / E;
  for (let e = 0; e < E; e++) {
    if (at(i, e) === MISSING) continue;
    context.fillStyle = colourOfClass(at(i, e));
    context.fillRect(4 + e * wide, 6, wide + 0.3, 15);
    if (label[i] === UNKNOWN || isRight(i, e)) continue;
    context.fillStyle = css("--wrong");
    context.fillRect(4 + e * wide, 23, wide + 0.3, 3);
  }
  context.strokeStyle = css("--ink");
  context.lineWidth = 1;
  context.strokeRect(4 + state.from * wide, 4.5, (state.to - state.from + 1) * wide, 18);
}

const isFiltered = column => column.digits !== undefined || column.text !== undefined;

// "3", ">=3", "<0.5" or "2..5" as a test of a number; null for anything else.
function parseFilter(text, digits) {
  const range = text.match(/^\s*(-?[\d.]+)\s*\.\.\s*(-?[\d.]+)\s*$/), one = text.match(/^\s*(>=|<=|>|<|=)?\s*(-?[\d.]+)\s*$/);
  if (range) return v => v >= +range[1] && v <= +range[2];
  if (!one) return null;
  const bound = +one[2];
  const tests = { ">=": v => v >= bound, "<=": v => v <= bound, ">": v => v > bound, "<": v => v < bound };
  return tests[one[1]] ?? (v => Math.abs(v - bound) < 0.501 * 10 ** -digits);
}

function testOf(column, text) {
  const fits = column.digits === undefined ? null : parseFilter(text, column.digits);
  if (fits) return i => fits(column.value(i));
  const part = text.trim().toLowerCase(), words = i => (column.text?.(i) ?? round(column.value(i), column.digits)).toLowerCase();
  return part.startsWith("=") ? i => words(i) === part.slice(1) : i => words(i).includes(part);
}

function listRows() {
  const filtered = COLUMNS.filter(({ key }) => state.filters[key]?.trim());
  const tests = filtered.map(column => testOf(column, state.filters[column.key]));
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean), chosen = new Set(state.selected);
  const fits = i => (!state.selectedOnly || chosen.has(i)) && tests.every(test => test(i))
    && words.every(word => nameOf(i).toLowerCase().includes(word) || classOf(label[i]).toLowerCase().includes(word));
  return sorted(derived.rows.filter(fits));
}

// By the chosen column, empty values last, ties by the image's number.
function sorted(rows) {
  const column = COLUMNS.find(({ key }) => key === state.sort) ?? COLUMNS[0], sign = state.down ? -1 : 1;
  const values = new Float64Array(N);
  for (const i of rows) values[i] = column.value(i);
  return rows.sort((a, b) => (isNaN(values[a]) - isNaN(values[b])) || sign * (values[a] - values[b]) || a - b);
}

let current = 0, anchor = 0; // rows of the table: the keyboard's, and where a range of selected ones starts

function makeHead() {
  document.getElementById("head-row").replaceChildren(...COLUMNS.map(column => {
    const button = document.createElement("button");
    button.style.width = `${column.width}px`;
    button.dataset.key = column.key;
    button.title = column.help;
    button.setAttribute("role", "columnheader");
    if (column.value) button.onclick = () => sortBy(column);
    return button;
  }));
  document.getElementById("filter-row").replaceChildren(...COLUMNS.map(column => {
    const field = document.createElement(isFiltered(column) ? "input" : "span");
    field.style.width = `${column.width}px`;
    if (field.tagName === "INPUT") {
      field.dataset.key = column.key;
      field.setAttribute("aria-label", `filter ${column.title}`);
      field.placeholder = "filter";
      field.oninput = () => change({ filters: { ...state.filters, [column.key]: field.value } });
    }
    return field;
  }));
}

// Numbers start with the largest, names with the first; a second click turns the order.
function sortBy({ key, digits }) {
  change({ sort: key, down: state.sort === key ? !state.down : digits !== undefined });
}

function drawTable() {
  const rows = derived.listed;
  for (const button of document.getElementById("head-row").children) {
    const column = COLUMNS.find(({ key }) => key === button.dataset.key), isSorted = state.sort === column.key;
    button.textContent = column.title + (isSorted ? (state.down ? " ▾" : " ▴") : "");
    button.setAttribute("aria-sort", isSorted ? (state.down ? "descending" : "ascending") : "none");
  }
  for (const field of document.querySelectorAll("#filter-row input")) {
    if (document.activeElement !== field) field.value = state.filters[field.dataset.key] ?? "";
  }
  current = Math.min(current, Math.max(0, rows.length - 1));
  body.style.height = `${rows.length * ROW}px`;
  body.style.width = `${COLUMNS.reduce((sum, { width }) => sum + width, 0)}px`;
  table.setAttribute("aria-rowcount", rows.length);
  const chosen = state.selected.length ? `, ${count(state.selected)} selected` : "";
  document.getElementById("listed").textContent = `${count(rows)} of ${N.toLocaleString("en")} listed${chosen}; `
    + `epochs ${head.epochs[state.from]} to ${head.epochs[state.to]}`;
  drawRows();
}

function drawRows() {
  const first = Math.max(0, Math.floor((table.scrollTop - 60) / ROW) - 2);
  const last = Math.min(derived.listed.length, first + Math.ceil(table.clientHeight / ROW) + 5);
  const rows = [];
  for (let k = first; k < last; k++) rows.push(makeRow(k, derived.listed[k]));
  body.replaceChildren(...rows);
  table.setAttribute("aria-activedescendant", `row-${current}`);
}

function makeRow(k, i) {
  const row = document.createElement("div");
  row.className = `row${derived.chosen.has(i) ? " selected" : ""}${k === current ? " current" : ""}`;
  row.style.top = `${k * ROW}px`;
  row.dataset.place = k;
  row.id = `row-${k}`;
  row.setAttribute("role", "row");
  row.setAttribute("aria-rowindex", k + 1);
  row.setAttribute("aria-selected", derived.chosen.has(i));
  const cells = COLUMNS.filter(column => !column.draw || column === DRAWN[0]);
  row.append(...cells.map(column => column.draw ? makePicture(i) : makeCell(column, i)));
  return row;
}

// The drawn columns stand beside each other and share a canvas.
const DRAWN = COLUMNS.filter(column => column.draw);
function makePicture(i) {
  const canvas = document.createElement("canvas"), ratio = devicePixelRatio || 1;
  const wide = DRAWN.reduce((sum, { width }) => sum + width, 0);
  canvas.style.width = `${wide}px`;
  canvas.width = wide * ratio; canvas.height = 31 * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  for (const column of DRAWN) { column.draw(context, i, column.width); context.translate(column.width, 0); }
  return canvas;
}

function makeCell(column, i) {
  const cell = document.createElement("span");
  cell.style.width = `${column.width}px`;
  cell.dataset.key = column.key;
  cell.className = column.digits === undefined ? "" : "number";
  cell.textContent = column.text ? column.text(i) : round(column.value(i), column.digits);
  cell.setAttribute("role", "gridcell");
  if (column.text) cell.title = cell.textContent;
  return cell;
}

const placeUnder = event => { const row = event.target.closest(".row"); return row ? +row.dataset.place : null; };

function selectRow(k, { range = false, add = false } = {}) {
  const i = derived.listed[k];
  current = k;
  if (range) select(derived.listed.slice(Math.min(anchor, k), Math.max(anchor, k) + 1), add);
  else {
    anchor = k;
    const toggled = derived.chosen.has(i) ? state.selected.filter(j => j !== i) : [...state.selected, i];
    select(add ? toggled : [i], false);
  }
}

table.addEventListener("scroll", drawRows);
body.addEventListener("click", event => {
  const k = placeUnder(event);
  if (k === null) return;
  table.focus({ preventScroll: true });
  selectRow(k, { range: event.shiftKey, add: event.ctrlKey || event.metaKey });
});
body.addEventListener("dblclick", event => { const k = placeUnder(event); if (k !== null) openDetail(derived.listed[k]); });
body.addEventListener("mousemove", event => {
  const k = placeUnder(event);
  if (k === null || k === body.over) return;
  body.over = k;
  drawTraces([derived.listed[k]]);
});
body.addEventListener("mouseleave", () => { body.over = null; drawTraces(); });
table.addEventListener("keydown", event => {
  if (event.target !== table) return;
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
  if (step !== undefined) moveCurrent(step, event.shiftKey);
  else if (event.key === " ") selectRow(current, { add: true });
  else if (event.key === "Enter" && derived.listed.length) openDetail(derived.listed[current]);
  else if (event.key === "Escape" && opened === null) select([], false);
  else if (event.key === "a" && (event.ctrlKey || event.metaKey)) select([...derived.listed], false);
  else return;
  event.preventDefault();
});

function moveCurrent(step, range) {
  current = Math.min(Math.max(0, derived.listed.length - 1), Math.max(0, current + step));
  const top = current * ROW, room = table.clientHeight - 54;
  if (top < table.scrollTop) table.scrollTop = top;
  if (top + ROW > table.scrollTop + room) table.scrollTop = top + ROW - room;
  if (range) selectRow(current, { range }); else drawRows();
}
