// One image: large, its probabilities over the epochs, and its heatmaps.

const detail = element("detail");
let openInstance = null;
let focusBeforeDetail = null; // element that had the keyboard
let instanceOfMaps = null; // whose heatmaps are drawn

async function openDetail(i) {
  openInstance = i;
  if (detail.hidden) {
    focusBeforeDetail = document.activeElement;
    detail.hidden = false;
    element("close-detail").focus({ preventScroll: true });
  }
  element("detail-title").textContent = `Image ${nameOf(i)}, ${labels[i] === UNKNOWN ? "label unknown" : `label ${nameOfClass(labels[i])}`}`;
  drawLarge(i);
  element("detail-facts").textContent = describeDetail(i);
  drawVerdicts(i);
  drawProbabilities(i, await unpackOnce("probabilities"), await unpackOnce("top_classes"));
  drawMaps(i, await unpackOnce("maps"));
  writeQueries();
}

function closeDetail() {
  openInstance = instanceOfMaps = null;
  detail.hidden = true;
  focusBeforeDetail?.focus({ preventScroll: true });
  writeQueries();
}

function drawLarge(i) {
  const canvas = element("large");
  canvas.hidden = !hasPicture(i);
  if (hasPicture(i)) drawPicture(canvas, i, 192);
}

function describeDetail(i) {
  const values = derived.metrics;
  const metric = (name, digits) => formatNumber(values[name][i], digits) || "–";
  const visited = visitedClasses(i, ...measuredRange()).map(nameOfClass).join(", ");
  const describePrediction = (e, why) => {
    const prediction = predictedAt(i, e);
    return `${epochName(e)}${why}: ${prediction === MISSING ? "not predicted" : `predicted ${nameOfClass(prediction)}`}`;
  };
  const predictions = ranges().flatMap(([, last], run) => {
    const end = RUNS[run].end - 1;
    if (last === end) return [describePrediction(end, ", the last")];
    return [describePrediction(last, ", where the chosen range ends"), describePrediction(end, ", the last")];
  });
  return [
    ...predictions,
    `In ${rangeName(measuredRun())}:`,
    `misclassified ${metric("score_raw", 0)} of ${values.n[i]} times, ${values.frequency_raw[i]} changes`,
    `forgotten ${metric("forgetting", 0)} times`,
    `learned at ${metric("first_learned", 0)}; visited ${visited}`,
    `confidence ${metric("confidence", 3)} ± ${metric("p_true_std", 3)}, margin ${metric("aum", 2)}`,
    head.splits.length > 1 ? `split ${head.splits[splitIndices[i]]}` : "",
  ].join("\n");
}

// Softmax probability of every class, of the likeliest, or of the label alone, as far as the page has them.
function drawProbabilities(i, probabilities, topClasses) {
  const canvas = element("lines");
  const { context, width, height } = prepareCanvas(canvas, 204, canvas.clientWidth / unit());
  const left = 34, right = 92, top = isPair ? 22 : 8;
  const base = height - 34;
  const plotWidth = width - left - right;
  const x = e => left + placeOfEpoch(e, plotWidth);
  const y = p => base - p * (base - top);
  for (const p of [0, 0.5, 1]) {
    writeFaint(context, String(p), left - 6, y(p), { align: "right" });
    context.fillStyle = themeColour("--line");
    context.fillRect(left, y(p), plotWidth, 0.7);
  }
  const labelEvery = Math.max(1, Math.ceil(E * 30 / plotWidth));
  for (const { name, start, end } of RUNS) {
    for (let e = start; e < end; e += labelEvery) {
      writeFaint(context, String(head.epochs[e]), x(e), height - 8, { align: "center" });
    }
    if (isPair) writeFaint(context, name, x(start), 8, { maxWidth: x(end - 1) - x(start) + 24 });
  }

  const lines = probabilityLines(i, probabilities, topClasses);
  for (const { c, values } of lines) drawLine(context, c, values, c === labels[i], x, y);
  const lastValue = ({ values }) => values.findLast(p => !Number.isNaN(p)) || 0;
  const ranked = [...lines].sort((a, b) => lastValue(b) - lastValue(a));
  const named = ranked.filter(({ c }, rank) => c === labels[i] || rank < 4);
  // as near to the ends of their lines as they can stand without touching each other or the ticks below
  const places = named.map(line => y(lastValue(line)));
  for (let rank = 1; rank < places.length; rank++) places[rank] = Math.max(places[rank], places[rank - 1] + 13);
  places.forEach((place, rank) => { places[rank] = Math.min(place, base + 8 - 13 * (places.length - 1 - rank)); });
  for (const [rank, line] of named.entries()) {
    const nameY = places[rank];
    const name = `${nameOfClass(line.c)}${line.c === labels[i] ? " ✓" : ""}`;
    write(context, name, width - right + 6, nameY, { colour: colourOfClass(line.c), maxWidth: right - 8 });
  }
  drawPredictedClasses(context, i, x, base);

  const note = describeProbabilities(i, lines.length > 0);
  element("detail-note").textContent = `${note}; squares: the predicted class, hollow where incorrect.`;
  canvas.setAttribute("aria-label", `probabilities of ${nameOf(i)} over the epochs`);
}

function describeProbabilities(i, hasLines) {
  if (!hasLines) return "No probabilities";
  if (!head.probabilities || placeIn(head.probabilities, i) < 0) {
    return `Probability of the label${head.probabilities ? ": only a sample of the images has those of other classes" : ""}`;
  }
  if (!head.probabilities.is_top) return "Probability of each class, of the label thick";
  return `Probability of the label (thick) and, at each epoch, of the ${head.probabilities.top} likeliest classes: `
    + "at other epochs a class has no line";
}

// A line per class that matters: {c, values [E]}, NaN where there is no prediction or the class is not among the likeliest.
function probabilityLines(i, probabilities, topClasses) {
  const epochs = [...Array(E).keys()];
  const valuesOf = probabilityAt => epochs.map(e => predictedAt(i, e) === MISSING ? NaN : probabilityAt(e));
  const labelLine = pTrue && labels[i] !== UNKNOWN ? { c: labels[i], values: valuesOf(e => pTrue[i * E + e] / P_TRUE_STEPS) } : null;
  const place = probabilities ? placeIn(head.probabilities, i) : -1;
  if (place < 0) return labelLine ? [labelLine] : [];
  const { steps, is_top: isTop, top } = head.probabilities;
  const probabilityOf = (c, e) => {
    if (!isTop) return probabilities[(place * E + e) * K + c] / steps;
    const start = (place * E + e) * top;
    const rank = topClasses.subarray(start, start + top).indexOf(c);
    return rank < 0 ? NaN : probabilities[start + rank] / steps;
  };
  const classes = isTop
    ? [...new Set(topClasses.subarray(place * E * top, (place + 1) * E * top))].filter(c => c !== MISSING) : [...head.classes.keys()];
  const lines = classes.map(c => ({ c, values: valuesOf(e => probabilityOf(c, e)) }));
  const others = lines.filter(({ c, values }) => c !== labelLine?.c && values.some(p => p > 0.05));
  const ofLabel = isTop ? labelLine : lines[labels[i]];
  return ofLabel ? [ofLabel, ...others] : others;
}

function drawLine(context, c, values, isLabel, x, y) {
  context.beginPath();
  let isDrawing = false;
  values.forEach((p, e) => {
    if (Number.isNaN(p)) isDrawing = false;
    else if (isDrawing && e !== RUNS[runOf(e)].start) context.lineTo(x(e), y(p));
    else {
      context.moveTo(x(e), y(p));
      isDrawing = true;
    }
  });
  context.strokeStyle = colourOfClass(c);
  context.lineWidth = isLabel ? 3 : 1.3;
  context.stroke();
}

function drawPredictedClasses(context, i, x, base) {
  context.lineWidth = 1.5;
  for (let e = 0; e < E; e++) {
    if (predictedAt(i, e) === MISSING) continue;
    context.fillStyle = context.strokeStyle = colourOfClass(predictedAt(i, e));
    if (labels[i] === UNKNOWN || isCorrect(i, e)) context.fillRect(x(e) - 3, base + 3, 6, 6);
    else context.strokeRect(x(e) - 2.5, base + 3.5, 5, 5);
  }
}

function mapsOf(i) {
  const maps = [];
  head.maps.instances.forEach((instance, index) => {
    if (instance !== i) return;
    const [epoch, target, kind, run] = head.maps.rows[index];
    const { name, target_kind: targetKind, signed } = head.maps.kinds[kind];
    const column = `${isPair ? `${RUNS[run].name}\n` : ""}epoch ${epoch}`;
    maps.push({ index, epoch, run, target, name, signed, column, row: `${name}\n${targetKind}` });
  });
  return maps;
}

// Heatmaps. Methods with maps of several epochs are rows of a grid, with the epochs of each run across; those with one map
// of a run stand beside each other. The caption of a map names the class it explains.
function drawMaps(i, packed) {
  const box = element("maps");
  const maps = mapsOf(i);
  element("map-legend").replaceChildren();
  if (!maps.length || !packed) {
    explainMissingMaps(box, i);
    return;
  }
  element("map-legend").replaceChildren(makeMapLegend(maps));
  const brightness = brightnessOf(i);
  const inOrder = [...maps].sort((a, b) => a.run - b.run || a.epoch - b.epoch);
  const rows = [...new Set(maps.map(map => map.row))].map(row => [row, inOrder.filter(map => map.row === row)]);
  const isSeries = mapsOfRow => new Set(mapsOfRow.map(map => map.run)).size < mapsOfRow.length;
  const single = document.createElement("div");
  single.className = "single-maps";
  for (const [row, mapsOfRow] of rows) {
    if (isSeries(mapsOfRow)) continue;
    const method = document.createElement("div");
    method.append(textElement("span", row), ...mapsOfRow.map(map => makeMapFigure(map, packed, brightness, `${map.column}\n`)));
    single.append(method);
  }
  const series = makeMapGrid(rows.filter(([, mapsOfRow]) => isSeries(mapsOfRow)), packed, brightness);
  const scrolledTo = instanceOfMaps === i ? box.querySelector(".map-series")?.scrollLeft : null;
  box.replaceChildren(single, series);
  series.scrollLeft = scrolledTo ?? series.scrollWidth; // at first, to the last epoch
  instanceOfMaps = i;
}

function makeMapGrid(rows, packed, brightness) {
  const grid = document.createElement("div");
  grid.className = "map-series";
  const inOrder = rows.flatMap(([, maps]) => maps).sort((a, b) => a.run - b.run || a.epoch - b.epoch);
  const columns = [...new Set(inOrder.map(map => map.column))];
  grid.style.gridTemplateColumns = `max-content repeat(${columns.length}, max-content)`;
  const addName = text => {
    const name = textElement("span", text);
    name.className = "map-row"; // stays in sight
    grid.append(name);
  };
  if (rows.length) addName("");
  grid.append(...columns.map(column => textElement("span", column)));
  for (const [row, maps] of rows) {
    addName(row);
    for (const column of columns) {
      const map = maps.find(candidate => candidate.column === column);
      grid.append(map ? makeMapFigure(map, packed, brightness) : document.createElement("i"));
    }
  }
  return grid;
}

// For the images of the first one's split; of two runs, one command each.
function explainCommand(instances) {
  if (!instances.length || isImported) return "";
  const split = splitIndices[instances[0]];
  const ids = instances.filter(i => splitIndices[i] === split).map(i => instanceIds[i]);
  return RUNS.map(run => `study explain ${run.run_id.slice(0, 8)} --method saliency integrated_gradients --epochs last `
    + `--split ${head.splits[split]} --instances ${ids.join(",")}`).join(" && ");
}

function explainMissingMaps(box, i) {
  if (isImported) {
    box.textContent = "No heatmaps: an imported run has no checkpoints to explain.";
    return;
  }
  box.textContent = head.maps.instances.length ? "No heatmap of this image; make some: " : "No heatmaps yet; make some: ";
  const command = document.createElement("code");
  command.textContent = explainCommand([i]);
  box.append(command);
}

function textElement(tag, text) {
  const created = document.createElement(tag);
  created.textContent = text;
  created.style.whiteSpace = "pre-line";
  return created;
}

function makeMapFigure(map, packed, brightness, epoch = "") {
  const longerSide = Math.max(head.maps.height, head.maps.width);
  const factor = wholeMultiple(longerSide, PICTURE_SIDE);
  const drawn = drawMapPixels(unpackMap(packed, map.index), brightness, map.signed, factor);
  const canvas = document.createElement("canvas");
  fixSize(canvas, drawn.width, drawn.height);
  canvas.getContext("2d").putImageData(new ImageData(drawn.pixels, drawn.width, drawn.height), 0, 0);
  const figure = document.createElement("figure");
  const [least, greatest] = STYLE.ends[styleOf(map.signed)];
  canvas.title = `${map.name}, ${map.column.replace("\n", ", ")}, explains ${nameOfClass(map.target)}; `
    + `from ${least} to ${greatest}`;
  figure.append(canvas, textElement("figcaption", `${epoch}${nameOfClass(map.target)}`));
  return figure;
}

// The mean of an image's channels, 0..1, in the pixels of a heatmap; without pictures, that of a grey one.
function brightnessOf(i) {
  const { height, width } = head.maps;
  if (!hasPicture(i)) return new Float32Array(height * width).fill(0.5);
  const side = Math.max(height, width);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  drawThumbnail(context, i, (width - side) / 2, (height - side) / 2, side);
  const { data } = context.getImageData(0, 0, width, height);
  return Float32Array.from({ length: height * width }, (_, p) => (data[4 * p] + data[4 * p + 1] + data[4 * p + 2]) / 765);
}

// What is drawn into the maps, and a bar of the colours of each kind of map shown.
function makeMapLegend(maps) {
  const legend = document.createElement("div");
  legend.className = "map-legend";
  legend.append(textElement("span", STYLE.note));
  for (const signed of [true, false]) {
    if (!maps.some(map => map.signed === signed)) continue;
    const bar = document.createElement("canvas");
    bar.width = 256;
    bar.height = 1;
    const context = bar.getContext("2d");
    const picture = context.createImageData(256, 1);
    const table = colourTables[styleOf(signed)];
    for (let p = 0; p < 256; p++) picture.data.set([...table.subarray(3 * p, 3 * p + 3), 255], 4 * p);
    context.putImageData(picture, 0, 0);
    const [least, greatest] = STYLE.ends[styleOf(signed)];
    const item = document.createElement("span");
    item.append(`${least} `, bar, ` ${greatest}`);
    legend.append(item);
  }
  return legend;
}

element("close-detail").onclick = closeDetail;
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && openInstance !== null) closeDetail();
});
