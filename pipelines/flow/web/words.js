// Sentences, and the SQL beside each view.

const epochName = e => `epoch ${head.epochs[e]}`;

// As InstanceFlow words it: "15 Truck(s) from Other to Truck".
function describeLink(link, rowNames, columns) {
  const outcome = link.outcome === undefined ? "" : `\n${OUTCOMES[link.outcome]}`;
  const epochs = `${epochName(columns[link.column])} to ${head.epochs[columns[link.column + 1]]}`;
  const move = `from ${rowNames[link.source]} to ${rowNames[link.target]}`;
  return `${link.n} ${nameOfClass(link.label)}(s) ${move}${outcome}\n${epochs}`;
}

function describeStub(stub, rowNames, columns) {
  const epochs = `${epochName(columns[stub.column])} to ${head.epochs[columns[stub.column + 1]]}`;
  const name = rowNames[stub.row];
  const ways = stub.isLeaving ? `from ${name} to other classes` : `from other classes to ${name}`;
  return `${stub.n} ${OUTCOMES[stub.outcome]}, ${ways}\nin ${stub.links.length} moves too small to be drawn\n${epochs}`;
}

function describeNode(node, rowName, e, members) {
  const counts = KINDS.map(() => 0);
  for (const i of members) counts[kindOf(i, e)]++;
  const kinds = KINDS.map((kind, k) => `${counts[k]} ${kind}`).join(", ");
  const labelled = members.filter(i => labels[i] !== UNKNOWN).length;
  return `${node.n} predicted ${rowName} at ${epochName(e)}\n${kinds}\n`
    + `${node.correct} of ${labelled} labelled images correct`;
}

function describeInstance(i, e) {
  const prediction = predictedAt(i, e) === MISSING ? "not predicted" : `predicted ${nameOfClass(predictedAt(i, e))}`;
  return `${nameOf(i)}: ${nameOfClass(labels[i])}, ${prediction} at ${epochName(e)}`;
}

function describeTransition({ counts, correct, n }, e) {
  const accuracy = n[e] ? `, accuracy ${formatPercent(correct[e] / n[e])}` : "";
  if (e === 0) return `${epochName(0)}${accuracy}`;
  const moves = [FIXED, BROKEN, REROUTED].map(outcome => `${OUTCOMES[outcome]} ${counts[e][outcome]}`).join(", ");
  const ratio = head.turbulent[e];
  const turbulent = ratio ? `\nturbulent: ${ratio.toFixed(1)} times the median number of moves` : "";
  return `${epochName(e - 1)} to ${head.epochs[e]}${accuracy}\n${moves}${turbulent}`;
}

// A class as --classes takes it: its ID, or its name if another class is called by that ID, as names take precedence.
const classArgument = c => head.classes.includes(String(c)) ? head.classes[c] : String(c);

// The command that asks for the same rows as a view now shows.
function askCommand(query) {
  const values = {
    split: state.split === "all" ? head.splits[0] : state.split,
    from_epoch: head.epochs[state.from],
    to_epoch: head.epochs[state.to],
    classes: state.classes.length < K ? state.classes.map(classArgument).join(",") : null,
    stride: strideOf() > 1 ? strideOf() : null,
    instance_id: openInstance === null ? null : instanceIds[openInstance],
  };
  if (query === "instance_history" && openInstance !== null) values.split = head.splits[splitIndices[openInstance]];
  if (query === "transition_outcomes") values.from_epoch = values.to_epoch = null; // the overview shows all epochs
  const names = head.queries[query].params.filter(name => values[name] !== null && values[name] !== undefined);
  const quote = text => /^[\w.,:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
  const flags = names.map(name => `--${name.replaceAll("_", "-")} ${quote(String(values[name]))}`);
  return [`study ask ${query}`, `--run-id ${head.run_id}`, ...flags].join(" ");
}

// How a view differs from the rows of its command.
function describeDifference(query) {
  if (query === "confusion_by_epoch") return "  (the last epoch; choose another with --epoch)";
  const isListNarrowed = state.search || state.selectedOnly || Object.values(state.filters).some(Boolean);
  const flowLimits = [
    state.cell && "the chosen cell",
    state.which !== "all" && `images: ${element("which").selectedOptions[0].text}`,
    state.flicker && query === "flow_links" && "hidden flicker",
  ];
  const tableLimits = [state.cell && "the chosen cell", isListNarrowed && "search and filters"];
  const limitsOf = { flow_links: flowLimits, flow_nodes: flowLimits, instance_metrics: tableLimits };
  const limits = (limitsOf[query] ?? []).filter(Boolean);
  const narrowed = limits.length ? `  (all images; the view is limited by ${limits.join(", ")})` : "";
  if (query === "instance_history" || head.splits.length === 1 || state.split !== "all") return narrowed;
  return `${narrowed}; for ${head.splits.slice(1).join(", ")} add --split`;
}

function writeQueries() {
  for (const box of document.querySelectorAll("details.sql")) {
    const { query } = box.dataset;
    if (!box.firstChild) {
      const sql = document.createElement("pre");
      sql.textContent = head.queries[query].sql;
      box.append(document.createElement("summary"), sql);
    }
    const command = document.createElement("code");
    command.textContent = askCommand(query);
    box.firstChild.replaceChildren("SQL  ", command, describeDifference(query));
  }
}
