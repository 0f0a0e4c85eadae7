// Sentences, and the SQL beside each view.

const epochName = e => `epoch ${head.epochs[e]}`;

// InstanceFlow's words: "15 Truck(s) from Other to Truck".
function sentence(link, names, columns) {
  const outcome = link.outcome === undefined ? "" : `\n${OUTCOMES[link.outcome]}`;
  const when = `${epochName(columns[link.column])} to ${head.epochs[columns[link.column + 1]]}`;
  return `${link.n} ${classOf(link.truth)}(s) from ${names[link.source]} to ${names[link.target]}${outcome}\n${when}`;
}

function aboutNode(node, name, e, members) {
  const counts = [0, 0, 0, 0];
  for (const i of members) counts[kindOf(i, e)]++;
  const kinds = KINDS.map((kind, k) => `${counts[k]} ${kind}`).join(", ");
  const labelled = members.filter(i => label[i] !== UNKNOWN).length;
  return `${node.n} predicted ${name} at ${epochName(e)}\n${kinds}\n${node.right} of ${labelled} labelled ones right`;
}

function aboutInstance(i, e) {
  const guess = at(i, e) === MISSING ? "not predicted" : `predicted ${classOf(at(i, e))}`;
  return `${nameOf(i)}: ${classOf(label[i])}, ${guess} at ${epochName(e)}`;
}

function aboutTransition(h, e) {
  const accuracy = h.n[e] ? `, accuracy ${percent(h.right[e] / h.n[e])}` : "";
  if (!e) return `${epochName(0)}${accuracy}`;
  const parts = [FIXED, BROKEN, REROUTED].map(o => `${OUTCOMES[o]} ${h.counts[e][o]}`);
  const turbulent = head.turbulent[e] ? `\nturbulent: ${head.turbulent[e].toFixed(1)} times the median of moves` : "";
  return `${epochName(e - 1)} to ${head.epochs[e]}${accuracy}\n${parts.join(", ")}${turbulent}`;
}

// A class as --classes takes it: its ID, or its name where the ID is another class's name, as names win.
const classWord = c => head.classes.includes(String(c)) ? head.classes[c] : String(c);

// The question that gives the same rows as a view, with the flags of the moment.
function askLine(query) {
  const values = {
    split: state.split === "all" ? head.splits[0] : state.split,
    from_epoch: head.epochs[state.from],
    to_epoch: head.epochs[state.to],
    classes: state.classes.length < K ? state.classes.map(classWord).join(",") : null, stride: strideOf() > 1 ? strideOf() : null,
    instance_id: opened === null ? null : instanceId[opened],
  };
  if (query === "instance_history" && opened !== null) values.split = head.splits[splitOf[opened]];
  if (query === "transition_outcomes") values.from_epoch = values.to_epoch = null; // the strip shows all epochs
  const flags = head.queries[query].params.filter(name => values[name] !== null && values[name] !== undefined);
  const quoted = text => /^[\w.,:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
  const written = flags.map(name => `--${name.replaceAll("_", "-")} ${quoted(String(values[name]))}`);
  return [`study ask ${query}`, `--run-id ${head.run_id}`, ...written].join(" ");
}

// What a view leaves out that its question does not know of.
function beyondSql(query) {
  if (query === "confusion_by_epoch") return "  (of the last epoch; others by --epoch)";
  const flow = [state.cell && "the chosen cell", state.which !== "all" && `images: ${element("which").selectedOptions[0].text}`,
    state.flicker && query === "flow_links" && "flicker hidden"];
  const isFiltered = state.search || state.selectedOnly || Object.values(state.filters).some(Boolean);
  const listed = [state.cell && "the chosen cell", isFiltered && "search and filters"];
  const left = { flow_links: flow, flow_nodes: flow, instance_metrics: listed }[query]?.filter(Boolean) ?? [];
  const extra = head.splits.length > 1 && state.split === "all" ? `; ${head.splits.slice(1).join(", ")} by --split` : "";
  const narrowed = left.length ? `  (all images; the view is narrowed by ${left.join(", ")})` : "";
  return narrowed + (query === "instance_history" ? "" : extra);
}

function writeQueries() {
  for (const box of document.querySelectorAll("details.sql")) {
    const { query } = box.dataset;
    if (!box.firstChild) {
      const text = document.createElement("pre");
      text.textContent = head.queries[query].sql;
      box.append(document.createElement("summary"), text);
    }
    const line = document.createElement("code");
    line.textContent = askLine(query);
    box.firstChild.replaceChildren("SQL  ", line, beyondSql(query));
  }
}
