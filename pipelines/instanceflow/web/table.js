// The table: a row per image; only those in sight are elements.

const ROW_HEIGHT = 36; // units
const rowPixels = () => ROW_HEIGHT * unit();
const table = element("table");
const tableBody = element("body");
const metricColumn = (key, title, width, digits, help) =>
  ({ key, title, width, help, digits, value: i => derived.metrics[key][i] });
const UNAVAILABLE = {
  image: !head.thumbnails, confidence: !pTrue, p_true_std: !pTrue, aum: !margins, maps: !head.maps.instances.length,
};
const mapCounts = new Uint16Array(N);
for (const i of head.maps.instances) mapCounts[i]++;

// Of two runs, what each predicts at the last epoch chosen of it.
const COMPARING_COLUMNS = isPair ? [
  ...RUNS.map(({ name }, run) => ({
    key: `predicted_${run + 1}`, title: shortenMiddle(name, 12), width: 104, help: `class predicted by ${name} at the last epoch chosen of it`,
    value: i => predictedAt(i, rangeOf(run)[1]), text: i => nameOfClass(predictedAt(i, rangeOf(run)[1])),
  })),
  { key: "compared", title: "Change", width: 196, help: `what ${RUNS[1].name} changes, each run at the last epoch chosen of it`,
    value: i => lastOutcome(i) ?? NaN, text: i => COMPARED_NAMES[lastOutcome(i)] ?? "" },
  ...(pTrue ? [{
    key: "p_true_change", title: "p(true) change", width: 126, digits: 3,
    help: `probability of the label in ${RUNS[1].name} minus that in ${RUNS[0].name}, each at the last epoch chosen of it`,
    value: i => labels[i] === UNKNOWN || lastOutcome(i) === undefined
      ? NaN : (pTrue[i * E + state.otherTo] - pTrue[i * E + state.to]) / P_TRUE_STEPS,
  }] : []),
] : [{
  key: "predicted", title: "Prediction", width: 90, help: "class predicted at the last chosen epoch",
  value: i => predictedAt(i, state.to), text: i => nameOfClass(predictedAt(i, state.to)),
}];

const COLUMNS = [
  { key: "id", title: "ID", width: 60, value: i => i, text: nameOf, help: "image, row number in its split" },
  { key: "label", title: "Label", width: 82, help: "true class",
    value: i => labels[i], text: i => nameOfClass(labels[i]) },
  { key: "image", title: "Image", width: 56, help: "the image", draw: (context, i) => drawThumbnail(context, i, 6, 1.5, 32) },
  { key: "trinary", title: "Outcomes", width: 88, draw: drawTrinary,
    value: i => labels[i] === UNKNOWN ? NaN : derived.metrics.correct[i] / derived.metrics.n[i],
    help: "epochs of the range predicted correctly (full), as a class not shown (grey), as another class (striped)" },
  { key: "strip", title: "Predictions", width: isPair ? 190 : 132, draw: drawPredictions, value: i => predictedAt(i, lastMeasured()),
    help: "predicted class at every epoch, with a tick underneath where incorrect and a frame around the range; "
      + "sorts by the last epoch of the range" },
  ...COMPARING_COLUMNS,
  { key: "maps", title: "Maps", width: 60, digits: 0, help: "heatmaps of the image on this page; >0 lists those that have some",
    value: i => mapCounts[i] },
  { key: "visited", title: "Visited classes", width: 122, help: "classes predicted in the range",
    text: i => visitedClasses(i, ...measuredRange()).map(nameOfClass).join(", "),
    value: i => derived.metrics.n_classes_visited[i] },
  metricColumn("n_classes_visited", "Variability", 98, 0,
    "InstanceFlow's variability: number of different classes predicted in the range, correct or not"),
  metricColumn("frequency_raw", "Frequency", 98, 0, "changes of the prediction in the range"),
  metricColumn("score_raw", "Score", 72, 0, "epochs of the range at which the image is misclassified"),
  metricColumn("forgetting", "Forgetting", 100, 0,
    "changes from correct to incorrect in the range, evaluated after each epoch (Toneva 2019 counts during training)"),
  metricColumn("first_learned", "Learned", 84, 0, "first epoch of the range with a correct prediction; empty if none"),
  metricColumn("confidence", "Confidence", 102, 3, "mean softmax probability of the label over the range"),
  metricColumn("p_true_std", "p(true) std", 98, 3, "its standard deviation over the range (population)"),
  metricColumn("aum", "Margin", 76, 2,
    "mean over the range of the label's logit minus the largest other logit (AUM, Pleiss 2020)"),
].filter(({ key }) => !UNAVAILABLE[key]);

// Columns share the room that a wide screen has left.
const allColumnsWidth = COLUMNS.reduce((sum, { width }) => sum + width, 0);
const widthOfColumn = ({ width }) => width * Math.max(1, (table.clientWidth / unit() - 1) / allColumnsWidth);

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
    context.fillRect(x, 11, partWidth, 14);
    x += partWidth;
  }
}

function drawPredictions(context, i, width) {
  const gap = 8; // between two runs
  const epochWidth = (width - 8 - (RUNS.length - 1) * gap) / E;
  const x = e => 4 + e * epochWidth + runOf(e) * gap;
  for (let e = 0; e < E; e++) {
    if (predictedAt(i, e) === MISSING) continue;
    context.fillStyle = colourOfClass(predictedAt(i, e));
    context.fillRect(x(e), 8, epochWidth + 0.3, 15);
    if (labels[i] === UNKNOWN || isCorrect(i, e)) continue;
    context.fillStyle = themeColour("--incorrect");
    context.fillRect(x(e), 25, epochWidth + 0.3, 3);
  }
  context.strokeStyle = themeColour("--ink");
  context.lineWidth = 1;
  for (const [from, to] of ranges()) context.strokeRect(x(from), 6.5, (to - from + 1) * epochWidth, 18);
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
  return sortInstances(derived.chosen.filter(i => tests.every(test => test(i))));
}

// Those that were chosen in the flow first, then by group, then by the chosen columns, empty values last, ties by the
// image's number.
function sortInstances(instances) {
  const isFirst = new Uint8Array(N);
  for (const i of state.first) isFirst[i] = 1;
  const keys = [{ valueOf: i => -isFirst[i], sign: 1 }, { valueOf: groupOf, sign: 1 }];
  for (const [key, down] of [[state.sort, state.down], ...state.then]) {
    keys.push({ valueOf: COLUMNS.find(column => column.key === key).value, sign: down ? -1 : 1 });
  }
  for (const key of keys) {
    key.values = new Float64Array(N);
    for (const i of instances) key.values[i] = key.valueOf(i);
  }
  return instances.sort((a, b) => {
    for (const { values, sign } of keys) {
      const order = (isNaN(values[a]) - isNaN(values[b])) || sign * (values[a] - values[b]);
      if (order) return order;
    }
    return a - b;
  });
}

const groupOf = i => GROUPS[state.group](i, lastMeasured());

// Rows of the table: images, and before each group a heading {group, instances}. Images chosen in the flow come before.
function arrangeTable() {
  if (state.group === "none") return derived.listed;
  const isFirst = new Set(state.first);
  const rows = [];
  let heading = null;
  for (const i of derived.listed) {
    if (!isFirst.has(i) && heading?.group !== groupOf(i)) {
      heading = { group: groupOf(i), instances: [] };
      rows.push(heading);
    }
    heading?.instances.push(i);
    rows.push(i);
  }
  return rows;
}
const isHeading = row => typeof row === "object";
const instancesOf = rows => rows.filter(row => !isHeading(row));

let currentRow = 0; // where the keyboard is
let anchorRow = 0; // where a range of selected rows starts

function makeHead() {
  element("head-row").replaceChildren(...COLUMNS.map(column => {
    const cell = document.createElement("div");
    cell.setAttribute("role", "columnheader");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.title;
    button.dataset.key = column.key;
    button.title = `${column.help}; a click sorts, with Shift after the columns already chosen`;
    if (column.value) button.onclick = event => sortBy(column, event.shiftKey);
    cell.append(button);
    return cell;
  }));
  element("filter-row").replaceChildren(...COLUMNS.map(column => {
    const cell = document.createElement("div");
    cell.setAttribute("role", "gridcell");
    if (!isFilterable(column)) return cell;
    const field = document.createElement("input");
    field.dataset.key = column.key;
    field.setAttribute("aria-label", `filter ${column.title}`);
    field.placeholder = "filter";
    field.oninput = () => change({ filters: { ...state.filters, [column.key]: field.value } });
    cell.append(field);
    return cell;
  }));
  element("histogram-row").replaceChildren(...COLUMNS.map(column => {
    const canvas = document.createElement(isNumeric(column) ? "canvas" : "span");
    canvas.dataset.key = column.key;
    return canvas;
  }));
}

function drawHistograms() {
  COLUMNS.forEach((column, index) => {
    if (isNumeric(column)) drawHistogram(element("histogram-row").children[index], column);
  });
}

// Distribution of a column's values: of all images of the chosen classes pale, of those listed in full colour.
const HISTOGRAM = { bins: 24, height: 26 };
function drawHistogram(canvas, column) {
  const all = derived.members.map(column.value).filter(Number.isFinite);
  let [low, high] = [Infinity, -Infinity];
  for (const value of all) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const binOf = value => high > low ? Math.min(HISTOGRAM.bins - 1, Math.floor((value - low) / (high - low) * HISTOGRAM.bins)) : 0;
  const count = values => {
    const counts = new Int32Array(HISTOGRAM.bins);
    for (const value of values) counts[binOf(value)]++;
    return counts;
  };
  const listed = derived.listed.map(column.value).filter(Number.isFinite);
  const { context, width, height } = prepareCanvas(canvas, HISTOGRAM.height, widthOfColumn(column));
  const layers = [[count(all), themeColour("--line")], [count(listed), themeColour("--fixed")]];
  const tallest = Math.max(1, ...layers[0][0]);
  const binWidth = (width - 12) / HISTOGRAM.bins;
  for (const [counts, colour] of layers) {
    context.fillStyle = colour;
    counts.forEach((n, bin) => { // square root, so that rare values can be seen
      const barHeight = Math.sqrt(n / tallest) * (height - 4);
      context.fillRect(6 + bin * binWidth, height - 2 - barHeight, Math.max(1, binWidth - 1), barHeight);
    });
  }
  const ends = all.length ? `${formatNumber(low, column.digits)} to ${formatNumber(high, column.digits)}` : "no values";
  canvas.title = `${column.title}: ${ends}; blue: listed images, grey: all (height: square root of their number)`;
}

// Numbers start with the largest, text with the first; a second click reverses the order.
function sortBy(column, isFurther) {
  if (!isFurther || state.sort === column.key) {
    change({ sort: column.key, down: state.sort === column.key ? !state.down : isNumeric(column), then: [] });
    return;
  }
  const known = state.then.find(([key]) => key === column.key);
  const others = state.then.filter(([key]) => key !== column.key);
  change({ then: [...others, [column.key, known ? !known[1] : isNumeric(column)]] });
}

function drawTable() {
  const rowCount = derived.tableRows.length;
  const sortKeys = [[state.sort, state.down], ...state.then];
  COLUMNS.forEach((column, index) => {
    const cell = element("head-row").children[index];
    const place = sortKeys.findIndex(([key]) => key === column.key);
    const isDown = place >= 0 && sortKeys[place][1];
    const number = place > 0 || (place === 0 && sortKeys.length > 1) ? String(place + 1) : "";
    cell.firstChild.textContent = column.title + (place < 0 ? "" : ` ${isDown ? "▾" : "▴"}${number}`);
    const order = isDown ? "descending" : "ascending";
    cell.setAttribute("aria-sort", place < 0 ? "none" : order);
    for (const row of ["head-row", "filter-row", "histogram-row"]) {
      element(row).children[index].style.width = `${widthOfColumn(column) * unit()}px`;
    }
  });
  for (const field of document.querySelectorAll("#filter-row input")) {
    if (document.activeElement !== field) field.value = state.filters[field.dataset.key] ?? "";
  }
  currentRow = Math.min(currentRow, Math.max(0, rowCount - 1));
  tableBody.style.height = `${rowCount * rowPixels()}px`;
  tableBody.style.width = `${COLUMNS.reduce((sum, column) => sum + widthOfColumn(column), 0) * unit()}px`;
  table.setAttribute("aria-rowcount", rowCount);
  // no higher than all images need, even if few are listed, so that filtering moves nothing
  table.style.maxHeight = `${headHeight() + (N + 1) * rowPixels()}px`;
  const selected = state.selected.length ? `, ${formatInteger(state.selected.length)} selected` : "";
  element("listed").textContent = `${formatInteger(derived.listed.length)} of ${formatInteger(N)} listed${isSample ? `, drawn at random from ${formatInteger(head.drawn_from)}` : ""}${selected}; `
    + `${rangeName(measuredRun())}${strideOf() > 1 ? ", every epoch of them" : ""}`;
  drawRows();
}

function drawRows() {
  const first = Math.max(0, Math.floor((table.scrollTop - headHeight()) / rowPixels()) - 2);
  const end = Math.min(derived.tableRows.length, first + Math.ceil(table.clientHeight / rowPixels()) + 5);
  const rows = [];
  for (let index = first; index < end; index++) {
    const row = derived.tableRows[index];
    rows.push(isHeading(row) ? makeHeading(index, row) : makeRow(index, row));
  }
  tableBody.replaceChildren(...rows);
  table.setAttribute("aria-activedescendant", `row-${currentRow}`);
}

const headHeight = () => element("table-head").offsetHeight;

function makeHeading(index, { group, instances }) {
  const row = document.createElement("div");
  row.className = "row heading";
  row.classList.toggle("current", index === currentRow);
  row.style.top = `${index * rowPixels()}px`;
  row.dataset.index = index;
  row.id = `row-${index}`;
  row.setAttribute("role", "row");
  const cell = textElement("span", `${state.group === "label" ? "label" : `predicted at ${epochName(lastMeasured())}:`} ${nameOfClass(group)}: `
    + `${formatInteger(instances.length)} images; a click selects them`);
  cell.setAttribute("role", "gridcell");
  row.append(cell);
  return row;
}

function makeRow(index, i) {
  const row = document.createElement("div");
  row.className = "row";
  row.classList.toggle("selected", derived.selected.has(i));
  row.classList.toggle("current", index === currentRow);
  row.style.top = `${index * rowPixels()}px`;
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
  const ratio = pixelsPerUnit();
  const width = DRAWN_COLUMNS.reduce((sum, column) => sum + widthOfColumn(column), 0);
  canvas.style.width = `${width * unit()}px`;
  canvas.width = width * ratio;
  canvas.height = (ROW_HEIGHT - 1) * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  for (const column of DRAWN_COLUMNS) {
    column.draw(context, i, widthOfColumn(column));
    context.translate(widthOfColumn(column), 0);
  }
  return canvas;
}

function makeCell(column, i) {
  const cell = document.createElement("span");
  cell.style.width = `${widthOfColumn(column) * unit()}px`;
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
  const i = derived.tableRows[index];
  currentRow = index;
  if (range) {
    const rows = derived.tableRows.slice(Math.min(anchorRow, index), Math.max(anchorRow, index) + 1);
    select(instancesOf(rows), add);
    return;
  }
  anchorRow = index;
  if (isHeading(i)) {
    select(i.instances, add);
    return;
  }
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
  if (index !== null && !isHeading(derived.tableRows[index])) openDetail(derived.tableRows[index]);
});
let hoveredRow = null;
tableBody.addEventListener("mousemove", event => {
  const index = rowUnder(event);
  if (index === null) return;
  const instances = instancesOf([derived.tableRows[index]]);
  const [first] = DRAWN_COLUMNS; // the image, if there are pictures
  const isOverPicture = first.key === "image" && event.target.tagName === "CANVAS" && placeOf(event)[0] < widthOfColumn(first);
  showTip(event, isOverPicture ? instances.map(i => describeInstance(i, lastMeasured())).join() : "", instances);
  if (index === hoveredRow) return;
  hoveredRow = index;
  drawTraces(instances);
});
tableBody.addEventListener("mouseleave", () => {
  hoveredRow = null;
  showTip(null, "");
  drawTraces();
});
table.addEventListener("keydown", event => {
  if (event.target !== table) return;
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
  if (step !== undefined) moveCurrentRow(step, event.shiftKey);
  else if (event.key === " ") selectRow(currentRow, { add: true });
  else if (event.key === "Enter" && !isHeading(derived.tableRows[currentRow] ?? {})) openDetail(derived.tableRows[currentRow]);
  else if (event.key === "Escape" && openInstance === null) select([], false);
  else if (event.key === "a" && (event.ctrlKey || event.metaKey)) select([...derived.listed], false);
  else return;
  event.preventDefault();
});

function moveCurrentRow(step, range) {
  currentRow = Math.min(Math.max(0, derived.tableRows.length - 1), Math.max(0, currentRow + step));
  const top = currentRow * rowPixels();
  const bottom = top + rowPixels();
  const visibleHeight = table.clientHeight - headHeight();
  if (top < table.scrollTop) table.scrollTop = top;
  if (bottom > table.scrollTop + visibleHeight) table.scrollTop = bottom - visibleHeight;
  if (range) selectRow(currentRow, { range });
  else drawRows();
}
