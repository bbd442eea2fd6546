const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const STEPS = 1000;
let method, tau, top, chosen = null, blinking = true, onAfter = false, timer = null;

const digits = (x) => (x === null ? "-" : Number(x.toPrecision(4)).toString());
const percent = (x) => `${(100 * x).toFixed(1)} %`;
const label = (row) => (row.label === 1 ? "changed" : row.label === 0 ? "unchanged" : null);
const above = (row) => row.rho > tau;

/** Share of the null scores above a threshold; null where the method has none. */
function chance(threshold) {
  const null_ = method.null;
  if (!null_.length) return null;
  let low = 0, high = null_.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (null_[middle] > threshold) high = middle; else low = middle + 1;
  }
  return (null_.length - low) / null_.length;
}

function counts() {
  const found = method.rows.filter(above).length;
  const parts = [`${found} of ${method.count} pairs above ${digits(tau)}.`];
  const share = chance(tau);
  if (share !== null) {
    const least = 1 / method.null.length;
    const said = share ? `${percent(share)} of unchanged pairs, ${(share * method.count).toFixed(1)} of ${method.count}`
      : `fewer than ${percent(least)} of unchanged pairs`;
    parts.push(`False alarms expected: ${said} if none had changed.`);
  }
  const changed = method.rows.filter((row) => row.label === 1), same = method.rows.filter((row) => row.label === 0);
  if (changed.length + same.length) {
    const hits = changed.filter(above).length, alarms = same.filter(above).length;
    parts.push(`By the labels: ${hits} of ${changed.length} changed pairs found, ${alarms} of ${same.length} unchanged ` +
      `ones above, ${percent((hits + same.length - alarms) / (changed.length + same.length))} decided rightly.`);
  }
  at("counts").textContent = parts.join(" ");
  at("tau-value").textContent = digits(tau);
}

function histogram() {
  const canvas = at("histogram"), ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight, foot = 18;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  pen.scale(ratio, ratio);
  const bins = Math.max(12, Math.min(60, Math.floor(width / 12)));
  const place = (x) => Math.min(bins - 1, Math.max(0, Math.floor((x / top) * bins)));
  const tally = (values) => values.reduce((sum, x) => { sum[place(x)] += 1; return sum; }, new Array(bins).fill(0));
  const hot = tally(method.rows.filter((row) => row.label === 1).map((row) => row.rho));
  const cold = tally(method.rows.filter((row) => row.label !== 1).map((row) => row.rho));
  const null_ = tally(method.null);
  const scale = method.null.length ? method.rows.length / method.null.length : 0;
  const most = Math.max(1, ...hot.map((n, i) => n + cold[i])), least = Math.max(1, ...null_.map((n) => n * scale));
  const room = height - foot, unit = room / (most + least), axis = most * unit, step = width / bins;
  for (let i = 0; i < bins; i += 1) {
    pen.fillStyle = colour("--plain"); pen.fillRect(i * step + 1, axis - cold[i] * unit, step - 2, cold[i] * unit);
    pen.fillStyle = colour("--changed"); pen.fillRect(i * step + 1, axis - (cold[i] + hot[i]) * unit, step - 2, hot[i] * unit);
    pen.fillStyle = colour("--null"); pen.fillRect(i * step + 1, axis, step - 2, null_[i] * scale * unit);
  }
  pen.fillStyle = colour("--ink"); pen.fillRect(0, axis, width, 1);
  pen.fillStyle = colour("--tau"); pen.fillRect((tau / top) * width - 1, 0, 2, room);
  pen.fillStyle = colour("--faint"); pen.font = "12px system-ui, sans-serif";
  for (let k = 0; k <= 4; k += 1) {
    pen.textAlign = k === 0 ? "left" : k === 4 ? "right" : "center";
    pen.fillText(k === 0 ? "rho 0" : digits((top * k) / 4), (width * k) / 4, height - 4);
  }
}

function kept(row) {
  switch (at("show").value) {
    case "above": return above(row);
    case "changed": return row.label === 1;
    case "unchanged": return row.label === 0;
    case "wrong": return row.label >= 0 && above(row) !== (row.label === 1);
    default: return true;
  }
}

function picture(url) {
  if (!url) { const none = document.createElement("span"); none.className = "none"; return none; }
  const image = document.createElement("img");
  image.src = url; image.alt = ""; image.loading = "lazy";
  return image;
}

function span(name, text) {
  const made = document.createElement("span");
  made.className = name; made.textContent = text;
  return made;
}

function item(row, rank) {
  const entry = document.createElement("li"), button = document.createElement("button"), words = document.createElement("span");
  const [before, after] = data.pictures[row.id] || [null, null];
  button.type = "button"; button.title = row.id;
  words.append(span("name", row.id), span("said", ""));
  button.append(span("rank", String(rank)), picture(before), picture(after), words);
  button.addEventListener("click", () => choose(rank - 1, false));
  entry.append(button);
  return entry;
}

let items = [];
function list() {
  items = method.rows.map((row, i) => item(row, i + 1));
  at("ranking").replaceChildren(...items);
  mark();
}

/** What the threshold decides about each row, without making the list anew. */
function mark() {
  method.rows.forEach((row, i) => {
    const entry = items[i], said = entry.querySelector(".said"), word = document.createElement("b");
    entry.classList.toggle("above", above(row));
    entry.hidden = !kept(row);
    word.textContent = above(row) ? "above" : "below";
    said.replaceChildren(`rho ${digits(row.rho)}, p ${digits(row.p)}`, document.createElement("br"), word,
      label(row) ? `, label: ${label(row)}` : "");
  });
}

function choose(i, scroll = true) {
  chosen = Math.max(0, Math.min(method.rows.length - 1, i));
  items.forEach((entry, k) => entry.firstChild.setAttribute("aria-current", String(k === chosen)));
  if (scroll) reveal(items[chosen]);
  show();
}

/** Moves the list alone: on a phone it lies below the pictures, which are to stay in view. */
function reveal(entry) {
  const box = at("ranking"), top = entry.offsetTop - box.offsetTop;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + entry.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = top + entry.offsetHeight - box.clientHeight;
}

function walk(step) {
  let i = chosen + step;
  while (i >= 0 && i < items.length && items[i].hidden) i += step;
  if (i >= 0 && i < items.length) choose(i);
}

function show() {
  const row = method.rows[chosen], pictures = data.pictures[row.id], heat = method.heat[row.id];
  at("pair-title").textContent = `${chosen + 1}. ${row.id}`;
  const said = [`rho ${digits(row.rho)}`, `p ${digits(row.p)}`, `${above(row) ? "above" : "below"} the threshold ${digits(tau)}`];
  if (label(row)) said.push(`label: ${label(row)}`);
  if (row.quality) said.push(`quality: ${row.quality}`);
  at("facts-of-pair").textContent = said.join("; ");
  at("panels").hidden = !pictures; at("no-pictures").hidden = Boolean(pictures);
  if (pictures) { at("before").src = pictures[0]; at("after").src = pictures[1]; blink(); }
  at("heat-panel").hidden = !heat;
  if (heat) at("heat").src = heat;
}

function blink() {
  const pictures = chosen === null ? null : data.pictures[method.rows[chosen].id];
  if (!pictures) return;
  at("blink").src = pictures[Number(onAfter)];
  at("blink-date").textContent = onAfter ? "after" : "before";
}

function beat() {
  clearInterval(timer);
  if (blinking) timer = setInterval(() => { onAfter = !onAfter; blink(); }, 1600 / Number(at("speed").value));
  at("blink-stop").setAttribute("aria-pressed", String(!blinking));
}

function decide(threshold, fromSlider = false) {
  tau = threshold;
  if (!fromSlider) at("tau").value = String(Math.round((tau / top) * STEPS));
  at("tau").setAttribute("aria-valuetext", digits(tau));
  counts(); histogram(); mark();
  if (chosen !== null) show();
}

function start(name) {
  const was = chosen === null ? null : method.rows[chosen].id;
  method = data.methods.find((one) => one.name === name);
  top = 1.03 * method.rows.concat(method.null.map((rho) => ({ rho }))).reduce((most, one) => Math.max(most, one.rho), method.tau || 0) || 1;
  tau = method.tau === null ? top : method.tau;
  list(); decide(tau);
  const same = method.rows.findIndex((row) => row.id === was);
  choose(was === null || same < 0 ? 0 : same);
}

document.querySelectorAll("input[name=method]").forEach((box) => box.addEventListener("change", () => start(box.value)));
at("tau").addEventListener("input", () => decide((Number(at("tau").value) / STEPS) * top, true));
at("reset").addEventListener("click", () => decide(method.tau === null ? top : method.tau));
at("show").addEventListener("change", mark);
at("next").addEventListener("click", () => walk(1));
at("previous").addEventListener("click", () => walk(-1));
at("speed").addEventListener("input", beat);
at("blink-stop").addEventListener("click", () => { blinking = !blinking; beat(); });
window.addEventListener("resize", histogram);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || ["SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  const key = event.key.toLowerCase();
  if (key === "n") walk(1);
  else if (key === "p") walk(-1);
  else if (key === "b") { blinking = !blinking; beat(); }
});
if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) blinking = false;
start(data.first);
beat();
