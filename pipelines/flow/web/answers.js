// What the page counts, as rows of the queries it names: for the browser's console and for tests.

const classOfRow = row => derived.rows.classes[row] ?? K;
const labelOrNull = label => label === UNKNOWN ? null : label;

const ANSWERS = {
  flow_links: () => {
    const columns = flowColumns();
    const options = { flicker: state.flicker, stays: true, stride: strideOf() };
    const { links } = flows(derived.inFlow, columns, derived.rows, options);
    return links.map(({ column, source, target, label, n }) => ({
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
        const row = { epoch: head.epochs[e], class_id: classId, label: labelOrNull(labels[i]), type };
        const key = Object.values(row).join();
        if (rows.has(key)) rows.get(key).n++;
        else rows.set(key, { ...row, n: 1 });
      }
    }
    return [...rows.values()];
  },
  transition_outcomes: () => derived.outcomes.counts.slice(1).map((counts, e) => ({
    epoch: head.epochs[e],
    next_epoch: head.epochs[e + 1],
    ...Object.fromEntries(OUTCOMES.map((name, outcome) => [name, counts[outcome]])),
  })),
  instance_metrics: () => derived.listed.map(i => {
    const valueOf = name => Number.isFinite(derived.metrics[name][i]) ? derived.metrics[name][i] : null;
    return {
      instance_id: instanceIds[i],
      visited: visitedClasses(i, state.from, state.to),
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
