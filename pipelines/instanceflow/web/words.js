// Sentences, and the SQL beside each view.

const epochName = e => `epoch ${head.epochs[e]}${isPair ? ` of ${RUNS[runOf(e)].name}` : ""}`;

// "epoch 3 to 4" of one run, "epoch 5 of one against epoch 7 of another".
function stepName(e, f) {
  if (runOf(e) !== runOf(f)) return `${epochName(e)} against ${epochName(f)}`;
  return `epoch ${head.epochs[e]} to ${head.epochs[f]}${isPair ? ` of ${RUNS[runOf(e)].name}` : ""}`;
}

// Where the page's images come from if they are a sample, after a count of them.
const describeSample = (start = ", ") => isSample
  ? `${start}of ${formatInteger(N)} drawn at random from ${formatInteger(head.drawn_from)}` : "";

// The epochs chosen of a run: "epochs 2 to 5", of two runs "epochs 2 to 5 of one".
function rangeName(run) {
  const [from, to] = rangeOf(run).map(e => head.epochs[e]);
  const epochs = from === to ? `epoch ${from}` : `epochs ${from} to ${to}`;
  return isPair ? `${epochs} of ${RUNS[run].name}` : epochs;
}

// As InstanceFlow words it: "15 Truck(s) from Other to Truck".
function describeLink(link, rowNames, columns) {
  const outcome = link.outcome === undefined ? "" : `\n${OUTCOMES[link.outcome]}`;
  const epochs = stepName(columns[link.column], columns[link.column + 1]);
  const move = `from ${rowNames[link.source]} to ${rowNames[link.target]}`;
  return `${link.n} ${nameOfClass(link.label)}(s) ${move}${outcome}\n${epochs}`;
}

function describeStub(stub, rowNames, columns) {
  const epochs = stepName(columns[stub.column], columns[stub.column + 1]);
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
  if (e === RUNS[runOf(e)].start) return `${epochName(e)}${accuracy}`;
  const moves = [FIXED, BROKEN, REROUTED].map(outcome => `${OUTCOMES[outcome]} ${counts[e][outcome]}`).join(", ");
  const ratio = head.turbulent[e];
  const turbulent = ratio ? `\nturbulent: ${ratio.toFixed(1)} times the median number of moves` : "";
  return `${stepName(e - 1, e)}${accuracy}\n${moves}${turbulent}`;
}

// A class as --classes takes it: its ID, or its name if another class is called by that ID, as names take precedence.
const classArgument = c => head.classes.includes(String(c)) ? head.classes[c] : String(c);

// The commands that ask for the same rows as a view now shows: some views show both of two runs.
function askCommands(query) {
  if (query === "compared_instances") return [askCommand(query, 0, state.to, state.otherTo)];
  if (query === "compared_flow") {
    const columns = flowColumns();
    const boundary = columns.findIndex((_, column) => isBoundary(columns, column));
    const isDrawn = boundary >= 0 && (columns[boundary] !== state.to || columns[boundary + 1] !== state.otherTo);
    const commands = [askCommand(query, 0, state.to, state.otherTo)];
    return isDrawn ? [...commands, askCommand(query, 0, columns[boundary], columns[boundary + 1])] : commands;
  }
  if (query === "instance_metrics" && (state.cell || state.compared)) {
    const lists = [state.cell && cellCommand(), state.compared && outcomeCommand()].filter(Boolean);
    return [askCommand(query, measuredRun(), ...measuredRange()), ...lists];
  }
  const runs = {
    transition_outcomes: RUNS.map((_, run) => run),
    turbulent_epochs: RUNS.map((_, run) => run),
    instance_history: RUNS.map((_, run) => run),
    flow_links: state.runs === "ends" ? [] : shownRuns(),
    flow_nodes: shownRuns(),
  };
  return (runs[query] ?? [measuredRun()]).map(run => {
    const [from, to] = rangeOf(run);
    return askCommand(query, run, state.runs === "ends" && query === "flow_nodes" ? to : from, to);
  });
}

// About a run's epochs `from` to `to`; of two compared runs, these are the epoch of the first and that of the second.
function askCommand(query, run, from, to) {
  const values = {
    other_run_id: isPair ? RUNS[1].run_id : null,
    epoch: head.epochs[from],
    other_epoch: head.epochs[to],
    split: state.split === "all" ? head.splits[0] : state.split,
    from_epoch: head.epochs[from],
    to_epoch: head.epochs[to],
    classes: state.classes.length < K ? state.classes.map(classArgument).join(",") : null,
    stride: strideOf() > 1 ? strideOf() : null,
    instance_id: openInstance === null ? null : instanceIds[openInstance],
  };
  if (query === "instance_history" && openInstance !== null) values.split = head.splits[splitIndices[openInstance]];
  if (query === "transition_outcomes") values.from_epoch = values.to_epoch = null; // the overview shows all epochs
  if (query === "confusion_by_epoch") values.epoch = head.epochs[to];
  const names = head.queries[query].params.filter(name => values[name] !== null && values[name] !== undefined);
  const quote = text => /^[\w.,:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
  const flags = names.map(name => `--${name.replaceAll("_", "-")} ${quote(String(values[name]))}`);
  return [`study ask ${query}`, `--run-id ${RUNS[run].run_id}`, ...flags].join(" ");
}

// Lists the images of the chosen cell.
function cellCommand() {
  const [label, guess] = state.cell;
  const splits = state.split === "all" ? head.splits : [state.split];
  const prediction = guess === K ? `predicted not in (${derived.gridClasses.join(", ")})` : `predicted = ${guess}`;
  return `study sql "select split, instance_id from predictions where run_id = '${RUNS[measuredRun()].run_id}' `
    + `and split in (${splits.map(split => `'${split}'`).join(", ")}) and epoch = ${head.epochs[lastMeasured()]} `
    + `and label = ${label} and ${prediction} order by all"`;
}

// Lists the images of the chosen outcome.
const OUTCOME_CONDITIONS = { // of predictions a and b of an image
  kept: "a.predicted = a.label and b.predicted = b.label",
  fixed: "a.predicted <> a.label and b.predicted = b.label",
  broken: "a.predicted = a.label and b.predicted <> b.label",
  rerouted: "a.predicted <> a.label and b.predicted <> b.label and a.predicted <> b.predicted",
  stuck: "a.predicted <> a.label and b.predicted = a.predicted",
};
function outcomeCommand() {
  const [before, after] = comparedEpochs();
  const splits = state.split === "all" ? head.splits : [state.split];
  const classes = state.classes.length < K ? ` and a.label in (${state.classes.join(", ")})` : "";
  return "study sql \"select a.split, a.instance_id from predictions as a join predictions as b using (split, instance_id) "
    + `where a.run_id = '${RUNS[runOf(before)].run_id}' and a.epoch = ${head.epochs[before]} `
    + `and b.run_id = '${RUNS[runOf(after)].run_id}' and b.epoch = ${head.epochs[after]} `
    + `and a.split in (${splits.map(split => `'${split}'`).join(", ")})${classes} `
    + `and ${OUTCOME_CONDITIONS[state.compared]} order by all"`;
}

// How a view differs from the rows of its command.
function describeDifference(query) {
  const isListNarrowed = state.search || state.selectedOnly || Object.values(state.filters).some(Boolean);
  const flowLimits = [
    state.cell && "the chosen cell",
    state.compared && "the chosen outcome",
    state.which !== "all" && `images: ${element("which").selectedOptions[0].text}`,
    state.flicker && query === "flow_links" && "hidden flicker",
  ];
  const tableLimits = [
    state.cell && "the chosen cell", state.compared && "the chosen outcome", isListNarrowed && "search and filters",
  ];
  const limitsOf = {
    flow_links: flowLimits, flow_nodes: flowLimits, compared_flow: flowLimits,
    instance_metrics: tableLimits, compared_instances: tableLimits, confusion_by_epoch: [state.compared && "the chosen outcome"],
  };
  const limits = (limitsOf[query] ?? []).filter(Boolean);
  const listed = query === "instance_metrics" && (state.cell || state.compared) ? "; study sql lists those images" : "";
  if (isSample && !["transition_outcomes", "turbulent_epochs", "instance_history"].includes(query)) limits.push("the sample on this page");
  const narrowed = limits.length ? `  (all images; the view is limited by ${limits.join(", ")}${listed})` : "";
  if (query === "instance_history" || head.splits.length === 1 || state.split !== "all") return narrowed;
  return `${narrowed}; for ${head.splits.slice(1).join(", ")} add --split`;
}

function writeQueries() {
  for (const box of document.querySelectorAll("details.sql")) {
    const { query } = box.dataset;
    if (!head.queries[query]) continue; // about two runs
    if (!box.firstChild) {
      const sql = document.createElement("pre");
      sql.textContent = head.queries[query].sql;
      box.append(document.createElement("summary"), sql);
    }
    const commands = askCommands(query).map(text => textElement("code", text));
    box.hidden = !commands.length;
    const lines = commands.flatMap((command, index) => index ? [document.createElement("br"), command] : [command]);
    box.firstChild.replaceChildren("SQL  ", ...lines, describeDifference(query));
  }
}
