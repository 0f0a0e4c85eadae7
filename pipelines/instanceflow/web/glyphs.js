// Instance view: every image is a glyph in the node of its prediction.

let glyphCells = []; // one per node: its position, its groups of instances, and the size of their glyphs
const opacities = new Float32Array(N);

// Groups [column][row][kind] of instances, by label, then by the metric of their opacity, the highest first.
function groupGlyphs(box, rows) {
  const groups = box.columns.map(() => rows.names.map(() => KINDS.map(() => [])));
  const { instances } = box.panel;
  for (const i of instances) opacities[i] = opacityOf(state.opacity, derived.metrics, i);
  const sorted = [...instances].sort((a, b) => labels[a] - labels[b] || opacities[b] - opacities[a] || a - b);
  for (const i of sorted) {
    box.columns.forEach((e, column) => {
      if (predictedAt(i, e) !== MISSING) groups[column][rows.rowOf[predictedAt(i, e)]][kindOf(i, e)].push(i);
    });
  }
  return groups;
}

// Four groups side by side, in, stable, inout, out, with the largest glyphs that fit.
function layOutGlyphs(groups, node) {
  const size = glyphSize(groups.map(group => group.length), node.width - 10, node.height - 4);
  const glyphsDown = Math.max(1, Math.floor((node.height - 4) / size));
  const lefts = [];
  let left = node.x + 2;
  for (const group of groups) {
    lefts.push(left);
    left += Math.ceil(group.length / glyphsDown) * size + 2;
  }
  return { ...node, groups, size, glyphsDown, lefts };
}

function glyphSize(counts, width, height) {
  for (let size = 10; size > 0.1; size = size > 1.5 ? size - 0.5 : size * 0.9) {
    const glyphsDown = Math.max(1, Math.floor(height / size));
    const glyphsAcross = counts.reduce((sum, count) => sum + Math.ceil(count / glyphsDown), 0);
    if (glyphsAcross * size <= width) return size;
  }
  return 0.1;
}

// Top left corner of a group's glyph.
function glyphPosition(cell, kind, index) {
  const x = cell.lefts[kind] + Math.floor(index / cell.glyphsDown) * cell.size;
  const y = cell.y + 2 + (index % cell.glyphsDown) * cell.size;
  return [x, y];
}

function drawGlyphs(context, drawnCells, columns) {
  const dots = startDots(context);
  const colours = [...head.classes.map((_, c) => colourOfClass(c)), colourOfClass(UNKNOWN)];
  const dotColours = colours.map(packColour);
  for (const cell of drawnCells) {
    cell.groups.forEach((group, kind) => group.forEach((i, index) => {
      const c = labels[i] === UNKNOWN ? K : labels[i];
      const isFilled = labels[i] === UNKNOWN || isCorrect(i, columns[cell.column]);
      const [x, y] = glyphPosition(cell, kind, index);
      if (cell.size >= 4) drawGlyph(context, kind, x, y, cell.size * 0.86, colours[c], isFilled, opacities[i]);
      // too small for a shape: incorrect ones are paler
      else putDot(dots, x, y, cell.size, dotColours[c], isFilled ? opacities[i] : opacities[i] * 0.4);
    }));
  }
  context.globalAlpha = 1;
  finishDots(context, dots);
}

const GLYPHS = { // corners within a unit square, by kind
  [IN]: [[0, 0], [1, 0.5], [0, 1]],
  [STABLE]: [[0, 0], [1, 0], [1, 1], [0, 1]],
  [INOUT]: [[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]],
  [OUT]: [[1, 0], [0, 0.5], [1, 1]],
};

// The shape tells the kind; filled is correct, hollow incorrect.
function drawGlyph(context, kind, x, y, size, colour, isFilled, alpha) {
  context.globalAlpha = alpha;
  context.fillStyle = context.strokeStyle = colour;
  context.beginPath();
  for (const [dx, dy] of GLYPHS[kind]) context.lineTo(x + dx * size, y + dy * size);
  context.closePath();
  if (isFilled) {
    context.fill();
  } else {
    context.lineWidth = 1.3;
    context.stroke();
  }
}

// Hundreds of thousands of squares are drawn faster as pixels than as shapes.
function startDots(context) {
  const { width, height } = context.canvas;
  return { width, height, ratio: context.getTransform().a, pixels: new Uint32Array(width * height) };
}

function putDot({ width, height, ratio, pixels }, x, y, size, colour, alpha) {
  const gap = size * ratio >= 3 ? 1 : 0;
  const pixel = (Math.round(alpha * 255) << 24) | colour;
  const left = Math.round(x * ratio);
  const right = Math.min(width, Math.max(left + 1, Math.round((x + size) * ratio) - gap));
  const top = Math.round(y * ratio);
  const bottom = Math.min(height, Math.max(top + 1, Math.round((y + size) * ratio) - gap));
  for (let py = top; py < bottom; py++) {
    for (let px = left; px < right; px++) pixels[py * width + px] = pixel;
  }
}

// A CSS colour as blue, green and red in one number, the order of little-endian pixels.
function packColour(colour) {
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

// Instance and column of the glyph under a point, or null.
function glyphUnder(x, y) {
  const contains = cell => x >= cell.x && x < cell.x + cell.width && y >= cell.y && y < cell.y + cell.height;
  const cell = glyphCells.find(contains);
  if (!cell) return null;
  for (let kind = 0; kind < KINDS.length; kind++) {
    const across = Math.floor((x - cell.lefts[kind]) / cell.size);
    const down = Math.floor((y - cell.y - 2) / cell.size);
    if (across < 0 || down < 0 || down >= cell.glyphsDown) continue;
    const i = cell.groups[kind][across * cell.glyphsDown + down];
    if (i !== undefined) return [i, cell.column];
  }
  return null;
}

// Centre of an instance's glyph in a column, or null if it has none.
function glyphCentre(i, column, row, kind) {
  const cell = glyphCells.find(candidate => candidate.column === column && candidate.row === row);
  const index = cell ? cell.groups[kind].indexOf(i) : -1;
  if (index < 0) return null;
  const [x, y] = glyphPosition(cell, kind, index);
  return [x + 0.5 * cell.size, y + 0.5 * cell.size];
}
