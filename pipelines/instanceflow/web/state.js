// What is shown. One object; only `change` alters it, and every view redraws itself from it.

const INITIAL_COLUMNS = 8; // at most
const INITIAL_CLASSES = 20; // at most

// All classes, or if there are many, those that are confused most at the last epoch.
const initialClasses = () => mostConfusedClasses([...head.classes.keys()], RUNS[0].end - 1, INITIAL_CLASSES);

// From a network that guesses nearly all predictions change, which hides the rest: it is left out if there are others.
function firstTrained({ kind, start, end, is_trained: isTrained }) {
  const mayGuess = kind === "train" && head.epochs[start] === 0 && !isTrained;
  return mayGuess && end - start > 2 ? start + 1 : start;
}

// The epochs of a run between which most predictions change, at most INITIAL_COLUMNS: [first, last].
function busiestRange(run) {
  const outcomes = countOutcomes([...head.classes.keys()], [...head.splits.keys()], () => [...labels.keys()]);
  const first = firstTrained(run);
  const length = Math.min(INITIAL_COLUMNS, run.end - first);
  let [busiest, most] = [first, -1];
  for (let from = first; from + length <= run.end; from++) {
    let moves = 0;
    for (let e = from + 1; e < from + length; e++) moves += movesInto(outcomes, e);
    if (moves > most) [busiest, most] = [from, moves];
  }
  return [busiest, busiest + length - 1];
}

// What becomes of all images of some classes and splits, which a page of a sample was told; else of those on the page.
function countOutcomes(classes, splits, findMembers) {
  return totals ? outcomesOfAll(classes, splits) : outcomesOverTime(findMembers());
}

// The last epochs of a run, as many as fit side by side with those of all runs.
const lastRange = run => [Math.max(firstTrained(run), run.end - INITIAL_COLUMNS / RUNS.length), run.end - 1];

// What the state calls the first and the last epoch chosen of each run.
const RANGE_KEYS = [["from", "to"], ["otherFrom", "otherTo"]].slice(0, RUNS.length);

// A range of every run, as the state has it.
function rangesOf(rangeOfRun) {
  const ranges = {};
  RUNS.forEach((run, index) => {
    const range = rangeOfRun(run);
    RANGE_KEYS[index].forEach((key, end) => { ranges[key] = range[end]; });
  });
  return ranges;
}

const DEFAULTS = {
  ...rangesOf(isPair ? lastRange : busiestRange), stride: 1, classes: initialClasses(),
  view: "moves", colour: "outcome", top: 10,
  which: "all", flicker: false, stays: false, focus: false, opacity: "none", order: "given", search: "", filters: {},
  sort: "score_raw", down: true, then: [], group: "none", cell: null, selectedOnly: false, selected: [], first: [], theme: "", split: "all",
  runs: isPair ? "both" : "first", measured: "first", compared: "",
};
const NUMBERS = [...RANGE_KEYS.flat(), "stride", "top"];
const FLAGS = ["flicker", "stays", "focus", "down", "selectedOnly"];
const CHOICES = {
  view: ["moves", "bars", "instances"],
  colour: ["outcome", "class"],
  which: ["all", "incorrect", "listed"],
  opacity: Object.keys(OPACITIES),
  order: ["given", "similar"],
  group: Object.keys(GROUPS),
  theme: ["", "light", "dark"],
  split: ["all", ...head.splits],
  runs: isPair ? ["both", "ends", "first", "second"] : ["first"], // which the flow shows; ends: the last chosen epoch of each
  measured: isPair ? ["first", "second"] : ["first"], // the run of the table's metrics and the confusion grid
  compared: ["", ...JUDGED.map(outcome => OUTCOMES[outcome])], // images of this outcome alone
};

// The state as text: only what differs from the defaults.
function toHash(state) {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (JSON.stringify(value) === JSON.stringify(DEFAULTS[key])) continue;
    parameters.set(key, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return parameters.toString();
}

// A state from text; what is invalid keeps its default.
function fromHash(hash) {
  const state = structuredClone(DEFAULTS);
  for (const [key, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (!(key in DEFAULTS)) continue;
    try {
      if (NUMBERS.includes(key)) state[key] = parseInt(value, 10);
      else if (FLAGS.includes(key)) state[key] = value === "true";
      else state[key] = typeof DEFAULTS[key] === "string" ? value : JSON.parse(value);
    } catch { /* not JSON: a link that was cut off */ }
  }
  return sanitize(state);
}

function sanitize(state) {
  const clamp = (value, min, max, otherwise) =>
    Number.isInteger(value) ? Math.min(Math.max(value, min), max) : otherwise;
  RUNS.forEach(({ start, end }, run) => {
    const [from, to] = RANGE_KEYS[run];
    state[to] = clamp(state[to], start, end - 1, end - 1);
    state[from] = clamp(state[from], start, state[to], start);
  });
  state.stride = clamp(state.stride, 1, Math.max(1, E - 1), 1);
  state.top = clamp(state.top, 0, 60, DEFAULTS.top);

  const indicesBelow = (values, end) => {
    const unique = [...new Set(Array.isArray(values) ? values : [])];
    return unique.filter(value => Number.isInteger(value) && value >= 0 && value < end);
  };
  state.classes = indicesBelow(state.classes, K);
  if (!state.classes.length) state.classes = DEFAULTS.classes;
  state.selected = indicesBelow(state.selected, N);
  state.first = indicesBelow(state.first, N);

  const isCell = Array.isArray(state.cell) && state.cell.length === 2 && state.cell.every(c => c >= 0 && c <= K);
  if (!isCell || !state.classes.includes(state.cell[0])) state.cell = null;

  const isFilter = ([key, value]) => typeof value === "string"
    && COLUMNS.some(column => column.key === key && isFilterable(column));
  state.filters = Object.fromEntries(Object.entries(state.filters ?? {}).filter(isFilter));
  if (!COLUMNS.some(({ key, value }) => key === state.sort && value)) state.sort = DEFAULTS.sort;
  const isSortKey = entry => Array.isArray(entry) && entry[0] !== state.sort && typeof entry[1] === "boolean"
    && COLUMNS.some(({ key, value }) => key === entry[0] && value);
  state.then = Array.isArray(state.then) ? state.then.filter(isSortKey) : [];
  for (const [key, choices] of Object.entries(CHOICES)) {
    if (!choices.includes(state[key])) state[key] = DEFAULTS[key];
  }
  return state;
}

let state = DEFAULTS;
function change(values) {
  state = sanitize({ ...state, ...values });
  // a sandboxed frame may forbid it; the text is also under Share
  try { history.replaceState(null, "", `#${toHash(state)}`); } catch { /* no address to keep it in */ }
  for (const cached of Object.values(cache)) cached.isChecked = false;
  drawAll();
}

// What several views derive from the state: what it depends on, and how it is computed. It is computed when it is first
// needed, and again only if what it depends on has changed.
const rangeOf = run => RANGE_KEYS[run].map(key => state[key]);
const ranges = () => RUNS.map((_, run) => rangeOf(run));
const measuredRun = () => state.measured === "second" ? 1 : 0;
const measuredRange = () => rangeOf(measuredRun());
const lastMeasured = () => measuredRange()[1];
const RUNS_SHOWN = { both: [0, 1], ends: [0, 1], first: [0], second: [1] };
const shownRuns = () => RUNS_SHOWN[state.runs];
const memberState = () => [state.classes, state.split];
const rangeState = () => [...memberState(), ranges(), state.measured, state.cell, state.compared];
const listState = () => [...rangeState(), state.search, state.filters, state.selectedOnly && state.selected];
const sortState = () => [state.sort, state.down, state.then, state.group, state.first];
const flowState = () => [...rangeState(), state.runs, state.which, state.which === "listed" && listState()];
const DERIVED = {
  isShown: [() => state.classes, () => Uint8Array.from(head.classes, (_, c) => state.classes.includes(c))], // [K]
  metrics: [() => [state.classes, measuredRange()], () => metrics(...measuredRange(), derived.isShown)],
  members: [memberState, () => findInstances(isMember)], // of the chosen classes and split
  ofCell: [rangeState, () => ofChosenCell(derived.members)],
  ofOutcome: [rangeState, () => ofChosenOutcome(derived.members)],
  chosen: [rangeState, () => ofChosenOutcome(derived.ofCell)],
  listed: [() => [...listState(), ...sortState()], () => listInstances()], // in the table
  tableRows: [() => [...listState(), ...sortState()], () => arrangeTable()], // with headings of groups
  inFlow: [flowState, findFlowInstances],
  rows: [() => [state.classes, state.order, state.measured, lastMeasured()], arrangeRows], // of the flow
  selected: [() => state.selected, () => new Set(state.selected)],
  outcomes: [memberState, () => countOutcomes(state.classes, chosenSplits(), () => derived.members)],
  gridClasses: [() => [state.classes, state.measured], () => confusedOfChosen(GRID.maxClasses)], // all others are its Other
};
const derived = {};
const cache = {}; // name: {key, value, isChecked}
for (const [name, [dependencies, compute]] of Object.entries(DERIVED)) {
  Object.defineProperty(derived, name, { get: () => derive(name, dependencies, compute) });
}

function derive(name, dependencies, compute) {
  const cached = cache[name];
  if (cached?.isChecked) return cached.value;
  const key = JSON.stringify(dependencies());
  const value = cached?.key === key ? cached.value : compute();
  cache[name] = { key, value, isChecked: true };
  return value;
}

// Images without a label belong to no class: they are shown if all classes are.
function isMember(i) {
  if (state.split !== "all" && head.splits[splitIndices[i]] !== state.split) return false;
  return labels[i] === UNKNOWN ? state.classes.length === K : derived.isShown[labels[i]];
}

function findFlowInstances() {
  if (state.which === "listed") return derived.listed;
  if (state.which === "all") return derived.chosen;
  return derived.chosen.filter(i => shownRuns().some(run => isEverIncorrect(i, ...rangeOf(run))));
}

function ofChosenCell(instances) {
  return state.cell ? instances.filter(i => isInCell(i, state.cell)) : instances;
}

function ofChosenOutcome(instances) {
  return state.compared ? instances.filter(i => OUTCOMES[lastOutcome(i)] === state.compared) : instances;
}

// The epochs that are compared: the last chosen ones of two runs; the first and the last chosen one of a single run.
const comparedEpochs = () => isPair ? [state.to, state.otherTo] : [state.from, state.to];
const lastOutcome = i => comparedOutcome(i, ...comparedEpochs());

function findInstances(fits) {
  const instances = [];
  for (let i = 0; i < N; i++) if (fits(i)) instances.push(i);
  return instances;
}

// A cell of the confusion grid: images of one class predicted as another at the epoch that the grid shows.
function isInCell(i, [label, guess]) {
  const now = predictedAt(i, lastMeasured());
  if (labels[i] !== label || now === MISSING) return false;
  return guess === K ? !derived.gridClasses.includes(now) : now === guess;
}
// At most this many of the chosen classes: those confused most at the last epoch.
const confusedOfChosen = count => mostConfusedClasses(state.classes, RUNS[measuredRun()].end - 1, count);
const chosenSplits = () => [...head.splits.keys()].filter(split => state.split === "all" || head.splits[split] === state.split);

// Row of the flow for every predicted class; classes that are not shown share the last one, Other.
function arrangeRows() {
  const shown = confusedOfChosen(FLOW.maxRows);
  const classes = state.order === "similar" ? similarOrder(shown, lastMeasured()) : shown;
  const rowOf = new Int32Array(K + 1).fill(classes.length);
  classes.forEach((c, row) => { rowOf[c] = row; });
  const names = classes.map(nameOfClass);
  if (classes.length < K) names.push("Other");
  return { classes, rowOf, names };
}
