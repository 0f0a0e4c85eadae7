// Two runs at the last chosen epoch of each, or one run at the first and the last: how many images are correct at both,
// fixed, broken, or incorrect at both.

const comparison = element("comparison");

const clearCompared = element("clear-compared"); // in the table's section
clearCompared.onclick = () => change({ compared: "" });

function drawComparison() {
  clearCompared.hidden = !state.compared;
  clearCompared.textContent = `${COMPARED_NAMES[OUTCOMES.indexOf(state.compared)]} ✕`;
  const { counts, correct, n } = countCompared();
  const cell = state.cell ? " of the chosen cell" : "";
  const [before, after] = comparedEpochs();
  const epochs = isPair ? `At the last chosen epochs, ${stepName(before, after)},` : `At ${epochName(before)} and at ${epochName(after)},`;
  const heading = textElement("p", `${epochs} `
    + `${formatPercent(correct[0] / n || 0)} and ${formatPercent(correct[1] / n || 0)} of ${formatInteger(n)} labelled images${cell}${describeSample()} are correct. `
    + "A click shows those images alone:");
  comparison.replaceChildren(heading, ...JUDGED.map(outcome => makeComparisonButton(outcome, counts[outcome])));
}

// compared_flow, summed over classes, of the images of the chosen classes and cell: counts of outcomes, how many of the labelled
// images each run predicts correctly, and how many there are.
function countCompared() {
  const counts = new Int32Array(OUTCOMES.length);
  for (const i of derived.ofCell) {
    const outcome = lastOutcome(i);
    if (outcome !== undefined) counts[outcome]++;
  }
  const n = JUDGED.reduce((sum, outcome) => sum + counts[outcome], 0);
  return { counts, correct: [counts[KEPT] + counts[BROKEN], counts[KEPT] + counts[FIXED]], n };
}

function makeComparisonButton(outcome, n) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.outcome = OUTCOMES[outcome];
  const isChosen = state.compared === OUTCOMES[outcome];
  button.setAttribute("aria-pressed", isChosen);
  button.append(outcomeSwatch(outcome), `${SIGNS[outcome]} ${COMPARED_NAMES[outcome]} `, textElement("b", formatInteger(n)));
  button.onclick = () => {
    change({ compared: isChosen ? "" : OUTCOMES[outcome] });
    comparison.querySelector(`[data-outcome=${OUTCOMES[outcome]}]`).focus();
  };
  return button;
}
