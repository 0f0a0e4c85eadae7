// Instance view: every image a glyph in the node of its prediction.

let cells = []; // one a node: its place, its groups of instances, and the size of their glyphs
const opacities = new Float32Array(N);

// Groups [column][row][kind] of instances, by true class, then by metric, the highest first.
function glyphs(box, rank) {
  const groups = box.columns.map(() => rank.names.map(() => KINDS.map(() => [])));
  for (const i of box.panel.rows) opacities[i] = opacityOf(state.opacity, derived.metrics, i);
  const rows = [...box.panel.rows].sort((a, b) => label[a] - label[b] || opacities[b] - opacities[a] || a - b);
  for (const i of rows) box.columns.forEach((e, c) => {
    if (at(i, e) !== MISSING) groups[c][rank.place[at(i, e)]][kindOf(i, e)].push(i);
  });
  return groups;
}

// Four groups side by side, in, stable, inout, out, their glyphs as large as fits.
function cellOf(groups, place) {
  const size = glyphSize(groups.map(list => list.length), place.wide - 10, place.tall - 4);
  const down = Math.max(1, Math.floor((place.tall - 4) / size)), lefts = [];
  let left = place.x + 2;
  for (const list of groups) {
    lefts.push(left);
    left += Math.ceil(list.length / down) * size + 2;
  }
  return { ...place, groups, size, down, lefts };
}

function glyphSize(counts, wide, tall) {
  for (let size = 10; size > 0.1; size = size > 1.5 ? size - 0.5 : size * 0.9) {
    const down = Math.max(1, Math.floor(tall / size));
    if (counts.reduce((sum, n) => sum + Math.ceil(n / down), 0) * size <= wide) return size;
  }
  return 0.1;
}

function drawGlyphs(context, drawn, columns) {
  const dots = startDots(context), unknown = colourOfClass(UNKNOWN);
  const colours = [...head.classes.map((_, c) => colourOfClass(c)), unknown], numbers = colours.map(numbersOf);
  for (const cell of drawn) cell.groups.forEach((list, kind) => {
    for (let k = 0; k < list.length; k++) {
      const i = list[k], c = label[i] === UNKNOWN ? K : label[i], right = label[i] === UNKNOWN || isRight(i, columns[cell.column]);
      const x = cell.lefts[kind] + Math.floor(k / cell.down) * cell.size, y = cell.y + 2 + (k % cell.down) * cell.size;
      // too small for a shape: wrong ones are paler
      if (cell.size < 4) putDot(dots, x, y, cell.size, numbers[c], right ? opacities[i] : opacities[i] * 0.4);
      else drawGlyph(context, kind, x, y, cell.size * 0.86, colours[c], right, opacities[i]);
    }
  });
  context.globalAlpha = 1;
  finishDots(context, dots);
}

// The shape says the kind; filled is right, hollow wrong.
function drawGlyph(context, kind, x, y, s, colour, right, alpha) {
  context.globalAlpha = alpha;
  context.fillStyle = context.strokeStyle = colour;
  context.beginPath();
  if (kind === 1) context.rect(x, y, s, s);
  else if (kind === 0) { context.moveTo(x, y); context.lineTo(x + s, y + s / 2); context.lineTo(x, y + s); }
  else if (kind === 3) { context.moveTo(x + s, y); context.lineTo(x, y + s / 2); context.lineTo(x + s, y + s); }
  else for (const [dx, dy] of [[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]]) context.lineTo(x + dx * s, y + dy * s);
  context.closePath();
  if (right) context.fill(); else { context.lineWidth = 1.3; context.stroke(); }
}

// Hundreds of thousands of squares are quicker as pixels than as shapes.
function startDots({ canvas: { width, height } }) {
  return { width, height, ratio: devicePixelRatio || 1, pixels: new Uint32Array(width * height) };
}

function putDot({ width, height, ratio, pixels }, x, y, size, colour, alpha) {
  const gap = size * ratio >= 3 ? 1 : 0, value = (Math.round(alpha * 255) << 24) | colour;
  const x0 = Math.round(x * ratio), x1 = Math.min(width, Math.max(x0 + 1, Math.round((x + size) * ratio) - gap));
  const y0 = Math.round(y * ratio), y1 = Math.min(height, Math.max(y0 + 1, Math.round((y + size) * ratio) - gap));
  for (let py = y0; py < y1; py++) for (let px = x0; px < x1; px++) pixels[py * width + px] = value;
}

// A colour as blue, green, red in one number, as pixels have it.
function numbersOf(colour) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return (blue << 16) | (green << 8) | red;
}

function finishDots(context, { width, height, ratio, pixels }) {
  const layer = new OffscreenCanvas(width, height);
  layer.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width, height), 0, 0);
  context.drawImage(layer, 0, 0, width / ratio, height / ratio);
}

// Instance and column of the glyph at a place, or null.
function glyphUnder(x, y) {
  const cell = cells.find(one => x >= one.x && x < one.x + one.wide && y >= one.y && y < one.y + one.tall);
  if (!cell) return null;
  for (let kind = 0; kind < KINDS.length; kind++) {
    const across = Math.floor((x - cell.lefts[kind]) / cell.size), down = Math.floor((y - cell.y - 2) / cell.size);
    if (across < 0 || down < 0 || down >= cell.down) continue;
    const i = cell.groups[kind][across * cell.down + down];
    if (i !== undefined) return [i, cell.column];
  }
  return null;
}

// Middle of an instance's glyph in a column, or null where it has none.
function whereIs(i, column, row, kind) {
  const cell = cells.find(one => one.column === column && one.row === row), k = cell ? cell.groups[kind].indexOf(i) : -1;
  if (k < 0) return null;
  return [cell.lefts[kind] + (Math.floor(k / cell.down) + 0.5) * cell.size, cell.y + 2 + ((k % cell.down) + 0.5) * cell.size];
}
