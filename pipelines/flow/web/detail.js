// One image: large, its probabilities over the epochs, and its heatmaps.

const detail = document.getElementById("detail");
let opened = null, opener = null; // the instance, and where the keyboard was before

async function openDetail(i) {
  opened = i;
  if (detail.hidden) {
    opener = document.activeElement;
    detail.hidden = false;
    document.getElementById("close-detail").focus({ preventScroll: true });
  }
  document.getElementById("detail-title").textContent = `${nameOf(i)}: ${classOf(label[i])}`;
  drawLarge(i);
  document.getElementById("detail-facts").textContent = factsOf(i);
  drawLines(i, await unpackOnce("probabilities"));
  drawMaps(i, await unpackOnce("maps"));
  writeQueries();
}

function closeDetail() {
  opened = null;
  detail.hidden = true;
  opener?.focus({ preventScroll: true });
  writeQueries();
}

function drawLarge(i) {
  const canvas = document.getElementById("large");
  canvas.hidden = !sprite;
  canvas.width = canvas.height = 192;
  drawThumbnail(canvas.getContext("2d"), i, 0, 0, 192);
}

function factsOf(i) {
  const m = derived.metrics, here = at(i, state.to);
  const visited = visitedBy(i, state.from, state.to).map(classOf).join(", ");
  const shown = (name, digits) => round(m[name][i], digits) || "–";
  return [`${epochName(state.to)}: ${here === MISSING ? "not predicted" : `predicted ${classOf(here)}`}`,
    `In epochs ${head.epochs[state.from]} to ${head.epochs[state.to]}:`,
    `wrong ${shown("score_raw", 0)} of ${m.n[i]} times, ${m.frequency_raw[i]} changes`,
    `forgotten ${shown("forgetting", 0)} times`,
    `learned at ${shown("first_learned", 0)}; visited ${visited}`,
    `confidence ${shown("confidence", 3)} ± ${shown("p_true_std", 3)}, margin ${shown("aum", 2)}`,
    head.splits.length > 1 ? `split ${head.splits[splitOf[i]]}` : ""].join("\n");
}

// Softmax probability of every class, or of the label alone where the page has no more.
function drawLines(i, probabilities) {
  const canvas = document.getElementById("lines"), { context, width, height } = prepare(canvas, 204, canvas.clientWidth);
  const left = 34, right = 92, top = 8, base = height - 34;
  const x = e => left + (E > 1 ? e / (E - 1) : 0.5) * (width - left - right), y = p => base - p * (base - top);
  for (const p of [0, 0.5, 1]) {
    writeFaint(context, String(p), left - 6, y(p), { align: "right" });
    context.fillStyle = css("--line");
    context.fillRect(left, y(p), width - left - right, 0.7);
  }
  const step = Math.max(1, Math.ceil(E * 30 / (width - left - right)));
  for (let e = 0; e < E; e += step) writeFaint(context, String(head.epochs[e]), x(e), height - 8, { align: "center" });
  const lines = linesOf(i, probabilities);
  for (const { c, values } of lines) drawLine(context, c, values, c === label[i], x, y);
  let last = -Infinity;
  const end = ({ values }) => values.at(-1) || 0, ranked = [...lines].sort((a, b) => end(b) - end(a));
  for (const { c, values } of ranked.filter(({ c }, k) => c === label[i] || k < 4)) {
    last = Math.max(last + 13, y(values.at(-1) || 0));
    const name = `${classOf(c)}${c === label[i] ? " ✓" : ""}`, style = { colour: colourOfClass(c), most: right - 8 };
    write(context, name, width - right + 6, last, style);
  }
  drawGuesses(context, i, x, base);
  const said = !lines.length ? "No probabilities" : probabilities ? "Probability of each class, the label's thick" : "Probability of the label";
  document.getElementById("detail-note").textContent = `${said}; squares: the predicted class, hollow where wrong.`;
  canvas.setAttribute("aria-label", `probabilities of ${nameOf(i)} over the epochs`);
}

function linesOf(i, probabilities) {
  const epochs = [...Array(E).keys()];
  if (probabilities) {
    const values = c => epochs.map(e => at(i, e) === MISSING ? NaN : probabilities[(i * E + e) * K + c] / head.probability_steps);
    const matters = ({ c, values }) => c === label[i] || values.some(p => p > 0.05);
    return [...Array(K).keys()].map(c => ({ c, values: values(c) })).filter(matters);
  }
  if (!pTrue || label[i] === UNKNOWN) return [];
  return [{ c: label[i], values: epochs.map(e => at(i, e) === MISSING ? NaN : pTrue[i * E + e] / 65535) }];
}

function drawLine(context, c, values, isOwn, x, y) {
  context.beginPath();
  let pen = false;
  values.forEach((p, e) => {
    if (p !== p) { pen = false; return; }
    if (pen) context.lineTo(x(e), y(p)); else context.moveTo(x(e), y(p));
    pen = true;
  });
  context.strokeStyle = colourOfClass(c);
  context.lineWidth = isOwn ? 3 : 1.3;
  context.stroke();
}

function drawGuesses(context, i, x, base) {
  for (let e = 0; e < E; e++) {
    if (at(i, e) === MISSING) continue;
    context.fillStyle = context.strokeStyle = colourOfClass(at(i, e));
    context.lineWidth = 1.5;
    if (label[i] === UNKNOWN || isRight(i, e)) context.fillRect(x(e) - 3, base + 3, 6, 6);
    else context.strokeRect(x(e) - 2.5, base + 3.5, 5, 5);
  }
}

function mapsOf(i) {
  const found = [];
  head.maps.instances.forEach((instance, place) => {
    if (instance !== i) return;
    const [epoch, target, kind] = head.maps.rows[place];
    found.push({ place, epoch, target, ...head.maps.kinds[kind] });
  });
  return found;
}

// Heatmaps: methods down, epochs across; a map was made for the class its caption names.
function drawMaps(i, values) {
  const box = document.getElementById("maps"), own = mapsOf(i);
  if (!own.length || !values) {
    box.style.gridTemplateColumns = "";
    if (head.kind === "import") { box.textContent = "No heatmaps: an imported run has no checkpoints to explain."; return; }
    box.textContent = head.maps.instances.length ? "No heatmap of this image; make some:" : "No heatmaps yet; make some:";
    const line = document.createElement("code");
    line.textContent = `study explain ${head.run_id.slice(0, 8)} --method saliency integrated_gradients --epochs all ` +
      `--split ${head.splits[splitOf[i]]} --instances ${instanceId[i]}`;
    box.append(line);
    return;
  }
  const epochs = [...new Set(own.map(row => row.epoch))].sort((a, b) => a - b);
  const kinds = [...new Set(own.map(row => `${row.method}|${row.target_kind}`))];
  box.style.gridTemplateColumns = `max-content repeat(${epochs.length}, max-content)`;
  const cells = [document.createElement("span"), ...epochs.map(epoch => text("span", `epoch ${epoch}`))];
  for (const kind of kinds) {
    cells.push(text("span", kind.replace("|", "\n")));
    for (const epoch of epochs) {
      const row = own.find(found => found.epoch === epoch && `${found.method}|${found.target_kind}` === kind);
      cells.push(row ? mapFigure(row, values) : document.createElement("span"));
    }
  }
  box.replaceChildren(...cells);
}

function text(tag, words) {
  const element = document.createElement(tag);
  element.textContent = words;
  element.style.whiteSpace = "pre-line";
  return element;
}

function mapFigure(row, values) {
  const { height, width } = head.maps;
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  const start = row.place * height * width;
  const colour = row.signed ? v => diverging((v - 128) / 127) : v => glow(v / 255);
  for (let p = 0; p < height * width; p++) picture.data.set(colour(values[start + p]), 4 * p);
  context.putImageData(picture, 0, 0);
  const key = row.signed ? "red speaks for it, blue against" : "bright: strong";
  canvas.title = `${row.method}, epoch ${row.epoch}, explains ${classOf(row.target)}; ${key}`;
  figure.append(canvas, text("figcaption", classOf(row.target)));
  return figure;
}

// Red for, white nothing, blue against; and black to yellow.
function diverging(v) {
  const fade = 1 - Math.min(1, Math.abs(v)), full = v > 0 ? [178, 24, 43] : [33, 102, 172];
  return [...full.map(part => part + (247 - part) * fade), 255];
}
function glow(v) {
  return [255 * Math.min(1, 1.6 * v), 255 * Math.max(0, 1.5 * v - 0.5), 255 * (v < 0.4 ? v : 0.4 * (1 - v)), 255];
}

document.getElementById("close-detail").onclick = closeDetail;
document.addEventListener("keydown", event => { if (event.key === "Escape" && opened !== null) closeDetail(); });
