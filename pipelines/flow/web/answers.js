// What the page counts, as rows of the questions it names: for the browser's console and for tests.

const classAt = row => derived.rank.order[row] ?? K;
const truthOf = c => c === UNKNOWN ? null : c;

const ANSWERS = {
  flow_links: () => {
    const columns = flowColumns(), { links } = flows(derived.inFlow, columns, derived.rank, { flicker: state.flicker, stays: true, stride: strideOf() });
    const epochAt = column => head.epochs[columns[column]];
    return links.map(({ column, source, target, truth, n }) => ({
      epoch: epochAt(column), next_epoch: epochAt(column + 1), source: classAt(source), target: classAt(target),
      label: truthOf(truth), n,
    }));
  },
  flow_nodes: () => {
    const found = new Map();
    for (const i of derived.inFlow) for (const e of flowColumns()) {
      if (at(i, e) === MISSING) continue;
      const class_id = classAt(derived.rank.place[at(i, e)]);
      const row = { epoch: head.epochs[e], class_id, label: truthOf(label[i]), type: KINDS[kindOf(i, e)] };
      const key = Object.values(row).join();
      if (found.has(key)) found.get(key).n++; else found.set(key, { ...row, n: 1 });
    }
    return [...found.values()];
  },
  transition_outcomes: () => derived.outcomes.counts.slice(1).map((counts, e) => ({ epoch: head.epochs[e],
    next_epoch: head.epochs[e + 1], ...Object.fromEntries(OUTCOMES.map((name, o) => [name, counts[o]])) })),
  instance_metrics: () => derived.listed.map(i => {
    const value = name => Number.isFinite(derived.metrics[name][i]) ? derived.metrics[name][i] : null;
    const numbers = Object.fromEntries(METRICS.map(name => [name, value(name)]));
    return { instance_id: instanceId[i], visited: visitedBy(i, state.from, state.to), ...numbers };
  }),
};
globalThis.study = {
  ...ANSWERS,
  change,
  get state() { return structuredClone(state); },
  get selected() { return state.selected.map(nameOf); },
};
