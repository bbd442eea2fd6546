// Pictures as the page keeps them: decoded, stretched, subtracted, mixed, and coloured.
const NO_DATA = [70, 76, 84];
const ramp = data.overview.ramp.split(", ").map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));

const load = (source) => new Promise((resolve, reject) => {
  const image = new Image();
  image.onload = () => resolve(image);
  image.onerror = () => reject(new Error("a picture of this page is damaged"));
  image.src = source;
});

async function levels(source) {
  const image = await load(source), canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  return { width: canvas.width, height: canvas.height, data: pen.getImageData(0, 0, canvas.width, canvas.height).data };
}

function between(x, xs, ys) {
  let k = 1;
  while (k < xs.length - 1 && x > xs[k]) k += 1;
  return ys[k - 1] + ((x - xs[k - 1]) / (xs[k] - xs[k - 1])) * (ys[k] - ys[k - 1]);
}

/** Brightness that becomes black and white on each date, as the reader chose. */
function limits(place) {
  const chosen = el("stretch").value;
  if (chosen === "scene") return [[0, 1], [0, 1]];
  const percents = chosen.split(",").map(Number);
  return [0, 1].map((date) => {
    const spread = place.chip.spread[el("alike").checked ? 2 : date];
    const [low, high] = percents.map((percent) => between(percent, data.percents, spread));
    return [low, Math.max(high, low + 1e-4)];
  });
}

/** For each grey level of a coded picture how bright it is shown, 0 to 1 and beyond. */
function curve(pair, [low, high]) {
  return Float32Array.from({ length: 256 }, (_, level) => (between(level, data.levels, pair.knots) - low) / (high - low));
}

function canvasOf(picture, colour) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width; canvas.height = picture.height;
  const pen = canvas.getContext("2d"), made = pen.createImageData(picture.width, picture.height);
  for (let i = 0; i < made.data.length; i += 4) made.data.set(colour(i), i);
  pen.putImageData(made, 0, 0);
  return canvas;
}

const missing = (values, i) => values[i] + values[i + 1] + values[i + 2] < 24;
const grey = (values, i, table) => (table[values[i]] + table[values[i + 1]] + table[values[i + 2]]) / 3;

function toned(picture, table) {
  return canvasOf(picture, (i) => (missing(picture.data, i) ? [...NO_DATA, 255]
    : [0, 1, 2].map((k) => 255 * table[picture.data[i + k]]).concat(255)));
}

/** Brightness difference at which the colours of a difference end: only one pixel in a hundred lies beyond. */
function reach(before, after, tables) {
  const found = [];
  for (let i = 0; i < before.data.length; i += 4) {
    if (!missing(before.data, i) && !missing(after.data, i)) found.push(Math.abs(grey(after.data, i, tables[1]) - grey(before.data, i, tables[0])));
  }
  found.sort((one, other) => one - other);
  return Math.max(0.02, found.length ? found[Math.floor(0.99 * (found.length - 1))] : 1);
}

function difference(before, after, tables, most) {
  const ends = [[33, 102, 172], [247, 247, 247], [178, 24, 43]];
  return canvasOf(before, (i) => {
    if (missing(before.data, i) || missing(after.data, i)) return [...NO_DATA, 255];
    const share = Math.max(-1, Math.min(1, (grey(after.data, i, tables[1]) - grey(before.data, i, tables[0])) / most));
    const end = ends[share < 0 ? 0 : 2];
    return [0, 1, 2].map((k) => ends[1][k] + Math.abs(share) * (end[k] - ends[1][k])).concat(255);
  });
}

function mixed(before, after, tables) {
  return canvasOf(before, (i) => {
    const [first, second] = [255 * grey(before.data, i, tables[0]), 255 * grey(after.data, i, tables[1])];
    return missing(before.data, i) || missing(after.data, i) ? [...NO_DATA, 255] : [first, second, first, 255];
  });
}

function heated(heat) {
  return canvasOf(heat, (i) => {
    const level = heat.data[i];
    if (level === 0) return [0, 0, 0, 0];
    const at = ((level - 1) / 252) * (ramp.length - 1), k = Math.min(ramp.length - 2, Math.floor(at));
    return [0, 1, 2].map((c) => ramp[k][c] + (at - k) * (ramp[k + 1][c] - ramp[k][c])).concat(215);
  });
}
