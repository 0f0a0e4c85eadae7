// Controls, presets, and the first drawing.

const VALUES = ["runs", "measured", "split", "view", "colour", "which", "opacity", "order", "group", "search"];
const COUNTS = ["stride", "top"];
const SWITCHES = { flicker: "flicker", stays: "stays", focus: "focus", selectedOnly: "selected-only" };

const COLUMNS_OF_RUN = INITIAL_COLUMNS / RUNS.length;
const LONGEST_RUN = Math.max(...RUNS.map(({ start, end }) => end - start));
const WHOLE_RUN = {
  ...rangesOf(({ start, end }) => [start, end - 1]), stride: Math.ceil(LONGEST_RUN / (2 * COLUMNS_OF_RUN)),
};
const LAST_EPOCHS = rangesOf(({ start, end }) => [Math.max(start, end - COLUMNS_OF_RUN), end - 1]);
const FIRST_PRESETS = isPair ? {
  "one run, then the other": {},
  "one run against the other": { runs: "ends" },
  "fixed by the other": { runs: "ends", compared: "fixed" },
  "broken by the other": { runs: "ends", compared: "broken" },
  "whole runs": WHOLE_RUN,
} : {
  "where most changes": {},
  "last epochs": LAST_EPOCHS,
  "whole run": WHOLE_RUN,
};
const PRESETS = {
  ...FIRST_PRESETS,
  "most turbulent epochs": rangesOf(mostTurbulentEpochs),
  "lasting moves (no flicker)": { ...WHOLE_RUN, flicker: true },
  "never learned": { ...WHOLE_RUN, filters: { score_raw: `=${RUNS[0].end}` }, which: "listed" },
  "often forgotten": { ...WHOLE_RUN, sort: "forgetting", down: true, filters: { forgetting: ">=2" }, which: "listed" },
  "most confused pair": { ...WHOLE_RUN, ...mostConfusedPair() },
  "unstable images": { ...WHOLE_RUN, view: "instances", which: "incorrect", opacity: "frequency", sort: "frequency_raw" },
  "InstanceFlow's initial view": {
    ...LAST_EPOCHS, stays: true, colour: "class", view: "bars", which: "incorrect", top: 60,
  },
};

// Epochs of a run around the most turbulent transition after its first: [first, last].
function mostTurbulentEpochs({ start, end }) {
  const ratios = head.turbulent.slice(start, end).map((ratio, place) => place > 1 ? ratio ?? 0 : 0);
  const peak = start + ratios.indexOf(Math.max(...ratios));
  const from = Math.max(start, Math.min(peak - 3, end - COLUMNS_OF_RUN));
  return [from, Math.min(end - 1, from + COLUMNS_OF_RUN - 1)];
}

function mostConfusedPair() {
  const [pair] = confusedPairs(RUNS[0].end - 1).sort((first, second) => second.n - first.n);
  return pair ? { classes: [pair.a, pair.b] } : {};
}

const KEPT_BY_PRESETS = ["theme", "selected", "first"];
function stateOfPreset(name) {
  const kept = Object.fromEntries(KEPT_BY_PRESETS.map(key => [key, state[key]]));
  return sanitize({ ...structuredClone(DEFAULTS), ...PRESETS[name], ...kept });
}

// The preset that the view is as it stands, or "".
function activePreset() {
  const now = JSON.stringify(state);
  return Object.keys(PRESETS).find(name => JSON.stringify(stateOfPreset(name)) === now) ?? "";
}

const MOST_EXPLAINED = 100; // images of a command
function makeControls() {
  element("split").replaceChildren(new Option("all"), ...head.splits.map(name => new Option(name)));
  element("split").parentElement.hidden = head.splits.length < 2;
  if (isPair) {
    const [first, second] = RUNS.map(({ name }) => name);
    element("runs").replaceChildren(new Option(`${first}, then ${second}`, "both"),
      new Option(`${first} against ${second}, last epochs`, "ends"), new Option(first, "first"), new Option(second, "second"));
    element("measured").replaceChildren(new Option(first, "first"), new Option(second, "second"));
  }
  for (const part of document.querySelectorAll(".pair")) part.hidden = !isPair;
  element("opacity").replaceChildren(...Object.keys(OPACITIES).map(name => new Option(name)));
  element("preset").replaceChildren(new Option("a view of your own", ""), ...Object.keys(PRESETS).map(name => new Option(name)));
  element("preset").onchange = ({ target }) => {
    if (target.value) change(stateOfPreset(target.value));
  };
  for (const name of VALUES) element(name).oninput = ({ target }) => change({ [name]: target.value });
  for (const name of COUNTS) element(name).oninput = ({ target }) => change({ [name]: parseInt(target.value, 10) });
  for (const [name, id] of Object.entries(SWITCHES)) {
    element(id).onchange = ({ target }) => change({ [name]: target.checked });
  }
  element("clear-selection").onclick = () => change({ selected: [], first: [], selectedOnly: false });
  element("theme").onclick = () => {
    change({ theme: document.documentElement.dataset.theme === "dark" ? "light" : "dark" });
  };
  element("copy").onclick = () => {
    element("share").hidden = !element("share").hidden;
    showControls();
  };
  element("ids").onchange = importSelection;
  for (const button of document.querySelectorAll("[data-skip]")) {
    button.onclick = () => {
      element(button.dataset.skip).scrollIntoView({ block: "center" });
      element(button.dataset.skip).focus();
    };
  }
  makeClasses();
}

function makeClasses() {
  const box = element("classes");
  for (let c = 0; c < K; c++) {
    const item = document.createElement("label");
    const input = document.createElement("input");
    input.type = "checkbox";
    input.value = c;
    item.append(input, " ", colourSwatch(colourOfClass(c)), head.classes[c]);
    item.title = "double-click to show this class only";
    item.ondblclick = () => change({ classes: [c], cell: null });
    input.onchange = () => {
      const checked = [...box.querySelectorAll("input:checked")].map(({ value }) => +value);
      if (checked.length) change({ classes: checked, cell: null });
      else input.checked = true; // at least one class is shown
    };
    box.append(item);
  }
  const allButton = document.createElement("button");
  allButton.type = "button";
  allButton.textContent = "all";
  allButton.onclick = () => change({ classes: [...head.classes.keys()], cell: null });
  box.append(allButton);
  if (K <= INITIAL_CLASSES) return;
  box.classList.add("many"); // those chosen come first
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = `find one of ${formatInteger(K)}`;
  search.setAttribute("aria-label", "find classes");
  search.oninput = () => {
    const wanted = search.value.trim().toLowerCase();
    for (const item of box.querySelectorAll("label")) item.hidden = !item.textContent.toLowerCase().includes(wanted);
  };
  box.append(search);
}

function showControls() {
  for (const name of [...VALUES, ...COUNTS]) {
    if (document.activeElement !== element(name)) element(name).value = state[name];
  }
  for (const [name, id] of Object.entries(SWITCHES)) element(id).checked = state[name];
  element("preset").value = activePreset();
  for (const input of element("classes").querySelectorAll("[type=checkbox]")) {
    input.checked = derived.isShown[+input.value];
  }
  element("clear-selection").style.visibility = state.selected.length ? "" : "hidden"; // nothing moves under a click
  if (element("share").hidden) return;
  element("hash").value = `#${toHash(state)}`;
  element("ids").value = JSON.stringify(state.selected.map(nameOf));
  const explained = state.selected.length ? state.selected : derived.listed;
  const shown = explained.slice(0, MOST_EXPLAINED);
  const first = shown.length < explained.length ? `the first ${shown.length} of ` : "";
  element("explained-images").textContent = isImported ? "No command explains an imported run: it has no checkpoints"
    : `Command that explains ${first}the ${formatInteger(explained.length)} images ${state.selected.length ? "selected" : "listed"}`;
  element("explain-selected").value = explainCommand(shown);
}

// From a list of IDs, as this page or InstanceFlow writes it, or from the text of a whole view.
function importSelection({ target }) {
  const status = element("share-status");
  const text = target.value.trim();
  if (text.startsWith("#")) {
    status.textContent = "";
    change(fromHash(text));
    return;
  }
  let ids;
  try { ids = JSON.parse(text); } catch { ids = null; }
  if (!Array.isArray(ids)) {
    status.textContent = 'expected a list such as ["12", "40"]';
    return;
  }
  const instanceByName = new Map(Array.from({ length: N }, (_, i) => [nameOf(i), i]));
  const selected = ids.map(id => instanceByName.get(String(id))).filter(i => i !== undefined);
  change({ selected, first: selected });
  const missing = ids.length - selected.length;
  const missingNote = missing ? `; ${missing} of ${ids.length} IDs are not in this run` : "";
  status.textContent = `${state.selected.length} selected${missingNote}`;
}

function writeAbout() {
  element("about").textContent = head.about;
  const notes = [...head.notes];
  if (K > INITIAL_CLASSES) {
    notes.push(`Of ${formatInteger(K)} classes, the ${INITIAL_CLASSES} that are confused most are shown at first; `
      + "all others form Other. Images without a label are shown only with all classes.");
  }
  element("notes").textContent = notes.join(" ");
  element("notes").hidden = !notes.length;
}

// What each view depends on: it is redrawn if that has changed, but not while it is out of sight.
const FLOW_SETTINGS = ["view", "colour", "stride", "top", "flicker", "stays", "focus", "opacity", "order"];
const flowSettings = () => FLOW_SETTINGS.map(name => state[name]);
const tableSettings = () => [...sortState(), state.selected];
const VIEWS = [
  { draw: drawStrip, place: element("overview"), key: () => [...memberState(), ranges(), state.measured] },
  { draw: drawFlow, place: element("flow-section"), key: () => [...flowState(), ...flowSettings(), state.selected.length > 0] },
  { draw: drawTraces, place: element("flow-section"), key: () => state.selected },
  { draw: drawComparison, place: element("flow-section"), key: rangeState },
  { draw: drawGallery, place: element("flow-section"), key: () => [state.selected, ranges()] },
  { draw: drawTable, place: element("table-section"), key: () => [...listState(), ...tableSettings()] },
  { draw: drawHistograms, place: element("table-section"), key: listState },
  { draw: drawConfusion, place: element("confusion-section"), key: rangeState },
];
const surroundings = () => [innerWidth, document.body.clientWidth, document.documentElement.dataset.theme, sprite !== null];

function drawIfChanged(view) {
  const key = JSON.stringify([view.key(), surroundings()]);
  if (!view.isVisible || view.drawnKey === key) return;
  view.drawnKey = key;
  view.draw();
}

function drawAll() {
  setTheme(state.theme);
  document.documentElement.style.setProperty("--unit", unit());
  showControls();
  VIEWS.forEach(drawIfChanged);
  writeQueries();
  if (openInstance !== null) openDetail(openInstance);
}

const observer = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    for (const view of VIEWS.filter(({ place }) => place === target)) view.isVisible = isIntersecting;
  }
  VIEWS.forEach(drawIfChanged);
}, { rootMargin: "200px" });
const PAPER_WIDTH = "700px"; // between the margins of A4
addEventListener("beforeprint", () => {
  for (const view of VIEWS) view.isVisible = true;
  document.body.style.width = PAPER_WIDTH;
  drawAll();
});
addEventListener("afterprint", () => {
  document.body.style.width = "";
  drawAll();
});

state = fromHash(location.hash);
makeControls();
makeHead();
writeAbout();
change({});
new Set(VIEWS.map(({ place }) => place)).forEach(place => observer.observe(place));
await loadSprite();
drawAll();
document.documentElement.dataset.ready = "yes";
addEventListener("resize", drawAll);
addEventListener("hashchange", () => {
  state = fromHash(location.hash);
  change({});
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
