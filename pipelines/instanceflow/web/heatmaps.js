// Heatmaps as pipelines/common/heatmaps.py draws them, with its numbers; a test compares the two.

const STYLE = head.maps.style;
const colourTables = {}; // by kind of map: 256 colours of three bytes each
for (const [kind, digits] of Object.entries(STYLE?.colours ?? {})) {
  colourTables[kind] = Uint8Array.from(digits.match(/../g), pair => parseInt(pair, 16));
}
const styleOf = signed => signed ? "signed" : "strength";

// Levels of the pixels of a map, and which of them belong to its strongest tenth, [H * W] each.
function unpackMap(packed, index) {
  const size = head.maps.height * head.maps.width;
  const start = index * (size + Math.ceil(size / 8));
  const levels = packed.subarray(start, start + size);
  const bits = packed.subarray(start + size, start + size + Math.ceil(size / 8));
  return { levels, inside: Uint8Array.from(levels, (_, p) => (bits[p >> 3] >> (7 - p % 8)) & 1) };
}

// A map over its image, of which `brightness` [H * W] is the mean of its channels, 0..1; each pixel becomes a square.
function drawMapPixels({ levels, inside }, brightness, signed, factor) {
  const height = head.maps.height * factor;
  const width = head.maps.width * factor;
  const table = colourTables[styleOf(signed)];
  const pixels = new Uint8ClampedArray(4 * height * width);
  const drawnInside = new Uint8Array(height * width);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const p = Math.floor(y / factor) * head.maps.width + Math.floor(x / factor);
      const scaled = signed ? (levels[p] - 128) / 127 : levels[p] / 255;
      const position = signed ? scaled / 2 + 0.5 : scaled;
      const colour = 3 * Math.min(255, Math.floor(position * 256));
      const grey = 255 * (STYLE.grey[0] + STYLE.grey[1] * brightness[p]);
      const opacity = STYLE.opacity[0] + STYLE.opacity[1] * Math.abs(scaled);
      for (let c = 0; c < 3; c++) pixels[4 * at + c] = opacity * table[colour + c] + (1 - opacity) * grey;
      pixels[4 * at + 3] = 255;
      drawnInside[at] = inside[p];
    }
  }
  drawOutline(pixels, drawnInside, height, width);
  return { pixels, height, width };
}

// White around a region, and black on both sides of the white.
function drawOutline(pixels, inside, height, width) {
  let eroded = inside;
  for (let times = 0; times < STYLE.outline; times++) eroded = erode(eroded, height, width);
  const border = inside.map((isInside, p) => isInside && !eroded[p] ? 1 : 0);
  const outside = erode(border.map(isBorder => 1 - isBorder), height, width, 1);
  for (let p = 0; p < border.length; p++) {
    if (outside[p]) continue; // neither border nor beside it
    pixels.fill(border[p] ? 255 : 0, 4 * p, 4 * p + 3);
  }
}

// The pixels of a region whose four neighbours belong to it as well; `beyond` is what lies beyond the picture.
function erode(inside, height, width, beyond = 0) {
  return inside.map((isInside, p) => {
    if (!isInside) return 0;
    const [y, x] = [Math.floor(p / width), p % width];
    const up = y > 0 ? inside[p - width] : beyond;
    const down = y + 1 < height ? inside[p + width] : beyond;
    const left = x > 0 ? inside[p - 1] : beyond;
    const right = x + 1 < width ? inside[p + 1] : beyond;
    return up && down && left && right;
  });
}
