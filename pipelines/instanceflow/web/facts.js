// What follows from the predictions. Definitions are those of the queries named in each comment.

// Epoch before and after at which the instance was predicted, over the whole run; -1 if there is none.
function previousPrediction(i, e) {
  const { start } = RUNS[runOf(e)];
  do e--; while (e >= start && predictedAt(i, e) === MISSING);
  return e >= start ? e : -1;
}

function nextPrediction(i, e) {
  const { end } = RUNS[runOf(e)];
  do e++; while (e < end && predictedAt(i, e) === MISSING);
  return e < end ? e : -1;
}

// flow_nodes: in, stable, inout or out, by the neighbouring predictions in the whole run.
const KINDS = ["in", "stable", "inout", "out"];
const [IN, STABLE, INOUT, OUT] = KINDS.keys();
function kindOf(i, e) {
  const previous = previousPrediction(i, e);
  const next = nextPrediction(i, e);
  const here = predictedAt(i, e);
  const comes = previous >= 0 && predictedAt(i, previous) !== here;
  const goes = next >= 0 && predictedAt(i, next) !== here;
  if (comes) return goes ? INOUT : IN;
  return goes ? OUT : STABLE;
}

// transition_outcomes
const OUTCOMES = ["fixed", "broken", "rerouted", "kept", "stuck", "unlabelled"];
const [FIXED, BROKEN, REROUTED, KEPT, STUCK, UNLABELLED] = OUTCOMES.keys();
const MOVES = [FIXED, BROKEN, REROUTED]; // those that change a prediction
const JUDGED = [KEPT, FIXED, BROKEN, REROUTED, STUCK]; // those of images with a label
function outcomeOf(label, from, to) {
  if (label === UNKNOWN) return UNLABELLED;
  if (from === label) return to === label ? KEPT : BROKEN;
  if (to === label) return FIXED;
  return from === to ? STUCK : REROUTED;
}

// Of outcomes between two runs, or between the first and the last chosen epoch of one.
const COMPARED_NAMES = isPair ? {
  [KEPT]: "both correct", [FIXED]: "fixed", [BROKEN]: "broken", [REROUTED]: "both incorrect, differently",
  [STUCK]: "both incorrect, alike",
} : {
  [KEPT]: "correct at both", [FIXED]: "fixed", [BROKEN]: "broken", [REROUTED]: "incorrect at both, differently",
  [STUCK]: "incorrect at both, alike",
};

// transition_outcomes and accuracy_by_epoch of some instances: counts of outcomes into each epoch [E][6], of which the
// first of a run has none, and how many labelled instances are predicted, and correct, at each epoch [E].
function outcomesOverTime(instances) {
  const counts = Array.from({ length: E }, () => new Int32Array(OUTCOMES.length));
  const correct = new Int32Array(E);
  const n = new Int32Array(E);
  for (const i of instances) {
    let last = MISSING;
    for (let e = 0; e < E; e++) {
      if (isPair && e === RUNS[1].start) last = MISSING;
      const now = predictedAt(i, e);
      if (now === MISSING) continue;
      if (labels[i] !== UNKNOWN) {
        n[e]++;
        correct[e] += now === labels[i];
      }
      if (last !== MISSING) counts[e][outcomeOf(labels[i], last, now)]++;
      last = now;
    }
  }
  return { counts, correct, n };
}

// The same of all images of true classes and splits, given as places, where the page has a sample of them.
const TOTALS = 2 + OUTCOMES.length; // per split, true class and epoch: labelled images, correct ones, outcomes
function outcomesOfAll(classes, splits) {
  const counts = Array.from({ length: E }, () => new Int32Array(OUTCOMES.length));
  const correct = new Int32Array(E);
  const n = new Int32Array(E);
  const labelsCounted = classes.length === K ? [...classes, K] : classes; // K: unknown
  for (const split of splits) {
    for (const c of labelsCounted) {
      for (let e = 0; e < E; e++) {
        const start = ((split * (K + 1) + c) * E + e) * TOTALS;
        n[e] += totals[start];
        correct[e] += totals[start + 1];
        for (let outcome = 0; outcome < OUTCOMES.length; outcome++) counts[e][outcome] += totals[start + 2 + outcome];
      }
    }
  }
  return { counts, correct, n };
}

// compared_flow and compared_instances: the outcome between an epoch of one run and one of another, or of the same;
// undefined if either has no prediction.
function comparedOutcome(i, e, f) {
  if (predictedAt(i, e) === MISSING || predictedAt(i, f) === MISSING) return undefined;
  return outcomeOf(labels[i], predictedAt(i, e), predictedAt(i, f));
}

const movesInto = ({ counts }, e) => MOVES.reduce((sum, outcome) => sum + counts[e][outcome], 0);

// instance_metrics of every instance over a range of a run's epochs, [N] each; NaN is null.
const METRICS = ["n", "correct", "other", "score_raw", "frequency_raw", "n_classes_visited", "forgetting", "first_learned",
  "confidence", "p_true_std", "aum"];
function metrics(from, to, isShown) {
  const values = Object.fromEntries(METRICS.map(name => [name, new Float32Array(N)]));
  const lastVisitor = new Int32Array(K).fill(-1); // by class, so that nothing is cleared between instances
  for (let i = 0; i < N; i++) measureInstance(i, from, to, isShown, lastVisitor, values);
  return values;
}

function measureInstance(i, from, to, isShown, lastVisitor, values) {
  const label = labels[i];
  const isLabelled = label !== UNKNOWN;
  let n = 0, correct = 0, other = 0, changes = 0, visited = 0, forgotten = 0;
  let firstLearned = NaN;
  let last = MISSING;
  let sum = 0, squares = 0, marginSum = 0;
  for (let e = from, cell = i * E + from; e <= to; e++, cell++) {
    const now = predicted[cell];
    if (now === MISSING) continue;
    n++;
    if (now === label) {
      correct++;
      if (Number.isNaN(firstLearned)) firstLearned = head.epochs[e];
    } else if (!isShown[now]) other++;
    if (lastVisitor[now] !== i) {
      lastVisitor[now] = i;
      visited++;
    }
    if (last !== MISSING && last !== now) {
      changes++;
      forgotten += last === label;
    }
    last = now;
    if (pTrue) {
      const p = pTrue[cell] / P_TRUE_STEPS;
      sum += p;
      squares += p * p;
    }
    if (margins) marginSum += margins[cell] / 100;
  }
  const mean = sum / n;
  const hasProbability = isLabelled && pTrue;
  values.n[i] = n;
  values.correct[i] = correct;
  values.other[i] = other;
  values.score_raw[i] = isLabelled ? n - correct : NaN;
  values.frequency_raw[i] = changes;
  values.n_classes_visited[i] = visited;
  values.forgetting[i] = isLabelled ? forgotten : NaN;
  values.first_learned[i] = firstLearned;
  values.confidence[i] = hasProbability ? mean : NaN;
  values.p_true_std[i] = hasProbability && n > 1 ? Math.sqrt(Math.max(0, squares / n - mean * mean)) : NaN;
  values.aum[i] = isLabelled && margins ? marginSum / n : NaN;
}

// Whether a labelled instance is misclassified in a range of epochs.
function isEverIncorrect(i, from, to) {
  if (labels[i] === UNKNOWN) return false;
  for (let e = from; e <= to; e++) if (predictedAt(i, e) !== MISSING && !isCorrect(i, e)) return true;
  return false;
}

// Classes predicted of an instance in a range of epochs, ascending.
function visitedClasses(i, from, to) {
  const classes = new Set();
  for (let e = from; e <= to; e++) if (predictedAt(i, e) !== MISSING) classes.add(predictedAt(i, e));
  return [...classes].sort((a, b) => a - b);
}

// InstanceFlow's opacities, 0..1, rounded to two digits as it does.
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

// What the table can be grouped by, as a number; the same for all without grouping.
const GROUPS = { none: () => 0, label: i => labels[i], predicted: (i, e) => predictedAt(i, e) };

// Epochs shown as columns: every stride-th of the range.
function columnsOf(from, to, stride) {
  const columns = [];
  for (let e = from; e <= to; e += stride) columns.push(e);
  return columns;
}

// Whether the move from epoch e to f, the columns beside each other, is undone by the next one or undoes the last one.
function isFlicker(i, e, f, stride) {
  const { start, end } = RUNS[runOf(e)];
  if (f >= end) return false; // from one run to another
  const before = e - stride;
  const after = f + stride;
  const isUndone = after < end && predictedAt(i, after) === predictedAt(i, e);
  const undoes = before >= start && predictedAt(i, before) === predictedAt(i, f);
  return isUndone || undoes;
}

// flow_links and flow_nodes of some instances. `rowOf` maps a class to its row in the flow, `names` are the rows'.
// links: [{column, source, target, label, wasCorrect, isCorrect, n}], including those that stay in a row if `stays`;
// nodes: [column][row]. Images of a class that shares a row are correct or not within it.
function flows(instances, columns, { rowOf, names }, { flicker, stays, stride }) {
  const nodes = columns.map(() => Array.from({ length: names.length }, () => ({ n: 0, correct: 0 })));
  const links = new Map();
  let hidden = 0;
  for (const i of instances) {
    for (let column = 0; column < columns.length; column++) {
      const now = predictedAt(i, columns[column]);
      if (now === MISSING) continue;
      const node = nodes[column][rowOf[now]];
      node.n++;
      node.correct += now === labels[i];
      if (column + 1 === columns.length) continue;
      const next = predictedAt(i, columns[column + 1]);
      if (next === MISSING || (rowOf[next] === rowOf[now] && !stays)) continue;
      if (flicker && next !== now && isFlicker(i, columns[column], columns[column + 1], stride)) {
        hidden++;
        continue;
      }
      addToLink(links, column, rowOf[now], rowOf[next], labels[i], now === labels[i], next === labels[i]);
    }
  }
  return { nodes, links: [...links.values()], hidden };
}

function addToLink(links, column, source, target, label, wasCorrect, isCorrect) {
  const size = K + 3; // more than there are rows, and labels with UNKNOWN
  const key = (((column * size + source) * size + target) * size + label + 1) * 4 + 2 * wasCorrect + isCorrect;
  const link = links.get(key);
  if (link) link.n++;
  else links.set(key, { column, source, target, label, wasCorrect, isCorrect, n: 1 });
}

// confusion_by_epoch: counts [true row][predicted column][epoch], and images of a row [true row][epoch].
function confusion(instances, rowOf, size) {
  const counts = Array.from({ length: size }, () => Array.from({ length: size }, () => new Float32Array(E)));
  const totals = Array.from({ length: size }, () => new Float32Array(E));
  for (const i of instances) {
    const row = labels[i] === UNKNOWN ? -1 : rowOf[labels[i]];
    if (row < 0 || row >= size) continue;
    for (let e = 0; e < E; e++) {
      if (predictedAt(i, e) === MISSING) continue;
      totals[row][e]++;
      counts[row][rowOf[predictedAt(i, e)]][e]++;
    }
  }
  return { counts, totals };
}

// confused_pairs: for every pair of classes a < b, how many images were misclassified as the other, either way.
function confusedPairs(e) {
  const pairs = new Map();
  for (let i = 0; i < N; i++) {
    const now = predictedAt(i, e);
    if (labels[i] === UNKNOWN || now === MISSING || now === labels[i]) continue;
    const a = Math.min(labels[i], now);
    const b = Math.max(labels[i], now);
    const pair = pairs.get(a * K + b);
    if (pair) pair.n++;
    else pairs.set(a * K + b, { a, b, n: 1 });
  }
  return [...pairs.values()];
}

// Of some classes at most `count`, in their order: those of the pairs confused most at an epoch.
function mostConfusedClasses(classes, e, count) {
  if (classes.length <= count) return classes;
  const given = new Set(classes);
  const chosen = new Set();
  const pairs = confusedPairs(e).filter(({ a, b }) => given.has(a) && given.has(b));
  for (const { a, b } of pairs.sort((one, other) => other.n - one.n || one.a - other.a || one.b - other.b)) {
    for (const c of [a, b]) if (chosen.size < count) chosen.add(c);
  }
  for (const c of classes) if (chosen.size < count) chosen.add(c); // few are confused
  return classes.filter(c => chosen.has(c));
}

// Classes in an order that puts those often confused at an epoch together: from the first on, always the nearest.
function similarOrder(classes, e) {
  const confusions = new Map();
  for (const { a, b, n } of confusedPairs(e)) {
    confusions.set(a * K + b, n);
    confusions.set(b * K + a, n);
  }
  const remaining = new Set(classes);
  const order = [];
  let nearest = classes[0];
  while (remaining.size) {
    order.push(nearest);
    remaining.delete(nearest);
    const confusionsWithLast = c => confusions.get(order.at(-1) * K + c) ?? 0;
    const [first, ...others] = remaining;
    nearest = others.reduce((best, c) => confusionsWithLast(c) > confusionsWithLast(best) ? c : best, first);
  }
  return order;
}
