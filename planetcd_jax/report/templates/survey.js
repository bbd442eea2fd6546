const data = JSON.parse(document.getElementById("data").textContent);
const el = (id) => document.getElementById(id);
const all = data.places.map((row) => Object.fromEntries(row.map((value, i) => [data.names[i], value])));
all.forEach((place, i) => { place.index = i; });
const store = "planetcd-survey-marks-" + data.survey;
const HIGH = 48, SPARE = 6;
const state = { shown: all.slice(), sort: "review", up: true, chosen: null, marks: {} };

// Marks: those that were merged into the catalogue, and over them those of this browser.
const merged = Object.fromEntries(all.filter((p) => p.mark || p.note).map((p) => [p.place, { mark: p.mark, note: p.note }]));
let lasting = true;
function recall() {
  let own = {};
  try { own = JSON.parse(localStorage.getItem(store) || "{}"); } catch (error) { lasting = false; }
  state.marks = { ...merged, ...own };
  for (const place of all) {
    const mark = state.marks[place.place] || {};
    place.mark = mark.mark || ""; place.note = mark.note || "";
  }
}
function keep(place) {
  try {
    const own = JSON.parse(localStorage.getItem(store) || "{}");
    own[place.place] = { mark: place.mark, note: place.note };
    localStorage.setItem(store, JSON.stringify(own));
  } catch (error) { lasting = false; }
}

const number = (value, digits = 3) => (value === null || value === undefined ? "" : Number(value.toPrecision(digits)).toString());
function text(place, name) {
  const value = place[name];
  if (name === "discovery") return value ? "yes" : "no";
  if (name === "lat" || name === "lon") return value === null ? "" : value.toFixed(4);
  if (name === "last_not_seen" || name === "first_seen") return (value || "").slice(0, 10);
  return typeof value === "number" ? (Number.isInteger(value) ? String(value) : number(value)) : (value || "");
}

// The table: only the rows in view exist; the others are empty height.
const head = el("head"), body = el("body"), scroll = el("scroll"), pool = [];
const columns = [["thumbnail", "Before, after"], ...data.columns];
for (const [name, title] of columns) {
  const button = document.createElement("button");
  button.type = "button"; button.textContent = title; button.className = "head-" + name;
  button.setAttribute("role", "columnheader");
  if (name !== "thumbnail") button.addEventListener("click", () => { state.up = state.sort === name ? !state.up : true; state.sort = name; arrange(); });
  head.append(button);
}
function newRow() {
  const row = document.createElement("div");
  row.className = "place"; row.setAttribute("role", "row");
  row.cells = columns.map(([name]) => {
    const cell = document.createElement("div");
    cell.className = "cell " + name; cell.setAttribute("role", "cell");
    if (name === "thumbnail") { cell.picture = document.createElement("img"); cell.picture.alt = ""; cell.append(cell.picture); }
    if (name === "scene") { cell.link = document.createElement("a"); cell.append(cell.link); }
    row.append(cell);
    return cell;
  });
  row.addEventListener("click", (event) => { if (event.target.tagName !== "A") choose(row.place); });
  body.append(row);
  return row;
}
function fill(row, place) {
  row.place = place;
  row.setAttribute("aria-selected", String(place === state.chosen));
  columns.forEach(([name], i) => {
    const cell = row.cells[i];
    if (name === "thumbnail") {
      cell.picture.style.visibility = place.thumbnail ? "visible" : "hidden";
      if (place.thumbnail && cell.picture.getAttribute("src") !== place.thumbnail) cell.picture.src = place.thumbnail;
    } else if (name === "scene") { cell.link.textContent = place.scene; cell.link.href = place.report; cell.title = place.scene; }
    else { cell.textContent = text(place, name); if (name === "mark") cell.className = "cell mark " + place.mark; }
  });
}
function draw() {
  const top = Math.max(0, scroll.scrollTop - head.offsetHeight);
  const first = Math.max(0, Math.floor(top / HIGH) - SPARE);
  const last = Math.min(state.shown.length, Math.ceil((top + scroll.clientHeight) / HIGH) + SPARE);
  while (pool.length < last - first) pool.push(newRow());
  // A place keeps its row while it is in view, so that scrolling moves what is there and fills only what is new.
  const free = [], kept = new Set();
  for (const row of pool) {
    if (row.at !== undefined && row.at >= first && row.at < last && row.place === state.shown[row.at]) kept.add(row.at); else free.push(row);
  }
  for (let at = first; at < last; at++) {
    if (kept.has(at)) continue;
    const row = free.pop();
    row.at = at; row.hidden = false; row.style.display = ""; row.style.transform = `translateY(${at * HIGH}px)`;
    fill(row, state.shown[at]);
  }
  for (const row of free) { row.at = undefined; row.style.display = "none"; }
}
function redraw() { for (const row of pool) row.at = undefined; draw(); }
let waiting = false;
scroll.addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}, { passive: true });

function arrange() {
  const words = el("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const mark = el("of-mark").value, stratum = el("of-stratum").value, only = el("only").checked;
  state.shown = all.filter((p) => (!only || p.discovery) && (!stratum || p.stratum === stratum) &&
    (!mark || (mark === "-" ? !p.mark : p.mark === mark)) &&
    words.every((word) => `${p.scene} ${p.kind} ${p.note} ${p.place}`.toLowerCase().includes(word)));
  const name = state.sort, sign = state.up ? 1 : -1;
  state.shown.sort((a, b) => {
    const x = a[name], y = b[name];
    if (x === y) return a.index - b.index;
    if (x === null || x === "" || x === undefined) return 1;
    if (y === null || y === "" || y === undefined) return -1;
    return sign * (x < y ? -1 : 1);
  });
  columns.forEach(([key], i) => head.children[i].setAttribute("aria-sort", key === name ? (state.up ? "ascending" : "descending") : "none"));
  body.style.height = state.shown.length * HIGH + "px";
  el("count").textContent = `${state.shown.length} of ${all.length} places`;
  redraw();
  paint();
}

function choose(place, quiet) {
  state.chosen = place;
  for (const row of pool) if (row.place) row.setAttribute("aria-selected", String(row.place === place));
  const box = el("chosen");
  box.replaceChildren();
  if (place.thumbnail) { const image = document.createElement("img"); image.src = place.thumbnail; image.alt = "before and after"; box.append(image); }
  const list = document.createElement("dl");
  for (const [name, title] of [["place", "Place"], ...data.columns]) {
    const part = document.createElement("div"), term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = title; said.textContent = text(place, name) || "-";
    if (name === "scene") { const link = document.createElement("a"); link.href = place.report; link.textContent = place.scene; said.replaceChildren(link); }
    part.append(term, said); list.append(part);
  }
  box.append(list);
  el("note").value = place.note;
  if (!quiet) paint();
}
function step(by) {
  if (!state.shown.length) return;
  const at = state.chosen ? state.shown.indexOf(state.chosen) : -1;
  const next = Math.min(state.shown.length - 1, Math.max(0, at + by));
  const y = next * HIGH, high = scroll.clientHeight - head.offsetHeight;
  if (y < scroll.scrollTop) scroll.scrollTop = y; else if (y + HIGH > scroll.scrollTop + high) scroll.scrollTop = y + HIGH - high;
  draw();
  choose(state.shown[next]);
}
function mark(what) {
  const place = state.chosen;
  if (!place) return;
  place.mark = place.mark === what ? "" : what;
  keep(place);
  el("said").textContent = `${place.place}: ${place.mark || "mark taken back"}` + (lasting ? "" : ". This browser keeps no marks: export them before you close the page.");
  redraw(); choose(place);
}
function save() {
  const quote = (value) => (/[",\n\r]/.test(value) ? '"' + value.replace(/"/g, '""') + '"' : value);
  const marked = all.filter((p) => p.mark || p.note);
  const lines = ["scene,rank,place,mark,note", ...marked.map((p) => [p.scene, p.place.slice(p.place.lastIndexOf(":") + 1), p.place, p.mark, p.note].map((v) => quote(String(v))).join(","))];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.download = "survey-marks.csv"; link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  el("said").textContent = `Exported ${marked.length} mark${marked.length === 1 ? "" : "s"}`;
}

// The map: longitude and latitude as they are (plate carrée), with lines every so many degrees.
const map = el("map"), pen = map.getContext("2d");
const view = { lon: 0, lat: 0, scale: 1 };
const size = () => ({ w: map.clientWidth, h: map.clientHeight });
const short = (lon) => ((lon - view.lon + 540) % 360 + 360) % 360 - 180;   // the way round that is nearer to the middle
const at = (lon, lat) => { const { w, h } = size(); return [w / 2 + short(lon) * view.scale, h / 2 - (lat - view.lat) * view.scale]; };
function whole() { const { w, h } = size(); view.lon = 0; view.lat = 0; view.scale = Math.min(w / 360, h / 180); paint(); }
function fit() {
  const points = data.footprints.flat().concat(all.filter((p) => p.lon !== null).map((p) => [p.lon, p.lat]));
  if (!points.length) return whole();
  let x = 0, y = 0;
  for (const [lon] of points) { x += Math.cos(lon * Math.PI / 180); y += Math.sin(lon * Math.PI / 180); }
  view.lon = Math.atan2(y, x) * 180 / Math.PI;
  const lats = points.map((p) => p[1]), lons = points.map((p) => short(p[0]));
  const reach = (v) => v.reduce((m, a) => [Math.min(m[0], a), Math.max(m[1], a)], [Infinity, -Infinity]);
  const [w0, w1] = reach(lons), [s, n] = reach(lats), { w, h } = size();
  view.lon += (w0 + w1) / 2; view.lat = (s + n) / 2;
  view.scale = 0.9 * Math.min(w / Math.max(w1 - w0, 1e-4), h / Math.max(n - s, 1e-4));
  paint();
}
let painting = false;
function paint() { if (!painting) { painting = true; requestAnimationFrame(() => { painting = false; paintNow(); }); } }
function paintNow() {
  const { w, h } = size(), ratio = devicePixelRatio || 1;
  if (map.width !== Math.round(w * ratio)) { map.width = Math.round(w * ratio); map.height = Math.round(h * ratio); }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = "#20262c"; pen.fillRect(0, 0, w, h);
  const gaps = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005];
  const gap = gaps.find((g) => g * view.scale < 160) || 0.002;
  const digits = gap < 1 ? Math.ceil(-Math.log10(gap)) : 0;
  pen.strokeStyle = "#3d4852"; pen.fillStyle = "#aab6c2"; pen.lineWidth = 1; pen.font = "11px sans-serif";
  const north = Math.min(90, view.lat + h / 2 / view.scale), south = Math.max(-90, view.lat - h / 2 / view.scale);
  const half = Math.min(180, w / 2 / view.scale);
  const yn = at(0, north)[1], ys = at(0, south)[1], xw = w / 2 - half * view.scale, xe = w / 2 + half * view.scale;
  for (let lon = Math.ceil((view.lon - half) / gap) * gap; lon <= view.lon + half; lon += gap) {
    const x = w / 2 + (lon - view.lon) * view.scale, name = ((lon + 540) % 360 + 360) % 360 - 180;
    pen.beginPath(); pen.moveTo(x, yn); pen.lineTo(x, ys); pen.stroke(); pen.fillText(name.toFixed(digits) + "°", x + 2, h - 4);
  }
  for (let lat = Math.ceil(south / gap) * gap; lat <= north + 1e-9; lat += gap) {
    const y = at(0, lat)[1];
    pen.beginPath(); pen.moveTo(xw, y); pen.lineTo(xe, y); pen.stroke(); pen.fillText(lat.toFixed(digits) + "°", xw + 2, y - 2);
  }
  pen.strokeStyle = "#5a9bd8"; pen.lineWidth = 1.5;
  for (const ring of data.footprints) {
    pen.beginPath();
    const x0 = at(ring[0][0], ring[0][1])[0];
    ring.forEach(([lon, lat], i) => {
      let [x, y] = at(lon, lat);
      if (Math.abs(x - x0) > 180 * view.scale) x += x < x0 ? 360 * view.scale : -360 * view.scale;
      if (i) pen.lineTo(x, y); else pen.moveTo(x, y);
    });
    pen.closePath(); pen.stroke();
    const [x1, y1] = at(...ring[0]), [x2, y2] = at(...ring[2]);      // what is too small to be seen gets a box
    if (Math.abs(x2 - x1) < 12 && Math.abs(y2 - y1) < 12) pen.strokeRect((x1 + x2) / 2 - 6, (y1 + y2) / 2 - 6, 12, 12);
  }
  for (let i = state.shown.length - 1; i >= 0; i--) {
    const p = state.shown[i];
    if (p.lon === null) continue;
    const [x, y] = at(p.lon, p.lat);
    if (x < -9 || y < -9 || x > w + 9 || y > h + 9) continue;
    pen.fillStyle = p.mark === "accepted" ? "#3ddc6b" : p.mark === "rejected" ? "#ff6b5e" : p.discovery ? "#00e5ff" : "#ffd34d";
    pen.beginPath(); pen.arc(x, y, p === state.chosen ? 7 : 4, 0, 7); pen.fill();
    pen.strokeStyle = p === state.chosen ? "#fff" : "#000"; pen.lineWidth = p === state.chosen ? 2.5 : 0.7; pen.stroke();
  }
  el("where").textContent = `middle ${view.lat.toFixed(digits + 1)}° N, ${(((view.lon + 540) % 360 + 360) % 360 - 180).toFixed(digits + 1)}° E`;
}
function zoom(by, x, y) {
  const { w, h } = size(), dx = (x ?? w / 2) - w / 2, dy = (y ?? h / 2) - h / 2;
  const lon = view.lon + dx / view.scale, lat = view.lat - dy / view.scale;
  view.scale = Math.min(1e6, Math.max(Math.min(w / 720, h / 360), view.scale * by));
  view.lon = lon - dx / view.scale; view.lat = lat + dy / view.scale;
  paint();
}
let drag = null;
map.addEventListener("pointerdown", (e) => { drag = { x: e.clientX, y: e.clientY, moved: false }; map.setPointerCapture(e.pointerId); });
map.addEventListener("pointermove", (e) => {
  if (!drag) return;
  const dx = e.clientX - drag.x, dy = e.clientY - drag.y;
  if (Math.hypot(dx, dy) < 3 && !drag.moved) return;
  view.lon -= dx / view.scale; view.lat += dy / view.scale;
  drag = { x: e.clientX, y: e.clientY, moved: true }; paint();
});
map.addEventListener("pointerup", (e) => {
  const moved = drag && drag.moved; drag = null;
  if (moved) return;
  const box = map.getBoundingClientRect();
  let best = null, least = 12;
  for (const p of state.shown) {
    if (p.lon === null) continue;
    const [x, y] = at(p.lon, p.lat), far = Math.hypot(x - (e.clientX - box.left), y - (e.clientY - box.top));
    if (far < least) { least = far; best = p; }
  }
  if (best) { scroll.scrollTop = Math.max(0, state.shown.indexOf(best) * HIGH - scroll.clientHeight / 3); draw(); choose(best); }
});
map.addEventListener("wheel", (e) => { e.preventDefault(); const box = map.getBoundingClientRect(); zoom(Math.exp(-e.deltaY / 300), e.clientX - box.left, e.clientY - box.top); }, { passive: false });
map.addEventListener("keydown", (e) => {
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
  if (by) { view.lon += by[0] * 40 / view.scale; view.lat += by[1] * 40 / view.scale; paint(); }
  else if (e.key === "+") zoom(1.5); else if (e.key === "-") zoom(1 / 1.5); else return;
  e.preventDefault();
});

for (const [id, action] of [["whole", whole], ["fit", fit], ["nearer", () => zoom(1.5)], ["farther", () => zoom(1 / 1.5)],
                            ["accept", () => mark("accepted")], ["reject", () => mark("rejected")], ["export", save]]) el(id).addEventListener("click", action);
el("find").addEventListener("input", arrange);
for (const id of ["of-mark", "of-stratum", "only"]) el(id).addEventListener("change", arrange);
el("note").addEventListener("change", () => { if (state.chosen) { state.chosen.note = el("note").value; keep(state.chosen); redraw(); } });
for (const name of [...new Set(all.map((p) => p.stratum).filter(Boolean))].sort()) {
  const option = document.createElement("option"); option.textContent = name; el("of-stratum").append(option);
}
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || ["INPUT", "SELECT"].includes(e.target.tagName) || e.target === map) return;
  const actions = { ArrowDown: () => step(1), ArrowUp: () => step(-1), a: () => mark("accepted"), r: () => mark("rejected"),
                    Enter: () => { if (state.chosen && e.target.tagName !== "BUTTON" && e.target.tagName !== "A") location.href = state.chosen.report; } };
  const action = actions[e.key.length === 1 ? e.key.toLowerCase() : e.key];
  if (action) { if (e.key.startsWith("Arrow")) e.preventDefault(); action(); }
});
window.addEventListener("resize", () => { draw(); paint(); });
window.addEventListener("storage", () => { recall(); arrange(); });
recall();
arrange();
fit();
