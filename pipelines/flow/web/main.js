// Controls, presets, and the first drawing.

const element = id => document.getElementById(id);
const VALUES = ["split", "view", "colour", "which", "opacity", "order", "search"], COUNTS = ["stride", "top"];
const SWITCHES = { flicker: "flicker", stays: "stays", focus: "focus", selectedOnly: "selected-only" };

const wholeRun = { from: 0, to: E - 1, stride: Math.ceil(E / (2 * WIDEST)) };
const PRESETS = {
  "the last epochs": {},
  "the whole run": wholeRun,
  "most turbulent epochs": around(head.turbulent),
  "lasting moves (no flicker)": { ...wholeRun, flicker: true },
  "never learned": { ...wholeRun, filters: { score_raw: `=${E}` }, which: "listed" },
  "often forgotten": { ...wholeRun, sort: "forgetting", down: true, filters: { forgetting: ">=2" }, which: "listed" },
  "the most confused pair": { ...wholeRun, ...mostConfused() },
  "restless images": { ...wholeRun, view: "instances", which: "incorrect", opacity: "frequency", sort: "frequency_raw" },
  "as InstanceFlow opens": { stays: true, colour: "class", view: "bars", which: "incorrect", top: 60 },
};

// Epochs around the liveliest transition after the first.
function around(turbulent) {
  const ratios = turbulent.map((ratio, e) => e > 1 ? ratio ?? 0 : 0), e = ratios.indexOf(Math.max(...ratios));
  const from = Math.max(0, Math.min(e - 3, E - WIDEST));
  return { from, to: Math.min(E - 1, from + WIDEST - 1) };
}

// The two classes taken for each other most often at the end, as changers of InstanceFlow shows them.
function mostConfused() {
  const [best] = mistakenPairs(E - 1).sort((one, other) => other.n - one.n);
  return best ? { classes: [best.a, best.b] } : {};
}

function makeControls() {
  element("split").replaceChildren(new Option("all"), ...head.splits.map(name => new Option(name)));
  element("split").parentElement.hidden = head.splits.length < 2;
  element("opacity").replaceChildren(...Object.keys(OPACITIES).map(name => new Option(name)));
  element("preset").replaceChildren(new Option("choose…", ""), ...Object.keys(PRESETS).map(name => new Option(name)));
  element("preset").onchange = ({ target }) => {
    if (target.value) change({ ...structuredClone(DEFAULTS), theme: state.theme, ...PRESETS[target.value] });
    target.value = "";
  };
  for (const name of VALUES) element(name).oninput = ({ target }) => change({ [name]: target.value });
  for (const name of COUNTS) element(name).oninput = ({ target }) => change({ [name]: parseInt(target.value, 10) });
  for (const [name, id] of Object.entries(SWITCHES)) element(id).onchange = ({ target }) => change({ [name]: target.checked });
  element("clear-selection").onclick = () => change({ selected: [], selectedOnly: false });
  element("theme").onclick = () => change({ theme: document.documentElement.dataset.theme === "dark" ? "light" : "dark" });
  element("copy").onclick = () => { element("share").hidden = !element("share").hidden; showControls(); };
  element("ids").onchange = importSelection;
  makeClasses();
}

function makeClasses() {
  const box = element("classes");
  for (let c = 0; c < K; c++) {
    const item = document.createElement("label"), input = document.createElement("input");
    input.type = "checkbox"; input.value = c;
    item.append(input, " ", coloured(colourOfClass(c)), head.classes[c]);
    item.title = "double-click: this class alone";
    item.ondblclick = () => change({ classes: [c], cell: null });
    input.onchange = () => {
      const checked = [...box.querySelectorAll("input:checked")].map(({ value }) => +value);
      if (checked.length) change({ classes: checked, cell: null });
      else input.checked = true; // one at the least
    };
    box.append(item);
  }
  const all = document.createElement("button");
  all.type = "button";
  all.textContent = "all";
  all.onclick = () => change({ classes: [...head.classes.keys()], cell: null });
  box.append(all);
}

function showControls() {
  for (const name of [...VALUES, ...COUNTS]) if (document.activeElement !== element(name)) element(name).value = state[name];
  for (const [name, id] of Object.entries(SWITCHES)) element(id).checked = state[name];
  for (const input of element("classes").querySelectorAll("input")) input.checked = state.classes.includes(+input.value);
  element("clear-selection").style.visibility = state.selected.length ? "" : "hidden"; // nothing moves under a click
  if (element("share").hidden) return;
  element("hash").value = `#${toHash(state)}`;
  element("ids").value = JSON.stringify(state.selected.map(nameOf));
}

// A list of IDs, as this page or InstanceFlow writes it, or the text of a whole view.
function importSelection({ target }) {
  const said = element("share-said");
  if (target.value.trim().startsWith("#")) { said.textContent = ""; return change(fromHash(target.value.trim())); }
  let ids;
  try { ids = JSON.parse(target.value); } catch { ids = null; }
  if (!Array.isArray(ids)) { said.textContent = 'needed is a list such as ["12", "40"]'; return; }
  const known = new Map(Array.from({ length: N }, (_, i) => [nameOf(i), i]));
  const found = ids.map(id => known.get(String(id))).filter(i => i !== undefined);
  change({ selected: found });
  const missing = ids.length - found.length;
  const rest = missing ? `; ${missing} of ${ids.length} IDs are not in this run` : "";
  said.textContent = `${state.selected.length} selected${rest}`;
}

function writeAbout() {
  element("about").textContent = head.about;
  const few = `Of ${K} classes the ${MANY} most often mistaken are shown at first; all others are Other, and images without a label appear with all classes only.`;
  const notes = [...head.notes, ...(K > MANY ? [few] : [])];
  element("notes").textContent = notes.join(" ");
  element("notes").hidden = !notes.length;
}

// What each view shows; it is drawn anew where that has changed, and as long as it is out of sight, not at all.
const LOOK = ["view", "colour", "stride", "top", "flicker", "stays", "focus", "opacity", "order"];
const VIEWS = [
  { draw: drawStrip, place: element("overview"), key: () => [...where(), state.from, state.to] },
  { draw: drawFlow, place: element("flow-section"), key: () => [...range(), state.which, state.which === "listed" && listing(),
    ...LOOK.map(name => state[name])] },
  { draw: drawTraces, place: element("flow-section"), key: () => state.selected },
  { draw: drawTable, place: element("table-section"), key: () => [...listing(), state.sort, state.down, state.selected] },
  { draw: drawConfusion, place: element("confusion-section"), key: () => [...where(), state.cell] },
];
const look = () => [innerWidth, document.documentElement.dataset.theme, sprite !== null];

function drawIfNew(view) {
  const key = JSON.stringify([view.key(), look()]);
  if (!view.isSeen || view.drawn === key) return;
  view.drawn = key;
  view.draw();
}

function drawAll() {
  setTheme(state.theme);
  showControls();
  VIEWS.forEach(drawIfNew);
  writeQueries();
  if (opened !== null) openDetail(opened);
}

const observer = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    for (const view of VIEWS.filter(({ place }) => place === target)) view.isSeen = isIntersecting;
  }
  VIEWS.forEach(drawIfNew);
}, { rootMargin: "200px" });
addEventListener("beforeprint", () => { for (const view of VIEWS) view.isSeen = true; drawAll(); });

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
addEventListener("hashchange", () => { state = fromHash(location.hash); change({}); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
