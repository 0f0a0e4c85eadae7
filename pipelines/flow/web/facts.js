// What follows from the predictions. Definitions are those of the queries named in each comment.

// Epoch before and after at which the instance was predicted, over the whole run; -1 if there is none.
function before(i, e) { do e--; while (e >= 0 && at(i, e) === MISSING); return e; }
function after(i, e) { do e++; while (e < E && at(i, e) === MISSING); return e < E ? e : -1; }

// flow_nodes: in, stable, out or inout, by the neighbours in the full run.
const KINDS = ["in", "stable", "inout", "out"];
function kindOf(i, e) {
  const p = before(i, e), q = after(i, e), here = at(i, e);
  const comes = p >= 0 && at(i, p) !== here, goes = q >= 0 && at(i, q) !== here;
  return comes ? (goes ? 2 : 0) : goes ? 3 : 1;
}

// transition_outcomes
const OUTCOMES = ["fixed", "broken", "rerouted", "kept", "stuck", "unlabelled"];
const [FIXED, BROKEN, REROUTED, KEPT, STUCK, UNLABELLED] = OUTCOMES.keys();
function outcomeOf(truth, from, to) {
  if (truth === UNKNOWN) return UNLABELLED;
  if (from === truth) return to === truth ? KEPT : BROKEN;
  return to === truth ? FIXED : from === to ? STUCK : REROUTED;
}

// transition_outcomes and accuracy_by_epoch, of some instances: counts [E][6] into each epoch, and right and n [E].
function outcomesOverTime(rows) {
  const counts = Array.from({ length: E }, () => new Int32Array(6));
  const right = new Int32Array(E), n = new Int32Array(E);
  for (const i of rows) {
    let last = MISSING;
    for (let e = 0; e < E; e++) {
      const now = at(i, e);
      if (now === MISSING) continue;
      if (label[i] !== UNKNOWN) { n[e]++; right[e] += now === label[i]; }
      if (last !== MISSING) counts[e][outcomeOf(label[i], last, now)]++;
      last = now;
    }
  }
  return { counts, right, n };
}

// instance_metrics of every instance over a range of epochs; NaN is null.
const METRICS = ["n", "correct", "other", "score_raw", "frequency_raw", "n_classes_visited", "forgetting", "first_learned",
  "confidence", "p_true_std", "aum"];
function metrics(from, to, isShown) {
  const found = Object.fromEntries(METRICS.map(name => [name, new Float32Array(N)]));
  const stamp = new Int32Array(K).fill(-1);
  for (let i = 0; i < N; i++) measure(i, from, to, isShown, stamp, found);
  return found;
}

function measure(i, from, to, isShown, stamp, found) {
  const truth = label[i], known = truth !== UNKNOWN;
  let n = 0, correct = 0, other = 0, changes = 0, visited = 0, forgotten = 0, first = NaN, last = MISSING;
  let sum = 0, squares = 0, margins = 0;
  for (let e = from, k = i * E + from; e <= to; e++, k++) {
    const now = predicted[k];
    if (now === MISSING) continue;
    n++;
    if (now === truth) { correct++; if (first !== first) first = head.epochs[e]; }
    else if (!isShown[now]) other++;
    if (stamp[now] !== i) { stamp[now] = i; visited++; }
    if (last !== MISSING && last !== now) { changes++; forgotten += last === truth; }
    last = now;
    if (pTrue) { const p = pTrue[k] / 65535; sum += p; squares += p * p; }
    if (margin) margins += margin[k] / 100;
  }
  const mean = sum / n;
  found.n[i] = n;
  found.correct[i] = correct;
  found.other[i] = other;
  found.score_raw[i] = known ? n - correct : NaN;
  found.frequency_raw[i] = changes;
  found.n_classes_visited[i] = visited;
  found.forgetting[i] = known ? forgotten : NaN;
  found.first_learned[i] = first;
  found.confidence[i] = known && pTrue ? mean : NaN;
  found.p_true_std[i] = known && pTrue && n > 1 ? Math.sqrt(Math.max(0, squares / n - mean * mean)) : NaN;
  found.aum[i] = known && margin ? margins / n : NaN;
}

function visitedBy(i, from, to) {
  const found = new Set();
  for (let e = from; e <= to; e++) if (at(i, e) !== MISSING) found.add(at(i, e));
  return [...found].sort((a, b) => a - b);
}

// InstanceFlow's opacities, 0..1, with its rounding to two digits.
const OPACITIES = {
  none: () => 1,
  "incorrect ratio": (m, i) => m.score_raw[i] / m.n[i],
  "visited classes": (m, i) => m.n_classes_visited[i] / K,
  frequency: (m, i) => m.frequency_raw[i] / (m.n[i] - 1),
};
function opacityOf(name, m, i) {
  if (name === "none") return 1;
  const value = Math.round(OPACITIES[name](m, i) * 100) / 100;
  return Number.isNaN(value) ? 1 : Math.max(value, 0.1);
}

// Epochs shown as columns: every stride-th of the range.
function columnsOf(from, to, stride) {
  const found = [];
  for (let e = from; e <= to; e += stride) found.push(e);
  return found;
}

// Whether the move between two columns is undone by the next one, or undoes the one before.
function isFlicker(i, e, f, stride) {
  const p = e - stride, q = f + stride;
  return (q < E && at(i, q) === at(i, e)) || (p >= 0 && at(i, p) === at(i, f));
}

// flow_links and flow_nodes of some instances. `place` maps a class to its row in the flow, `names` are the rows'.
// links: [{column, source, target, truth, n}], those that stay in a row if asked for; nodes: [column][row] of counts.
function flows(rows, columns, { place, names }, { flicker, stays, stride }) {
  const nodes = columns.map(() => Array.from({ length: names.length }, () => ({ n: 0, right: 0 })));
  const links = new Map();
  let hidden = 0;
  for (const i of rows) {
    for (let c = 0; c < columns.length; c++) {
      const e = columns[c], now = at(i, e);
      if (now === MISSING) continue;
      const node = nodes[c][place[now]];
      node.n++;
      node.right += now === label[i];
      const next = c + 1 < columns.length ? at(i, columns[c + 1]) : MISSING;
      if (next === MISSING || (place[next] === place[now] && !stays)) continue;
      if (flicker && next !== now && isFlicker(i, e, columns[c + 1], stride)) { hidden++; continue; }
      addLink(links, c, place[now], place[next], label[i], place.length + 2);
    }
  }
  return { nodes, links: [...links.values()], hidden };
}

function addLink(links, column, source, target, truth, size) {
  const key = ((column * size + source) * size + target) * size + truth + 1;
  const link = links.get(key);
  if (link) link.n++;
  else links.set(key, { column, source, target, truth, n: 1 });
}

// confusion_by_epoch: counts [true row][predicted column][epoch], and images of a row [true row][epoch].
function confusion(rows, place, size) {
  const counts = Array.from({ length: size }, () => Array.from({ length: size }, () => new Float32Array(E)));
  const totals = Array.from({ length: size }, () => new Float32Array(E));
  for (const i of rows) {
    const row = label[i] === UNKNOWN ? -1 : place[label[i]];
    if (row < 0 || row >= size) continue;
    for (let e = 0; e < E; e++) {
      if (at(i, e) === MISSING) continue;
      totals[row][e]++;
      counts[row][place[at(i, e)]][e]++;
    }
  }
  return { counts, totals };
}

// confused_pairs: of every two classes a < b how many images were misclassified as the other, either way, at an epoch.
function mistakenPairs(e) {
  const pairs = new Map();
  for (let i = 0; i < N; i++) {
    const now = at(i, e);
    if (label[i] === UNKNOWN || now === MISSING || now === label[i]) continue;
    const a = Math.min(label[i], now), b = Math.max(label[i], now), known = pairs.get(a * K + b);
    if (known) known.n++; else pairs.set(a * K + b, { a, b, n: 1 });
  }
  return [...pairs.values()];
}

// Classes so that those often taken for each other at an epoch stand together: from the first on, always the nearest.
function similarOrder(classes, e) {
  const between = new Map();
  for (const { a, b, n } of mistakenPairs(e)) between.set(a * K + b, n).set(b * K + a, n);
  const left = new Set(classes), order = [];
  for (let here = classes[0]; left.size;) {
    order.push(here);
    left.delete(here);
    const near = c => between.get(order.at(-1) * K + c) ?? 0;
    here = [...left].reduce((best, c) => near(c) > near(best) ? c : best, [...left][0]);
  }
  return order;
}
