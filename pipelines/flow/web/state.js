// What is shown. One object; `change` is the only way to alter it; every view draws itself anew from it.

const WIDEST = 8; // columns at first
const MANY = 20; // classes shown at first

// All classes, or of many those that take part in most mistakes of the last epoch.
function firstClasses() {
  const mistakes = new Int32Array(K);
  for (const { a, b, n } of mistakenPairs(E - 1)) { mistakes[a] += n; mistakes[b] += n; }
  const ranked = [...head.classes.keys()].sort((a, b) => mistakes[b] - mistakes[a]);
  return ranked.slice(0, MANY).sort((a, b) => a - b);
}

const DEFAULTS = {
  from: Math.max(0, E - WIDEST), to: E - 1, stride: 1, classes: firstClasses(),
  view: "moves", colour: "outcome", top: 10,
  which: "all", flicker: false, stays: false, focus: false, opacity: "none", order: "given", search: "", filters: {},
  sort: "score_raw", down: true, cell: null, selectedOnly: false, selected: [], theme: "", split: "all",
};
const NUMBERS = ["from", "to", "stride", "top"], FLAGS = ["flicker", "stays", "focus", "down", "selectedOnly"];

// The state as text: only what differs from the defaults.
function toHash(state) {
  const text = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (JSON.stringify(value) === JSON.stringify(DEFAULTS[key])) continue;
    text.set(key, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return text.toString();
}

// A state from text; what makes no sense is left at its default.
function fromHash(text) {
  const state = structuredClone(DEFAULTS);
  for (const [key, value] of new URLSearchParams(text.replace(/^#/, ""))) {
    if (!(key in DEFAULTS)) continue;
    try {
      if (NUMBERS.includes(key)) state[key] = parseInt(value, 10);
      else if (FLAGS.includes(key)) state[key] = value === "true";
      else state[key] = typeof DEFAULTS[key] === "string" ? value : JSON.parse(value);
    } catch { /* half a link */ }
  }
  return sane(state);
}

function sane(state) {
  const whole = (value, least, most, otherwise) => Number.isInteger(value) ? Math.min(Math.max(value, least), most) : otherwise;
  const list = value => Array.isArray(value) ? value : [];
  state.to = whole(state.to, 0, E - 1, E - 1);
  state.from = whole(state.from, 0, state.to, 0);
  state.stride = whole(state.stride, 1, Math.max(1, E - 1), 1);
  state.top = whole(state.top, 0, 60, DEFAULTS.top);
  state.classes = [...new Set(list(state.classes))].filter(c => Number.isInteger(c) && c >= 0 && c < K);
  state.selected = [...new Set(list(state.selected))].filter(i => Number.isInteger(i) && i >= 0 && i < N);
  if (!state.classes.length) state.classes = DEFAULTS.classes;
  if (!(Array.isArray(state.cell) && state.cell.length === 2 && state.cell.every(c => c >= 0 && c <= K))) state.cell = null;
  const isFilter = ([key, value]) => typeof value === "string" && COLUMNS.some(column => column.key === key && isFiltered(column));
  state.filters = Object.fromEntries(Object.entries(state.filters ?? {}).filter(isFilter));
  if (!COLUMNS.some(({ key, value }) => key === state.sort && value)) state.sort = DEFAULTS.sort;
  if (state.cell && !state.classes.includes(state.cell[0])) state.cell = null;
  for (const [key, choices] of Object.entries(CHOICES)) if (!choices.includes(state[key])) state[key] = DEFAULTS[key];
  return state;
}
const CHOICES = { view: ["moves", "bars", "instances"], colour: ["outcome", "class"], which: ["all", "incorrect", "listed"],
  opacity: Object.keys(OPACITIES), order: ["given", "similar"], theme: ["", "light", "dark"],
  split: ["all", ...head.splits] };

let state = DEFAULTS;
function change(values) {
  state = sane({ ...state, ...values });
  // a sandboxed frame may forbid it; the text is also in Share
  try { history.replaceState(null, "", `#${toHash(state)}`); } catch { /* no address to keep it in */ }
  for (const known of Object.values(made)) known.isFresh = false;
  drawAll();
}

// What follows from the state and is needed by several views: what it depends on, and how it is made. Each is made
// when it is first asked for, and anew only where what it depends on has changed.
const where = () => [state.classes, state.split];
const range = () => [...where(), state.from, state.to, state.cell];
const listing = () => [...range(), state.search, state.filters, state.selectedOnly && state.selected];
const DERIVED = {
  shown: [() => state.classes, () => Uint8Array.from(head.classes, (_, c) => state.classes.includes(c))],
  metrics: [() => [state.classes, state.from, state.to], () => metrics(state.from, state.to, derived.shown)],
  members: [where, () => indices(isMember)],
  rows: [range, () => state.cell ? derived.members.filter(i => fitsCell(i, state.cell)) : derived.members],
  listed: [() => [...listing(), state.sort, state.down], () => listRows()],
  inFlow: [() => [...range(), state.which, state.which === "listed" && listing()], flowRows],
  rank: [() => [state.classes, state.order, state.to], placeRows],
  chosen: [() => state.selected, () => new Set(state.selected)],
  outcomes: [where, () => outcomesOverTime(derived.members)],
};
const derived = {};
const made = {}; // name: {key, value, isFresh}
for (const [name, [key, make]] of Object.entries(DERIVED)) Object.defineProperty(derived, name, { get: () => upToDate(name, key, make) });

function upToDate(name, key, make) {
  const known = made[name];
  if (known?.isFresh) return known.value;
  const text = JSON.stringify(key());
  made[name] = { key: text, value: known?.key === text ? known.value : make(), isFresh: true };
  return made[name].value;
}

// Images without a label belong to no class: they are there as long as no class is left out.
function isMember(i) {
  if (state.split !== "all" && head.splits[splitOf[i]] !== state.split) return false;
  return label[i] === UNKNOWN ? state.classes.length === K : derived.shown[label[i]];
}

function flowRows() {
  if (state.which === "listed") return derived.listed;
  return state.which === "all" ? derived.rows : derived.rows.filter(i => derived.metrics.score_raw[i] >= 1);
}

function indices(fits) {
  const found = [];
  for (let i = 0; i < N; i++) if (fits(i)) found.push(i);
  return found;
}

// A cell of the confusion grid: images of one class predicted as another at some epoch of the range.
function fitsCell(i, [truth, guess]) {
  if (label[i] !== truth) return false;
  const own = state.classes.slice(0, GRID.most); // the grid's columns; all other classes are its Other
  for (let e = state.from; e <= state.to; e++) {
    const now = at(i, e);
    if (now !== MISSING && (guess === K ? !own.includes(now) : now === guess)) return true;
  }
  return false;
}

// Row of the flow for every predicted class; classes not shown share the last one, Other.
function placeRows() {
  const order = state.order === "similar" ? similarOrder(state.classes, state.to) : state.classes;
  const place = new Int32Array(K + 1).fill(order.length);
  order.forEach((c, row) => { place[c] = row; });
  return { order, place, names: [...order.map(classOf), ...(order.length < K ? ["Other"] : [])] };
}
