// What Python packed into the page: arrays over N instances and E epochs, row by row, and K classes. Of two runs, the epochs
// of the second come after those of the first.

const element = id => document.getElementById(id);

const head = JSON.parse(element("head").textContent);
const N = head.instances;
const E = head.epochs.length;
const K = head.classes.length;
const RUNS = head.runs; // {run_id, name, kind, is_trained, start, end}: its epochs are start to end - 1 of the arrays
const isImported = RUNS[0].kind === "import";
const isPair = RUNS.length === 2;
const isSample = head.drawn_from !== null; // whether the page has a part of the run's images alone
const runOf = e => isPair && e >= RUNS[1].start ? 1 : 0;
const MISSING = head.missing; // in place of a predicted class where there is no prediction
const UNKNOWN = -1; // label of an instance without one
const ARRAY_TYPES = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, int32: Int32Array };

function decodeBytes(id) {
  const source = element(id);
  if (!source) return null;
  const text = atob(source.textContent);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

// A typed array, or null if the page was made without it.
async function unpack(name) {
  const bytes = decodeBytes(`array-${name}`);
  if (!bytes) return null;
  const unzipped = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const type = ARRAY_TYPES[element(`array-${name}`).dataset.type];
  return new type(await new Response(unzipped).arrayBuffer());
}

const unpackedArrays = new Map(); // by name; large arrays that only some views need are unpacked on first use
function unpackOnce(name) {
  if (!unpackedArrays.has(name)) unpackedArrays.set(name, unpack(name));
  return unpackedArrays.get(name);
}

// [N, E], [N], [N], [N], [N, E] in P_TRUE_STEPS, [N, E] in hundredths, instances with what not all have, counts of all images
const [predicted, labels, instanceIds, splitIndices, pTrue, margins, sample, totals] = await Promise.all(
  ["predicted", "label", "instance_id", "split", "p_true", "margin", "sample", "totals"].map(unpack));
const P_TRUE_STEPS = pTrue instanceof Uint8Array ? 255 : 65535; // between 0 and 1

// Place of an instance in a part of the page that has all of them, or the sample alone; -1 if it is not there.
const placeInSample = new Int32Array(N).fill(-1);
sample?.forEach((i, place) => { placeInSample[i] = place; });
const placeIn = (part, i) => part.is_sample ? placeInSample[i] : i;

const predictedAt = (i, e) => predicted[i * E + e];
// Where an epoch stands on an axis of a length: those of a run are equally far apart, and two runs keep apart.
function placeOfEpoch(e, length) {
  const run = runOf(e);
  const gap = isPair ? Math.min(40, length * 0.1) : 0;
  const steps = E - RUNS.length;
  return (steps ? (e - run) / steps : 0.5) * (length - gap) + run * gap;
}

const isCorrect = (i, e) => predictedAt(i, e) === labels[i];

// What users call an instance: its name in an imported log; else its number, after its split unless that is the first.
function nameOf(i) {
  if (head.names) return head.names[i];
  if (splitIndices[i] === 0) return `${instanceIds[i]}`;
  const split = head.splits[splitIndices[i]].replace("extra:", "");
  return `${split}/${instanceIds[i]}`;
}

function nameOfClass(c) {
  if (c === UNKNOWN) return "unknown";
  if (c === MISSING) return "none";
  return c === K ? "Other" : head.classes[c];
}

let sprite = null; // all thumbnails in one picture
const hasPicture = i => sprite !== null && placeIn(head.thumbnails, i) >= 0;
const picturesFirst = instances => [...instances.filter(hasPicture), ...instances.filter(i => !hasPicture(i))];
async function loadSprite() {
  const bytes = decodeBytes("thumbnails");
  if (bytes) sprite = await createImageBitmap(new Blob([bytes]));
}

function drawThumbnail(context, i, x, y, size) {
  if (!hasPicture(i)) return;
  const { side, across, shrunk } = head.thumbnails;
  const place = placeIn(head.thumbnails, i);
  const left = (place % across) * side;
  const top = Math.floor(place / across) * side;
  // whole multiples of a small image's pixels stay sharp; squares of unequal size would look worse than smooth ones
  const scale = size * context.getTransform().a / side;
  context.imageSmoothingEnabled = shrunk || scale < 1 || !Number.isInteger(scale);
  context.imageSmoothingQuality = "high";
  context.drawImage(sprite, left, top, side, side, x, y, size, size);
}
