// Confusion over time: a grid of sparklines, true classes down, predicted classes across.

const grid = element("confusion");
const GRID = { left: 116, top: 20, maxClasses: 20 };
let gridColumns = []; // classes; the last one may be Other
let gridLayout = null; // {cellWidth, cellHeight, rows, columns, counts, totals, shown} as last drawn, of the measured run

function drawConfusion() {
  const shown = derived.gridClasses;
  gridColumns = shown.length < K ? [...shown, K] : shown;
  const rows = shown.length;
  const columns = gridColumns.length;
  const rowOf = new Int32Array(K + 1).fill(rows);
  shown.forEach((c, row) => { rowOf[c] = row; });
  const all = confusion(derived.ofOutcome, rowOf, columns);
  const { start, end } = RUNS[measuredRun()];
  const counts = all.counts.map(cells => cells.map(epochs => epochs.subarray(start, end)));
  const totals = all.totals.map(epochs => epochs.subarray(start, end));

  const cellWidth = (widthOf(grid) - GRID.left - 8) / columns;
  const cellHeight = Math.max(24, Math.min(44, cellWidth * 0.6));
  gridLayout = { cellWidth, cellHeight, rows, columns, counts, totals, shown: lastMeasured() - start };
  const { context } = prepareCanvas(grid, GRID.top + rows * cellHeight + 4);
  const largest = largestConfusion(gridLayout);
  writeFaint(context, "true / predicted", 2, 9, { maxWidth: GRID.left - 4 });
  gridColumns.forEach((c, column) => {
    const x = GRID.left + (column + 0.5) * cellWidth;
    write(context, nameOfClass(c), x, 9, { align: "center", maxWidth: cellWidth - 4 });
  });
  shown.forEach((c, row) => {
    const y = GRID.top + (row + 0.5) * cellHeight;
    write(context, nameOfClass(c), GRID.left - 8, y, { align: "right", maxWidth: GRID.left - 12 });
    for (let column = 0; column < columns; column++) drawCell(context, row, column, largest);
  });

  const few = state.classes.length > rows
    ? `; of ${formatInteger(state.classes.length)} classes the ${rows} that are confused most at ${epochName(end - 1)}` : "";
  const chosen = state.compared ? `, of images ${COMPARED_NAMES[OUTCOMES.indexOf(state.compared)]}` : "";
  const about = `% of a true class (row) predicted as a class (column) at ${epochName(lastMeasured())}, the last chosen; `
    + `line: all epochs, dot: that epoch${chosen}${few}${describeSample("; images: ")}`;
  element("confusion-about").textContent = about;
  grid.setAttribute("aria-label", about);
  drawGridCursor(context);
  const clearButton = element("clear-cell");
  clearButton.hidden = !state.cell;
  if (state.cell) {
    const [label, guess] = state.cell.map(nameOfClass);
    clearButton.textContent = `${label} predicted ${guess} at ${epochName(lastMeasured())} ✕`;
  }
}

// Of all fractions off the diagonal after epoch 0.
function largestConfusion({ rows, columns, counts, totals }) {
  let largest = 0.01;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (column === row) continue;
      const epochs = totals[row].length;
      for (let e = Math.min(1, epochs - 1); e < epochs; e++) {
        largest = Math.max(largest, counts[row][column][e] / totals[row][e] || 0);
      }
    }
  }
  return largest;
}

// Misclassifications share one scale, up to the largest of them; the diagonal goes from 0 to 1.
function drawCell(context, row, column, largest) {
  const { cellWidth, cellHeight, shown } = gridLayout;
  const { label, guess, counts, totals } = cellAt(row, column);
  const x = GRID.left + column * cellWidth;
  const y = GRID.top + row * cellHeight;
  const scale = row === column ? 1 : largest;
  const isChosen = state.cell && state.cell[0] === label && state.cell[1] === guess;
  context.strokeStyle = themeColour(isChosen ? "--gold" : "--line");
  context.lineWidth = isChosen ? 3 : 1;
  context.strokeRect(x + 1, y + 1, cellWidth - 2, cellHeight - 2);

  const fraction = counts[shown] / totals[shown];
  context.globalAlpha = Math.min(0.5, (fraction / scale || 0) * 0.5);
  context.fillStyle = themeColour(row === column ? "--correct" : "--incorrect");
  context.fillRect(x + 1, y + 1, cellWidth - 2, cellHeight - 2);
  context.globalAlpha = 1;

  const pointAt = e => {
    const height = Math.min(1, counts[e] / totals[e] / scale || 0);
    const position = counts.length > 1 ? e / (counts.length - 1) : 0;
    return [x + 3 + position * (cellWidth - 6), y + cellHeight - 3 - height * (cellHeight - 6)];
  };
  context.beginPath();
  for (let e = 0; e < counts.length; e++) context.lineTo(...pointAt(e));
  context.strokeStyle = themeColour("--ink");
  context.lineWidth = 1;
  context.stroke();
  if (counts[shown]) {
    context.beginPath();
    context.arc(...pointAt(shown), 2, 0, 7);
    context.fillStyle = themeColour("--ink");
    context.fill();
  }
  if (!(fraction > 0.005) || cellWidth < 46) return;
  const percent = (100 * fraction).toFixed(fraction < 0.1 ? 1 : 0);
  writeFaint(context, percent, x + cellWidth - 4, y + 8, { align: "right", halo: true });
}

// counts and totals of every epoch
function cellAt(row, column) {
  const { counts, totals } = gridLayout;
  return { label: derived.gridClasses[row], guess: gridColumns[column], counts: counts[row][column], totals: totals[row] };
}

function cellUnder(event) {
  const [x, y] = placeOf(event);
  const { cellWidth, cellHeight, rows, columns } = gridLayout;
  const column = Math.floor((x - GRID.left) / cellWidth);
  const row = Math.floor((y - GRID.top) / cellHeight);
  if (column < 0 || column >= columns || row < 0 || row >= rows) return null;
  return cellAt(row, column);
}

function describeCell({ label, guess, counts, totals }) {
  const { start } = RUNS[measuredRun()];
  const { shown } = gridLayout;
  const fractionAt = e => counts[e] / totals[e];
  const peak = counts.reduce((best, _, e) => fractionAt(e) > fractionAt(best) ? e : best, 0);
  return `${nameOfClass(label)} predicted ${nameOfClass(guess)}\n`
    + `${counts[shown]} of ${totals[shown]} at ${epochName(start + shown)} (${formatPercent(fractionAt(shown) || 0)})\n`
    + `most at ${epochName(start + peak)}: ${counts[peak]}`;
}

function chooseCell({ label, guess }) {
  const isChosen = state.cell && state.cell[0] === label && state.cell[1] === guess;
  change({ cell: isChosen ? null : [label, guess] });
}

// Arrow keys move from cell to cell, Enter chooses one.
let gridCursor = [0, 0]; // row and column
function startAtChosenCell() {
  if (state.cell) gridCursor = [derived.gridClasses.indexOf(state.cell[0]), gridColumns.indexOf(state.cell[1])].map(place => Math.max(0, place));
  drawConfusion();
}

function moveGridCursor(down, right) {
  const [row, column] = gridCursor;
  gridCursor = [clampIndex(row + down, gridLayout.rows), clampIndex(column + right, gridLayout.columns)];
  drawConfusion();
}

// Below the cell, as a pointer there would be.
function placeOfGridCursor() {
  const { cellWidth, cellHeight } = gridLayout;
  const [row, column] = gridCursor;
  const place = grid.getBoundingClientRect();
  const [x, y] = [GRID.left + (column + 0.5) * cellWidth, GRID.top + (row + 0.8) * cellHeight];
  return { clientX: place.x + x * unit(), clientY: place.y + y * unit() };
}

function drawGridCursor(context) {
  const { cellWidth, cellHeight, rows, columns } = gridLayout;
  const [row, column] = gridCursor;
  if (document.activeElement !== grid || row >= rows || column >= columns) return;
  context.strokeStyle = themeColour("--ink");
  context.lineWidth = 2;
  const x = GRID.left + column * cellWidth;
  const y = GRID.top + row * cellHeight;
  context.strokeRect(x + 3, y + 3, cellWidth - 6, cellHeight - 6);
  grid.setAttribute("aria-label", describeCell(cellAt(row, column)));
}

grid.addEventListener("mousemove", event => {
  const cell = cellUnder(event);
  showTip(event, cell ? describeCell(cell) : "");
});
grid.addEventListener("mouseleave", () => showTip(null, ""));
grid.addEventListener("click", event => {
  const cell = cellUnder(event);
  if (cell) chooseCell(cell);
});
grid.addEventListener("keydown", event => {
  const step = ARROWS[event.key];
  showTip(null, "");
  if (step) {
    moveGridCursor(...step);
    showTip(placeOfGridCursor(), describeCell(cellAt(...gridCursor)));
  } else if (event.key === "Enter") chooseCell(cellAt(...gridCursor));
  else return;
  event.preventDefault();
});
grid.addEventListener("focus", startAtChosenCell);
grid.addEventListener("blur", () => {
  showTip(null, "");
  drawConfusion();
});
element("clear-cell").onclick = () => change({ cell: null });
