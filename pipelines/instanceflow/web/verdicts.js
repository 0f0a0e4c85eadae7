// What reviewers say of an image and its label, and what the reader says: kept in this browser until it is saved as CSV, which
// `study verdict` takes.

const VERDICTS = [
  ["label_ok", "label right"], ["label_wrong", "label wrong"], ["unclear", "cannot tell"], ["not_usable", "not usable"],
];
const VERDICT_COLUMNS = ["split", "instance_id", "verdict", "new_label", "who", "note", "label", "predicted"];
const VERDICTS_KEY = `verdicts ${RUNS[0].run_id}`;
function readOwnVerdicts() {
  let kept = null;
  try { kept = window.localStorage.getItem(VERDICTS_KEY); } catch { /* a sandboxed frame keeps nothing */ }
  return new Map(JSON.parse(kept ?? "[]"));
}

const imageKey = i => `${head.splits[splitIndices[i]]} ${instanceIds[i]}`; // also on other pages of the run
const ownVerdicts = readOwnVerdicts(); // by key: [verdict, name of the class it should have or null]
const findOwn = () => findInstances(i => ownVerdicts.has(imageKey(i)));

function keepOwnVerdict(i, verdict, newLabel) {
  if (verdict === null) ownVerdicts.delete(imageKey(i));
  else ownVerdicts.set(imageKey(i), [verdict, newLabel]);
  try { window.localStorage.setItem(VERDICTS_KEY, JSON.stringify([...ownVerdicts])); } catch { /* it is lost with the page */ }
  drawVerdicts(i);
}

const verdictsOf = i => head.verdicts.filter(([row]) => row === i);
const nameOfVerdict = verdict => VERDICTS.find(([word]) => word === verdict)[1];

function describeVerdict([, who, verdict, newLabel, note]) {
  return `${who}: ${nameOfVerdict(verdict)}${newLabel === null ? "" : `, is ${newLabel}`}${note === null ? "" : ` (${note})`}`;
}

function drawVerdicts(i) {
  const given = verdictsOf(i);
  element("verdicts-given").textContent = given.length ? `Reviewers: ${given.map(describeVerdict).join("; ")}` : "";
  const [own, newLabel] = ownVerdicts.get(imageKey(i)) ?? [null, null];
  const isUnlabelled = labels[i] === UNKNOWN;
  element("own-verdict").replaceChildren("Your verdict:", ...VERDICTS.map(([verdict, name]) => {
    const button = textElement("button", name);
    button.type = "button";
    button.disabled = isUnlabelled && verdict.startsWith("label");
    button.setAttribute("aria-pressed", String(verdict === own));
    button.onclick = () => {
      keepOwnVerdict(i, verdict === own ? null : verdict, null);
      element("own-verdict").querySelectorAll("button")[VERDICTS.findIndex(([word]) => word === verdict)].focus();
    };
    return button;
  }), ...(own === "label_wrong" ? [chooseNewLabel(i, newLabel)] : []));
  const count = findOwn().length;
  element("own-verdicts").hidden = !count;
  element("own-verdicts-count").textContent = `${formatInteger(count)} kept in this browser; save them, then `;
  element("own-verdicts-command").textContent = `study verdict ${RUNS[0].run_id.slice(0, 8)} FILE.csv`;
}

function chooseNewLabel(i, chosen) {
  const label = textElement("label", "it is\u00a0");
  const select = document.createElement("select");
  select.append(new Option("not known", ""), ...head.classes.flatMap((name, c) => c === labels[i] ? [] : [new Option(name)]));
  select.value = chosen ?? "";
  select.onchange = () => {
    keepOwnVerdict(i, "label_wrong", select.value || null);
    element("own-verdict").querySelector("select").focus();
  };
  label.append(select);
  return label;
}

// A row per image that the reader has judged, then those selected, or if there are neither those listed, to be filled in.
function verdictRows() {
  const judged = findOwn();
  const others = judged.length || state.selected.length ? state.selected : derived.listed;
  return [...new Set([...judged, ...others])].map(i => {
    const [verdict, newLabel] = ownVerdicts.get(imageKey(i)) ?? ["", null];
    const about = [nameOfClass(labels[i]), nameOfClass(predictedAt(i, RUNS[0].end - 1))];
    return [head.splits[splitIndices[i]], instanceIds[i], verdict, newLabel ?? "", "", "", ...about];
  });
}
const exportVerdicts = () => toCsv([VERDICT_COLUMNS, ...verdictRows()]);
