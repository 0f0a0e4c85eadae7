// The table: a row per image; only those in sight are elements.

const ROW_HEIGHT = 32;
const table = element("table");
const tableBody = element("body");
const metricColumn = (key, title, width, digits, help) =>
  ({ key, title, width, help, digits, value: i => derived.metrics[key][i] });
const UNAVAILABLE = { image: !head.thumbnails, confidence: !pTrue, p_true_std: !pTrue, aum: !margins };
const COLUMNS = [
  { key: "id", title: "ID", width: 92, value: i => i, text: nameOf, help: "image, row number in its split" },
  { key: "label", title: "Label", width: 92, help: "true class",
    value: i => labels[i], text: i => nameOfClass(labels[i]) },
  { key: "image", title: "", width: 34, help: "the image", draw: (context, i) => drawThumbnail(context, i, 1, 1, 30) },
  { key: "trinary", title: "Outcomes", width: 130, draw: drawTrinary,
    value: i => labels[i] === UNKNOWN ? NaN : derived.metrics.correct[i] / derived.metrics.n[i],
    help: "epochs of the range predicted correctly (full), as a class not shown (grey), as another class (striped)" },
  { key: "strip", title: "Predictions", width: 176, draw: drawPredictions, value: i => predictedAt(i, state.to),
    help: "predicted class at every epoch, with a tick underneath where incorrect and a frame around the range; "
      + "sorts by the last epoch of the range" },
  { key: "visited", title: "Visited classes", width: 122, help: "classes predicted in the range",
    text: i => visitedClasses(i, state.from, state.to).map(nameOfClass).join(", "),
    value: i => derived.metrics.n_classes_visited[i] },
  metricColumn("n_classes_visited", "Variability", 112, 0,
    "InstanceFlow's variability: number of different classes predicted in the range, correct or not"),
  metricColumn("frequency_raw", "Frequency", 112, 0, "changes of the prediction in the range"),
  metricColumn("score_raw", "Score", 80, 0, "epochs of the range at which the image is misclassified"),
  metricColumn("forgetting", "Forgetting", 116, 0,
    "changes from correct to incorrect in the range, evaluated after each epoch (Toneva 2019 counts during training)"),
  metricColumn("first_learned", "Learned", 96, 0, "first epoch of the range with a correct prediction; empty if none"),
  metricColumn("confidence", "Confidence", 118, 3, "mean softmax probability of the label over the range"),
  metricColumn("p_true_std", "p(true) std", 118, 3, "its standard deviation over the range (population)"),
  metricColumn("aum", "Margin", 90, 2,
    "mean over the range of the label's logit minus the largest other logit (AUM, Pleiss 2020)"),
].filter(({ key }) => !UNAVAILABLE[key]);

function drawTrinary(context, i, width) {
  const { correct, other, n } = derived.metrics;
  if (!n[i] || labels[i] === UNKNOWN) return;
  const parts = [
    [correct[i], themeColour("--correct")],
    [other[i], themeColour("--line")],
    [n[i] - correct[i] - other[i], patternOf(context, BROKEN, themeColour("--incorrect"))],
  ];
  let x = 4;
  for (const [epochs, fill] of parts) {
    const partWidth = epochs / n[i] * (width - 8);
    context.fillStyle = fill;
    context.fillRect(x, 9, partWidth, 14);
    x += partWidth;
  }
}

function drawPredictions(context, i, width) {
  const epochWidth = (width - 8) / E;
  for (let e = 0; e < E; e++) {
    if (predictedAt(i, e) === MISSING) continue;
    context.fillStyle = colourOfClass(predictedAt(i, e));
    context.fillRect(4 + e * epochWidth, 6, epochWidth + 0.3, 15);
    if (labels[i] === UNKNOWN || isCorrect(i, e)) continue;
    context.fillStyle = themeColour("--incorrect");
    context.fillRect(4 + e * epochWidth, 23, epochWidth + 0.3, 3);
  }
  context.strokeStyle = themeColour("--ink");
  context.lineWidth = 1;
  context.strokeRect(4 + state.from * epochWidth, 4.5, (state.to - state.from + 1) * epochWidth, 18);
}

const isNumeric = column => column.digits !== undefined;
const isFilterable = column => isNumeric(column) || column.text !== undefined;
const cellText = (column, i) => column.text ? column.text(i) : formatNumber(column.value(i), column.digits);

// "3", ">=3", "<0.5" or "2..5" as a test of a number; null for anything else.
function parseFilter(text, digits) {
  const range = text.match(/^\s*(-?[\d.]+)\s*\.\.\s*(-?[\d.]+)\s*$/);
  if (range) return value => value >= +range[1] && value <= +range[2];
  const comparison = text.match(/^\s*(>=|<=|>|<|=)?\s*(-?[\d.]+)\s*$/);
  if (!comparison) return null;
  const bound = +comparison[2];
  switch (comparison[1]) {
    case ">=": return value => value >= bound;
    case "<=": return value => value <= bound;
    case ">": return value => value > bound;
    case "<": return value => value < bound;
    default: return value => Math.abs(value - bound) < 0.501 * 10 ** -digits; // equal as it is displayed
  }
}

// A filter as a test of an instance: of its number, or else whether its text contains or, after "=", equals the filter.
function makeTest(column, filter) {
  const test = isNumeric(column) ? parseFilter(filter, column.digits) : null;
  if (test) return i => test(column.value(i));
  const wanted = filter.trim().toLowerCase();
  if (wanted.startsWith("=")) return i => cellText(column, i).toLowerCase() === wanted.slice(1);
  return i => cellText(column, i).toLowerCase().includes(wanted);
}

function listInstances() {
  const tests = COLUMNS.filter(({ key }) => state.filters[key]?.trim())
    .map(column => makeTest(column, state.filters[column.key]));
  if (state.selectedOnly) tests.push(i => derived.selected.has(i));
  for (const word of state.search.toLowerCase().split(/\s+/).filter(Boolean)) {
    tests.push(i => nameOf(i).toLowerCase().includes(word) || nameOfClass(labels[i]).toLowerCase().includes(word));
  }
  return sortInstances(derived.inCell.filter(i => tests.every(test => test(i))));
}

// By the chosen column, empty values last, ties by the image's number.
function sortInstances(instances) {
  const column = COLUMNS.find(({ key }) => key === state.sort) ?? COLUMNS[0];
  const sign = state.down ? -1 : 1;
  const values = new Float64Array(N);
  for (const i of instances) values[i] = column.value(i);
  return instances.sort((a, b) => (isNaN(values[a]) - isNaN(values[b])) || sign * (values[a] - values[b]) || a - b);
}

let currentRow = 0; // where the keyboard is
let anchorRow = 0; // where a range of selected rows starts

function makeHead() {
  element("head-row").replaceChildren(...COLUMNS.map(column => {
    const button = document.createElement("button");
    button.style.width = `${column.width}px`;
    button.dataset.key = column.key;
    button.title = column.help;
    button.setAttribute("role", "columnheader");
    if (column.value) button.onclick = () => sortBy(column);
    return button;
  }));
  element("filter-row").replaceChildren(...COLUMNS.map(column => {
    const field = document.createElement(isFilterable(column) ? "input" : "span");
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

// Numbers start with the largest, text with the first; a second click reverses the order.
function sortBy(column) {
  change({ sort: column.key, down: state.sort === column.key ? !state.down : isNumeric(column) });
}

function drawTable() {
  const rowCount = derived.listed.length;
  for (const button of element("head-row").children) {
    const column = COLUMNS.find(({ key }) => key === button.dataset.key);
    const isSorted = state.sort === column.key;
    const arrow = state.down ? " ▾" : " ▴";
    const order = state.down ? "descending" : "ascending";
    button.textContent = column.title + (isSorted ? arrow : "");
    button.setAttribute("aria-sort", isSorted ? order : "none");
  }
  for (const field of document.querySelectorAll("#filter-row input")) {
    if (document.activeElement !== field) field.value = state.filters[field.dataset.key] ?? "";
  }
  currentRow = Math.min(currentRow, Math.max(0, rowCount - 1));
  tableBody.style.height = `${rowCount * ROW_HEIGHT}px`;
  tableBody.style.width = `${COLUMNS.reduce((sum, { width }) => sum + width, 0)}px`;
  table.setAttribute("aria-rowcount", rowCount);
  const selected = state.selected.length ? `, ${formatInteger(state.selected.length)} selected` : "";
  element("listed").textContent = `${formatInteger(rowCount)} of ${formatInteger(N)} listed${selected}; `
    + `epochs ${head.epochs[state.from]} to ${head.epochs[state.to]}`;
  drawRows();
}

function drawRows() {
  const first = Math.max(0, Math.floor((table.scrollTop - 60) / ROW_HEIGHT) - 2);
  const end = Math.min(derived.listed.length, first + Math.ceil(table.clientHeight / ROW_HEIGHT) + 5);
  const rows = [];
  for (let index = first; index < end; index++) rows.push(makeRow(index, derived.listed[index]));
  tableBody.replaceChildren(...rows);
  table.setAttribute("aria-activedescendant", `row-${currentRow}`);
}

function makeRow(index, i) {
  const row = document.createElement("div");
  row.className = "row";
  row.classList.toggle("selected", derived.selected.has(i));
  row.classList.toggle("current", index === currentRow);
  row.style.top = `${index * ROW_HEIGHT}px`;
  row.dataset.index = index;
  row.id = `row-${index}`;
  row.setAttribute("role", "row");
  row.setAttribute("aria-rowindex", index + 1);
  row.setAttribute("aria-selected", derived.selected.has(i));
  for (const column of COLUMNS) {
    if (!column.draw) row.append(makeCell(column, i));
    else if (column === DRAWN_COLUMNS[0]) row.append(makeCanvas(i));
  }
  return row;
}

// The drawn columns are next to each other and share a canvas.
const DRAWN_COLUMNS = COLUMNS.filter(column => column.draw);
function makeCanvas(i) {
  const canvas = document.createElement("canvas");
  const ratio = devicePixelRatio || 1;
  const width = DRAWN_COLUMNS.reduce((sum, column) => sum + column.width, 0);
  canvas.style.width = `${width}px`;
  canvas.width = width * ratio;
  canvas.height = 31 * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  for (const column of DRAWN_COLUMNS) {
    column.draw(context, i, column.width);
    context.translate(column.width, 0);
  }
  return canvas;
}

function makeCell(column, i) {
  const cell = document.createElement("span");
  cell.style.width = `${column.width}px`;
  cell.dataset.key = column.key;
  cell.className = isNumeric(column) ? "number" : "";
  cell.textContent = cellText(column, i);
  cell.setAttribute("role", "gridcell");
  if (column.text) cell.title = cell.textContent;
  return cell;
}

function rowUnder(event) {
  const row = event.target.closest(".row");
  return row ? +row.dataset.index : null;
}

function selectRow(index, { range = false, add = false } = {}) {
  const i = derived.listed[index];
  currentRow = index;
  if (range) {
    select(derived.listed.slice(Math.min(anchorRow, index), Math.max(anchorRow, index) + 1), add);
    return;
  }
  anchorRow = index;
  const toggled = derived.selected.has(i) ? state.selected.filter(other => other !== i) : [...state.selected, i];
  select(add ? toggled : [i], false);
}

table.addEventListener("scroll", drawRows);
tableBody.addEventListener("click", event => {
  const index = rowUnder(event);
  if (index === null) return;
  table.focus({ preventScroll: true });
  selectRow(index, { range: event.shiftKey, add: event.ctrlKey || event.metaKey });
});
tableBody.addEventListener("dblclick", event => {
  const index = rowUnder(event);
  if (index !== null) openDetail(derived.listed[index]);
});
let hoveredRow = null;
tableBody.addEventListener("mousemove", event => {
  const index = rowUnder(event);
  if (index === null || index === hoveredRow) return;
  hoveredRow = index;
  drawTraces([derived.listed[index]]);
});
tableBody.addEventListener("mouseleave", () => {
  hoveredRow = null;
  drawTraces();
});
table.addEventListener("keydown", event => {
  if (event.target !== table) return;
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
  if (step !== undefined) moveCurrentRow(step, event.shiftKey);
  else if (event.key === " ") selectRow(currentRow, { add: true });
  else if (event.key === "Enter" && derived.listed.length) openDetail(derived.listed[currentRow]);
  else if (event.key === "Escape" && openInstance === null) select([], false);
  else if (event.key === "a" && (event.ctrlKey || event.metaKey)) select([...derived.listed], false);
  else return;
  event.preventDefault();
});

function moveCurrentRow(step, range) {
  currentRow = Math.min(Math.max(0, derived.listed.length - 1), Math.max(0, currentRow + step));
  const top = currentRow * ROW_HEIGHT;
  const visibleHeight = table.clientHeight - 54; // below the heading and the filters
  if (top < table.scrollTop) table.scrollTop = top;
  if (top + ROW_HEIGHT > table.scrollTop + visibleHeight) table.scrollTop = top + ROW_HEIGHT - visibleHeight;
  if (range) selectRow(currentRow, { range });
  else drawRows();
}
