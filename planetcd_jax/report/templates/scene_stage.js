// The two dates of a place, shown as blink, swipe, side by side, difference, false colour or pixel map.
const MODES = ["blink", "swipe", "side", "difference", "colour", "heat"];
const view = { mode: "blink", row: 0, col: 0, span: data.chip_side, scale: "window", after: false, blinking: true, outline: true };
let shown = null, serial = 0, timer = 0;             // pictures of the chosen place

/** Pictures of a place, from its data; only those of the last place asked for are shown. */
async function show(place) {
  const own = ++serial;
  const sources = [place.chip.before, place.chip.after, ...(place.wide ? [place.wide.before, place.wide.after] : [])];
  const [before, after, wideBefore, wideAfter] = await Promise.all(sources.map(levels));
  const heat = place.heat ? await levels(place.heat) : null;
  if (own !== serial) return;
  shown = { place, chip: [before, after], wide: place.wide ? [wideBefore, wideAfter] : null, heat };
  tone();
}

/** Applies the stretch to all pictures of the place. */
function tone() {
  if (!shown) return;
  const { place, chip, wide, heat } = shown, ends = limits(place);
  const tables = (pair) => ends.map((end) => curve(pair, end));
  const own = tables(place.chip), far = place.wide ? tables(place.wide) : null;
  shown.reach = reach(...chip, own);
  const layers = (pictures, made, picked) => picked.map((make) => make(pictures, made));
  const makers = [
    (pair, made) => toned(pair[0], made[0]), (pair, made) => toned(pair[1], made[1]),
    (pair, made) => difference(...pair, made, shown.reach), (pair, made) => mixed(...pair, made),
  ];
  const near = layers(chip, own, makers), around = wide ? layers(wide, far, makers) : makers.map(() => null);
  shown.layers = Object.fromEntries(["before", "after", "difference", "colour"].map((name, k) => [name, [around[k], near[k]]]));
  shown.heatLayer = heat ? heated(heat) : null;
  draw();
  el("stage").dataset.rank = place.rank;
}

/** Draws one layer of the place into a part of the canvas. */
function paint(pen, name, x, y, width, height) {
  const scale = Math.min(width, height) / view.span;
  pen.save();
  pen.beginPath(); pen.rect(x, y, width, height); pen.clip();
  pen.translate(x + width / 2 - view.col * scale, y + height / 2 - view.row * scale);
  pen.scale(scale, scale);
  const [wide, near] = shown.layers[name === "heat" ? "after" : name];
  const put = (picture, side) => {
    pen.imageSmoothingEnabled = (scale * side) / picture.width < 2.5 * devicePixelRatio;
    pen.drawImage(picture, -side / 2, -side / 2, side, side);
  };
  if (wide) put(wide, data.wide_side);
  put(near, data.chip_side);
  if (name === "heat" && shown.heatLayer) { put(shown.heatLayer, data.chip_side); contour(pen, scale); }
  if (view.outline) outlines(pen, scale);
  pen.restore();
}

/** The line where the pixel map crosses the level of chance. */
function contour(pen, scale) {
  const { heat, place } = shown, cell = data.chip_side / heat.width, start = -data.chip_side / 2;
  const above = (row, col) => row >= 0 && col >= 0 && row < heat.height && col < heat.width &&
    ((heat.data[4 * (row * heat.width + col)] - 1) / 252) * place.heat_top >= place.heat_level;
  pen.beginPath();
  for (let row = 0; row <= heat.height; row += 1) for (let col = 0; col <= heat.width; col += 1) {
    const here = above(row, col), x = start + col * cell, y = start + row * cell;
    if (here !== above(row, col - 1)) { pen.moveTo(x, y); pen.lineTo(x, y + cell); }
    if (here !== above(row - 1, col)) { pen.moveTo(x, y); pen.lineTo(x + cell, y); }
  }
  pen.lineWidth = (1.5 * devicePixelRatio) / scale; pen.strokeStyle = "#ffffff"; pen.stroke();
}

function outlines(pen, scale) {
  const { place } = shown, half = data.chip_side / 2, thin = devicePixelRatio / scale;
  pen.lineWidth = 1.3 * thin;
  pen.strokeStyle = "rgba(255, 234, 0, .9)"; pen.setLineDash([5 * thin, 4 * thin]);
  pen.strokeRect(place.box[0] - half, place.box[1] - half, place.box[2], place.box[3]);
  pen.setLineDash([]);
  for (const [colour, width] of [["rgba(0, 0, 0, .6)", 3.2], ["#56f0ff", 1.6]]) {
    pen.strokeStyle = colour; pen.lineWidth = width * thin;
    for (const ring of place.rings) {
      pen.beginPath();
      ring.forEach(([col, row], k) => (k ? pen.lineTo(col - half, row - half) : pen.moveTo(col - half, row - half)));
      pen.closePath(); pen.stroke();
    }
  }
}

function title(pen, text, x, y) {
  pen.font = `600 ${13 * devicePixelRatio}px system-ui, sans-serif`;
  pen.fillStyle = "rgba(0, 0, 0, .65)";
  pen.fillRect(x, y, pen.measureText(text).width + 12 * devicePixelRatio, 20 * devicePixelRatio);
  pen.fillStyle = "#fff"; pen.fillText(text, x + 6 * devicePixelRatio, y + 14.5 * devicePixelRatio);
}

function draw() {
  const canvas = el("stage"), ratio = devicePixelRatio, pen = canvas.getContext("2d");
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  pen.clearRect(0, 0, width, height);
  if (!shown || !shown.layers || !width) return;
  const border = Math.round((width * Number(el("swipe").value)) / 100);
  if (view.mode === "side") {
    const tall = height > width, half = Math.floor((tall ? height : width) / 2);
    const parts = tall ? [[0, 0, width, half - 2], [0, half + 2, width, half - 2]] : [[0, 0, half - 2, height], [half + 2, 0, half - 2, height]];
    ["before", "after"].forEach((date, k) => { paint(pen, date, ...parts[k]); title(pen, date, parts[k][0], parts[k][1]); });
  } else if (view.mode === "swipe") {
    paint(pen, "after", 0, 0, width, height);
    pen.save(); pen.beginPath(); pen.rect(0, 0, border, height); pen.clip(); paint(pen, "before", 0, 0, width, height); pen.restore();
    pen.fillStyle = "#fff"; pen.fillRect(border - ratio, 0, 2 * ratio, height);
    title(pen, "before", 0, 0); title(pen, "after", width - 46 * ratio, 0);
  } else {
    const name = view.mode === "blink" ? (view.after ? "after" : "before") : view.mode;
    paint(pen, name, 0, 0, width, height);
    title(pen, { difference: "after less before", colour: "false colour", heat: "pixel map" }[name] || name, 0, 0);
  }
  ruler(pen, Math.min(view.mode === "side" ? width / 2 : width, height) / view.span, height);
  describe();
}

/** A length of 1, 2 or 5 times a power of ten that takes at most so many pixels of the screen, and its name. */
function roundLength(perPixel, most) {
  const metres = data.frame.metres, ground = metres === null ? perPixel : perPixel * metres;
  const power = 10 ** Math.floor(Math.log10(ground * most));
  const length = [5, 2, 1].map((step) => step * power).find((step) => step <= ground * most) || power;
  const name = metres === null ? `${length} px` : length >= 1000 ? `${length / 1000} km` : length >= 1 ? `${length} m` : `${Math.round(length * 100)} cm`;
  return { wide: length / ground, name };
}

function ruler(pen, scale, height) {
  const { wide, name } = roundLength(1 / scale, 110 * devicePixelRatio), ratio = devicePixelRatio, y = height - 12 * ratio;
  pen.fillStyle = "rgba(0, 0, 0, .6)"; pen.fillRect(4 * ratio, y - 19 * ratio, wide + 12 * ratio, 27 * ratio);
  pen.fillStyle = "#fff"; pen.fillRect(10 * ratio, y, wide, 3 * ratio);
  pen.font = `${12 * ratio}px system-ui, sans-serif`; pen.fillText(name, 10 * ratio, y - 5 * ratio);
}

function describe() {
  const { place } = shown;
  const words = {
    blink: "The two dates in turn, in one place.", swipe: "Left of the border: before. Right of it: after.",
    side: "Both dates beside each other.", colour: "Green: brighter after. Magenta: darker after. Grey: alike.",
    difference: `Red: brighter after. Blue: darker after. Full colour at ${digits(shown.reach, 2)} of the range shown.`,
    heat: place.heat ? `How much each pixel changed: dark 0, bright ${digits(place.heat_top, 3)} standard deviations. White line: ` +
      `${digits(place.heat_level, 3)}, which chance stays below.` : "No pixel map of this place was made.",
  };
  el("legend").textContent = words[view.mode];
  el("stage").setAttribute("aria-label", `Place ${place.rank}: ${words[view.mode]}`);
}

function setMode(mode) {
  view.mode = mode;
  document.querySelectorAll("[data-mode]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.mode === mode)));
  el("for-blink").hidden = mode !== "blink"; el("for-swipe").hidden = mode !== "swipe";
  draw();
}

function beat() {
  clearInterval(timer);
  el("pause").setAttribute("aria-pressed", String(!view.blinking));
  if (view.blinking) timer = setInterval(() => { view.after = !view.after; if (view.mode === "blink") draw(); mapDate(); }, 1800 / Number(el("speed").value));
}

function pause() { view.blinking = !view.blinking; beat(); }

/** Ground around the change, its window, or a wider part. */
function setScale(name) {
  const place = byRank.get(state.chosen);
  if (!place) return;
  view.scale = name;
  document.querySelectorAll("[data-scale]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.scale === name)));
  const spans = { window: data.chip_side, wide: data.wide_side, change: Math.max(32, 2.2 * Math.max(place.height_px, place.width_px)) };
  Object.assign(view, { row: 0, col: 0, span: Math.min(spans[name], data.wide_side) });
  if (name === "change") {
    const points = place.rings.flat(), half = data.chip_side / 2;
    for (const [axis, k] of [["col", 0], ["row", 1]]) if (points.length) {
      const values = points.map((point) => point[k]);
      view[axis] = (Math.min(...values) + Math.max(...values)) / 2 - half;
    }
    view.span = Math.min(view.span, data.chip_side);
  }
  draw();
}

function zoom(factor, x = 0, y = 0) {
  const span = Math.max(12, Math.min(1.5 * data.wide_side, view.span * factor));
  view.col += x * (view.span - span); view.row += y * (view.span - span);
  view.span = span;
  document.querySelectorAll("[data-scale]").forEach((button) => button.setAttribute("aria-pressed", "false"));
  draw();
}

function watchStage() {
  const canvas = el("stage");
  const part = () => Math.min(view.mode === "side" ? canvas.clientWidth / 2 : canvas.clientWidth, canvas.clientHeight);
  let from = null;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect(), middle = view.mode === "side" ? 0 : 1;
    zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, (middle * (event.clientX - box.left - box.width / 2)) / part(), (middle * (event.clientY - box.top - box.height / 2)) / part());
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { from = event; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    if (view.mode === "swipe") {
      el("swipe").value = (100 * (event.clientX - canvas.getBoundingClientRect().left)) / canvas.clientWidth;
    } else {
      view.col -= ((event.clientX - from.clientX) * view.span) / part(); view.row -= ((event.clientY - from.clientY) * view.span) / part();
    }
    from = event;
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { from = null; });
  new ResizeObserver(draw).observe(canvas);
}
