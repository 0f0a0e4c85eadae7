// The selected images, right below the flow.

const gallery = element("gallery");
const MAX_GALLERY = 48; // images
const MAX_LARGE = 16; // images, of which each has a large picture

function drawGallery() {
  const shown = picturesFirst(state.selected).slice(0, MAX_GALLERY);
  gallery.hidden = !shown.length;
  if (!shown.length) return;
  const heading = document.createElement("p");
  const more = state.selected.length > shown.length ? `, ${shown.length} of them here` : "";
  const epochs = ranges().map(([, last]) => epochName(last)).join(" and ");
  heading.textContent = `${formatInteger(state.selected.length)} selected${more}: `
    + `label, and prediction at ${epochs}. A click opens an image.`;
  gallery.replaceChildren(heading, ...shown.map(i => makeGalleryItem(i, shown.length > MAX_LARGE ? CROWDED_SIDE : PICTURE_SIDE)));
}

function makeGalleryItem(i, side) {
  const item = document.createElement("button");
  item.type = "button";
  item.title = ranges().map(([, last]) => describeInstance(i, last)).join("\n");
  if (hasPicture(i)) item.append(makeThumbnail(i, side));
  item.append(textElement("span", nameOfClass(labels[i])), ...ranges().map(([, last]) => makePrediction(i, last)));
  item.onclick = () => openDetail(i);
  return item;
}

function makePrediction(i, e) {
  const guess = predictedAt(i, e);
  const isJudged = labels[i] !== UNKNOWN && guess !== MISSING;
  const sign = isCorrect(i, e) ? "✓ " : "✗ ";
  const prediction = textElement("span", `${isJudged ? sign : ""}${nameOfClass(guess)}`);
  if (isJudged) prediction.className = isCorrect(i, e) ? "right" : "wrong";
  return prediction;
}
