// What the page counts, as rows of the queries it names: for the browser's console and for tests.

const classOfRow = row => derived.rows.classes[row] ?? K;
const ofRun = run => isPair ? { run_id: RUNS[run].run_id } : {};
const labelOrNull = label => label === UNKNOWN ? null : label;

const ANSWERS = {
  flow_links: () => {
    const columns = flowColumns();
    const options = { flicker: state.flicker, stays: true, stride: strideOf() };
    const { links } = flows(derived.inFlow, columns, derived.rows, options);
    return links.map(({ column, source, target, label, n }) => ({
      ...ofRun(runOf(columns[column])),
      ...(isBoundary(columns, column) && { other_run_id: RUNS[1].run_id }), // compared_flow
      epoch: head.epochs[columns[column]],
      next_epoch: head.epochs[columns[column + 1]],
      source: classOfRow(source),
      target: classOfRow(target),
      label: labelOrNull(label),
      n,
    }));
  },
  flow_nodes: () => {
    const rows = new Map();
    for (const i of derived.inFlow) {
      for (const e of flowColumns()) {
        if (predictedAt(i, e) === MISSING) continue;
        const classId = classOfRow(derived.rows.rowOf[predictedAt(i, e)]);
        const type = KINDS[kindOf(i, e)];
        const row = { ...ofRun(runOf(e)), epoch: head.epochs[e], class_id: classId, label: labelOrNull(labels[i]), type };
        const key = Object.values(row).join();
        if (rows.has(key)) rows.get(key).n++;
        else rows.set(key, { ...row, n: 1 });
      }
    }
    return [...rows.values()];
  },
  transition_outcomes: () => RUNS.flatMap(({ start, end }, run) => [...Array(end - start - 1).keys()].map(place => ({
    ...ofRun(run),
    epoch: head.epochs[start + place],
    next_epoch: head.epochs[start + place + 1],
    ...Object.fromEntries(OUTCOMES.map((name, outcome) => [name, derived.outcomes.counts[start + place + 1][outcome]])),
  }))),
  compared_instances: () => isPair ? derived.listed.map(i => ({
    instance_id: instanceIds[i],
    label: labelOrNull(labels[i]),
    predicted: predictedAt(i, state.to),
    other_predicted: predictedAt(i, state.otherTo),
    outcome: labels[i] === UNKNOWN ? null : OUTCOMES[lastOutcome(i)],
  })) : [],
  compared_outcomes: () => isPair ? countCompared() : null,
  instance_metrics: () => derived.listed.map(i => {
    const valueOf = name => Number.isFinite(derived.metrics[name][i]) ? derived.metrics[name][i] : null;
    return {
      instance_id: instanceIds[i],
      visited: visitedClasses(i, ...measuredRange()),
      ...Object.fromEntries(METRICS.map(name => [name, valueOf(name)])),
    };
  }),
};
globalThis.study = {
  ...ANSWERS,
  exportSvg,
  exportCsv,
  change,
  get state() { return structuredClone(state); },
  get selected() { return state.selected.map(nameOf); },
};
