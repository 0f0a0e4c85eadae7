// Confusion over time: a grid of sparklines, true classes down, predicted classes across.

const grid = document.getElementById("confusion");
const GRID = { left: 92, top: 20, most: 20 };
let gridClasses = []; // rows and columns; the last column may be Other

function drawConfusion() {
  const shown = state.classes.slice(0, GRID.most), rest = K > shown.length, size = shown.length + (rest ? 1 : 0);
  gridClasses = [...shown, ...(rest ? [K] : [])];
  const place = new Int32Array(K + 1).fill(shown.length);
  shown.forEach((c, row) => { place[c] = row; });
  const { counts, totals } = confusion(derived.members, place, size);
  const wide = (grid.parentElement.clientWidth - GRID.left - 8) / size, tall = Math.max(24, Math.min(44, wide * 0.6));
  const { context } = prepare(grid, GRID.top + shown.length * tall + 4);
  const most = largestMistake(counts, totals, shown.length, size);
  gridClasses.forEach((c, column) =>
    write(context, classOf(c), GRID.left + (column + 0.5) * wide, 9, { align: "center", most: wide - 4 }));
  shown.forEach((c, row) => {
    write(context, classOf(c), GRID.left - 8, GRID.top + (row + 0.5) * tall, { align: "right", most: GRID.left - 12 });
    for (let column = 0; column < size; column++) {
      drawCell(context, counts[row][column], totals[row], { row, column, wide, tall, most, truth: c });
    }
  });
  const first = state.classes.length > shown.length ? `, the first ${shown.length} of ${state.classes.length} classes` : "";
  const about = `share of a true class (row) predicted as a class (column), all epochs${first}`;
  element("confusion-about").textContent = about;
  grid.setAttribute("aria-label", about);
  grid.geometry = { wide, tall, size, rows: shown.length, counts, totals };
  drawCursor(context, grid.geometry);
  const clear = document.getElementById("clear-cell");
  clear.hidden = !state.cell;
  if (state.cell) clear.textContent = `${classOf(state.cell[0])} predicted ${classOf(state.cell[1])} in the range ✕`;
}

function largestMistake(counts, totals, rows, size) {
  let most = 0.01;
  for (let row = 0; row < rows; row++) for (let column = 0; column < size; column++) {
    if (column === row) continue;
    for (let e = Math.min(1, E - 1); e < E; e++) most = Math.max(most, counts[row][column][e] / totals[row][e] || 0);
  }
  return most;
}

// Mistakes on one scale, the largest of them after epoch 0; the diagonal from 0 to 1.
function drawCell(context, counts, totals, { row, column, wide, tall, most, truth }) {
  const x = GRID.left + column * wide, y = GRID.top + row * tall, own = row === column, top = own ? 1 : most;
  const isChosen = state.cell && state.cell[0] === truth && state.cell[1] === gridClasses[column];
  context.strokeStyle = css(isChosen ? "--gold" : "--line");
  context.lineWidth = isChosen ? 3 : 1;
  context.strokeRect(x + 1, y + 1, wide - 2, tall - 2);
  const last = counts[E - 1] / totals[E - 1];
  context.globalAlpha = Math.min(0.5, (last / top || 0) * 0.5);
  context.fillStyle = css(own ? "--right" : "--wrong");
  context.fillRect(x + 1, y + 1, wide - 2, tall - 2);
  context.globalAlpha = 1;
  context.beginPath();
  for (let e = 0; e < E; e++) {
    const share = Math.min(1, counts[e] / totals[e] / top || 0);
    context.lineTo(x + 3 + (E > 1 ? e / (E - 1) : 0) * (wide - 6), y + tall - 3 - share * (tall - 6));
  }
  context.strokeStyle = css("--ink");
  context.lineWidth = 1;
  context.stroke();
  if (!(last > 0.005) || wide < 46) return;
  writeFaint(context, (100 * last).toFixed(last < 0.1 ? 1 : 0), x + wide - 4, y + 8, { align: "right", halo: true });
}

const cellAt = (row, column) => {
  const { counts, totals } = grid.geometry;
  return { truth: state.classes[row], guess: gridClasses[column], counts: counts[row][column], totals: totals[row] };
};

function cellUnder(event) {
  const { wide, tall, size, rows } = grid.geometry;
  const column = Math.floor((event.offsetX - GRID.left) / wide), row = Math.floor((event.offsetY - GRID.top) / tall);
  return column < 0 || column >= size || row < 0 || row >= rows ? null : cellAt(row, column);
}

function aboutCell({ truth, guess, counts, totals }) {
  const last = E - 1, share = e => counts[e] / totals[e];
  const peak = counts.reduce((best, _, e) => share(e) > share(best) ? e : best, 0);
  return `${classOf(truth)} predicted ${classOf(guess)}\n`
    + `${counts[last]} of ${totals[last]} at ${epochName(last)} (${percent(share(last))})\n`
    + `most at ${epochName(peak)}: ${counts[peak]}`;
}

function chooseCell({ truth, guess }) {
  const isChosen = state.cell && state.cell[0] === truth && state.cell[1] === guess;
  change({ cell: isChosen ? null : [truth, guess] });
}

// Arrow keys go from cell to cell, Enter chooses one.
let cursor = [0, 0];
function moveCursor(down, right) {
  const { rows, size } = grid.geometry, within = (value, most) => Math.min(Math.max(0, value), most - 1);
  cursor = [within(cursor[0] + down, rows), within(cursor[1] + right, size)];
  drawConfusion();
}

function drawCursor(context, { wide, tall, rows, size }) {
  if (document.activeElement !== grid || cursor[0] >= rows || cursor[1] >= size) return;
  context.strokeStyle = css("--ink");
  context.lineWidth = 2;
  context.strokeRect(GRID.left + cursor[1] * wide + 3, GRID.top + cursor[0] * tall + 3, wide - 6, tall - 6);
  grid.setAttribute("aria-label", aboutCell(cellAt(...cursor)));
}

grid.addEventListener("mousemove", event => {
  const cell = cellUnder(event);
  showTip(event, cell ? aboutCell(cell) : "");
});
grid.addEventListener("mouseleave", () => showTip(null, ""));
grid.addEventListener("click", event => {
  const cell = cellUnder(event);
  if (cell) chooseCell(cell);
});
grid.addEventListener("keydown", event => {
  const step = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
  if (step) moveCursor(...step);
  else if (event.key === "Enter") chooseCell(cellAt(...cursor));
  else return;
  event.preventDefault();
});
grid.addEventListener("focus", () => drawConfusion());
grid.addEventListener("blur", () => drawConfusion());
document.getElementById("clear-cell").onclick = () => change({ cell: null });
