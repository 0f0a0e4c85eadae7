// The selected images, right below the flow.

const gallery = element("gallery");
const MAX_GALLERY = 48; // images

function drawGallery() {
  const shown = state.selected.slice(0, MAX_GALLERY);
  gallery.hidden = !shown.length;
  if (!shown.length) return;
  const heading = document.createElement("p");
  const more = state.selected.length > shown.length ? `, the first ${shown.length}` : "";
  heading.textContent = `${formatInteger(state.selected.length)} selected${more}: `
    + `label, and prediction at ${epochName(state.to)}. A click opens an image.`;
  gallery.replaceChildren(heading, ...shown.map(makeGalleryItem));
}

function makeGalleryItem(i) {
  const item = document.createElement("button");
  item.type = "button";
  item.title = describeInstance(i, state.to);
  if (sprite) item.append(makeThumbnail(i));
  const guess = predictedAt(i, state.to);
  const isJudged = labels[i] !== UNKNOWN && guess !== MISSING;
  const sign = isCorrect(i, state.to) ? "✓ " : "✗ ";
  const prediction = textElement("span", `${isJudged ? sign : ""}${nameOfClass(guess)}`);
  if (isJudged) prediction.className = isCorrect(i, state.to) ? "right" : "wrong";
  item.append(textElement("span", nameOfClass(labels[i])), prediction);
  item.onclick = () => openDetail(i);
  return item;
}
