// What Python packed into the page: numbers over N instances and E epochs, instance by instance.

const head = JSON.parse(document.getElementById("head").textContent);
const N = head.instances, E = head.epochs.length, K = head.classes.length;
const MISSING = head.missing; // in place of a predicted class where there is no prediction
const TYPES = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, int32: Int32Array };

function bytesOf(id) {
  const element = document.getElementById(id);
  if (!element) return null;
  const text = atob(element.textContent);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

// A typed array, or null where the page was made without it.
async function unpack(name) {
  const bytes = bytesOf(`array-${name}`);
  if (!bytes) return null;
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const type = TYPES[document.getElementById(`array-${name}`).dataset.type];
  return new type(await new Response(plain).arrayBuffer());
}

const later = new Map(); // arrays that only some views need, unpacked when they do
function unpackOnce(name) {
  if (!later.has(name)) later.set(name, unpack(name));
  return later.get(name);
}

const [predicted, label, instanceId, splitOf, pTrue, margin] = await Promise.all(
  ["predicted", "label", "instance_id", "split", "p_true", "margin"].map(unpack));
const UNKNOWN = -1; // label of an instance without one

const at = (i, e) => predicted[i * E + e];
const isRight = (i, e) => at(i, e) === label[i];
// What users call an instance: its number, after its split where there are several, or its name in an imported log.
const nameOf = i => head.names ? head.names[i]
  : (head.splits.length > 1 && splitOf[i] ? `${head.splits[splitOf[i]].replace("extra:", "")}/` : "") + instanceId[i];
const classOf = c => c === UNKNOWN ? "unknown" : c === MISSING ? "none" : c === K ? "Other" : head.classes[c];

let sprite = null; // all thumbnails in one picture
async function loadSprite() {
  const bytes = bytesOf("thumbnails");
  if (bytes) sprite = await createImageBitmap(new Blob([bytes]));
}
function drawThumbnail(context, i, x, y, size) {
  if (!sprite) return;
  const { side, across } = head.thumbnails;
  context.imageSmoothingEnabled = false;
  context.drawImage(sprite, (i % across) * side, Math.floor(i / across) * side, side, side, x, y, size, size);
}
