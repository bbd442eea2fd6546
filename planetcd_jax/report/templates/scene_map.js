// The map: the overlap on both dates, with score, places, lines of longitude and latitude, scale and arrows.
const SVG = "http://www.w3.org/2000/svg";
const chart = { x: 0, y: 0, width: data.overview.width, height: data.overview.height, date: "before", spots: new Map() };
const DATES = ["before", "after", "blink"];

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Pixels of the overlap to one of the screen. */
function chartStep() {
  const box = el("chart").getBoundingClientRect();
  return Math.max(chart.width / Math.max(1, box.width), chart.height / Math.max(1, box.height));
}

function buildMap() {
  const { width, height } = data.overview, [x, y, wide, high] = data.overview.heat_box;
  for (const [id, href, box] of [["map-before", data.overview.before, [0, 0, width, height]],
    ["map-after", data.overview.after, [0, 0, width, height]], ["map-heat", data.overview.heat, [x, y, wide, high]]]) {
    const image = el(id);
    image.setAttribute("href", href);
    ["x", "y", "width", "height"].forEach((name, k) => image.setAttribute(name, box[k]));
  }
  for (const line of data.frame.graticule) {
    el("graticule").append(svg("path", { d: "M" + line.points.map((point) => point.join(" ")).join("L") }));
    const label = svg("text", {});
    label.textContent = line.text;
    el("graticule").append(label);
  }
  for (const place of all.slice().reverse()) {       // the best on top
    const spot = svg("rect", { class: "spot", id: `spot-${place.rank}` }), title = svg("title", {});
    title.textContent = `Place ${place.rank}`;
    spot.append(title);
    spot.addEventListener("click", () => choose(place.rank));
    el("spots").append(spot);
    chart.spots.set(place.rank, spot);
  }
  arrows();
}

/** Shows the date that is chosen, or whose turn it is. */
function mapDate() {
  const date = chart.date === "blink" ? (view.after ? "after" : "before") : chart.date;
  el("map-after").style.visibility = date === "after" ? "visible" : "hidden";      // it lies on the other one
  el("map-date").textContent = date;
}

function setMapDate(date) {
  chart.date = date;
  if (date === "blink" && !view.blinking) pause();
  document.querySelectorAll("[data-date]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.date === date)));
  mapDate();
}

function placeSpots(step) {
  for (const place of all) {
    const wide = Math.max(place.width_px, 13 * step), high = Math.max(place.height_px, 13 * step);
    const box = { x: place.col - data.col - wide / 2, y: place.row - data.row - high / 2, width: wide, height: high };
    for (const [key, value] of Object.entries(box)) chart.spots.get(place.rank).setAttribute(key, value);
  }
}

/** How far a point lies from the middle of what is shown, 1 at its border. */
function farOut([x, y]) {
  return Math.max(Math.abs((2 * (x - chart.x)) / chart.width - 1), Math.abs((2 * (y - chart.y)) / chart.height - 1));
}

/** Labels of the lines where these enter what is shown. */
function placeLabels(step) {
  const texts = el("graticule").querySelectorAll("text");
  const inside = ([x, y]) => x >= chart.x && y >= chart.y && x <= chart.x + chart.width && y <= chart.y + chart.height;
  data.frame.graticule.forEach((line, k) => {
    const first = line.points.find(inside), upright = /[EW]$/.test(line.text);
    texts[k].style.display = first ? "" : "none";
    if (!first) return;
    texts[k].setAttribute("font-size", 11 * step);
    const seen = line.points.filter(inside), least = (key) => seen.reduce((best, point) => (key(point) < key(best) ? point : best));
    let end = least(upright ? (point) => point[1] : (point) => point[0]);
    if (upright && end[1] > chart.y + 0.15 * chart.height) end = least((point) => -farOut(point));      // one that begins at a pole
    const left = Math.min(end[0] + 3 * step, chart.x + chart.width - 48 * step);
    // The arrow to the north lies in the upper right corner; a label under it, or on another, cannot be read.
    if (upright && left > chart.x + chart.width - 105 * step && end[1] < chart.y + 70 * step) texts[k].style.display = "none";
    texts[k].setAttribute("x", left);
    texts[k].setAttribute("y", Math.min(upright ? Math.max(end[1], chart.y) + 13 * step : end[1] - 3 * step, chart.y + chart.height - 4 * step));
  });
  keepApart([...texts], step);
}

/** Hides each label that lies on one before it; latitudes come first. */
function keepApart(texts, step) {
  const kept = [], at = (text) => ["x", "y"].map((name) => Number(text.getAttribute(name)));
  const latitudes = texts.filter((text) => /[NS]$/.test(text.textContent)), rest = texts.filter((text) => !latitudes.includes(text));
  for (const text of [...latitudes, ...rest].filter((one) => one.style.display !== "none")) {
    const [x, y] = at(text);
    if (kept.some((other) => Math.abs(other[0] - x) < 46 * step && Math.abs(other[1] - y) < 12 * step)) text.style.display = "none";
    else kept.push([x, y]);
  }
}

function showMap() {
  el("chart").setAttribute("viewBox", `${chart.x} ${chart.y} ${chart.width} ${chart.height}`);
  const step = chartStep();
  placeSpots(step); placeLabels(step);
  const { wide, name } = roundLength(step, 110);
  el("scale").firstElementChild.style.width = `${wide}px`;
  el("scale").lastElementChild.textContent = name;
}

function zoomMap(factor, x = 0.5, y = 0.5) {
  const { width, height } = data.overview;
  const wide = Math.max(24, Math.min(width * 1.5, chart.width * factor)), high = (wide * height) / width;
  chart.x += x * (chart.width - wide); chart.y += y * (chart.height - high);
  chart.width = wide; chart.height = high;
  showMap();
}

function wholeMap() {
  Object.assign(chart, { x: 0, y: 0, width: data.overview.width, height: data.overview.height });
  showMap();
}

function mapToPlace() {
  const place = byRank.get(state.chosen);
  if (!place) return;
  const wide = Math.min(data.overview.width, 8 * data.chip_side), high = (wide * data.overview.height) / data.overview.width;
  Object.assign(chart, { x: place.col - data.col - wide / 2, y: place.row - data.row - high / 2, width: wide, height: high });
  showMap();
}

/** Where a point of the screen lies: column and row of the overlap. */
function under(event) {
  const box = el("chart").getBoundingClientRect(), step = chartStep();
  const left = box.left + (box.width - chart.width / step) / 2, top = box.top + (box.height - chart.height / step) / 2;
  return [chart.x + (event.clientX - left) * step, chart.y + (event.clientY - top) * step];
}

/** Map coordinates of a column and row of the first image. */
function groundOf(col, row) {
  const [a, b, c, d, e, f] = data.frame.affine;
  return [a * col + b * row + c, d * col + e * row + f];
}

function unitsText(x, y) {
  const places = data.frame.unit === "°" ? 6 : 1;
  return `${x.toFixed(places)}, ${y.toFixed(places)}${data.frame.unit === "px" ? "" : ` ${data.frame.unit}`}`;
}

function arrow(bearing, colour, inward) {
  const group = svg("g", { transform: `rotate(${bearing})`, stroke: colour, fill: colour, "stroke-width": 2 });
  if (inward) group.append(svg("circle", { cx: 0, cy: -30, r: 4.5, stroke: "none" }), svg("path", { d: "M0 -24V-8M-4 -13L0 -7L4 -13", fill: "none" }));
  else group.append(svg("path", { d: "M0 14V-14M-4.5 -8L0 -15L4.5 -8", fill: "none" }));
  return group;
}

/** North, and where the light comes from on each date. */
function arrows() {
  const said = [], { north, suns } = data.frame;
  if (north !== null) {
    const angle = (north * Math.PI) / 180, label = svg("text", { x: 24 * Math.sin(angle), y: -24 * Math.cos(angle) + 4, fill: "#fff", "font-size": 12, "text-anchor": "middle" });
    label.textContent = "N";
    el("arrows").append(svg("circle", { r: 38, fill: "rgba(12, 15, 18, .82)" }), arrow(north, "#ffffff", false), label);
    said.push(`North is ${Math.abs(north) < 1 ? "up" : `turned by ${Math.round(Math.abs(north))}° to the ${north > 0 ? "right" : "left"}`}.`);
  }
  suns.forEach((sun) => el("arrows").append(arrow(sun.bearing, sun.date === "before" ? "#ffd54a" : "#ff9a3c", true)));
  if (suns.length) said.push("Light comes from " + suns.map((sun) => `${Math.round(sun.bearing)}° clockwise from the top (${sun.date}, ${sun.date === "before" ? "yellow" : "orange"})`).join(" and ") + ".");
  else said.push("The labels do not say where the sun stood.");
  el("directions").textContent = said.join(" ");
}

function watchMap() {
  const canvas = el("chart");
  let from = null, moved = false;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = under(event);
    zoomMap(event.deltaY > 0 ? 1.25 : 0.8, (x - chart.x) / chart.width, (y - chart.y) / chart.height);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { from = event; moved = false; });
  canvas.addEventListener("pointermove", (event) => {
    const [col, row] = under(event);
    el("cursor").textContent = `Row ${Math.floor(row + data.row)}, column ${Math.floor(col + data.col)}` +
      (data.frame.wkt ? `; ${unitsText(...groundOf(col + data.col, row + data.row))}` : "");
    if (!from || !event.buttons) { from = null; return; }
    const step = chartStep();
    if (!moved && Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) < 4) return;
    moved = true;
    chart.x -= (event.clientX - from.clientX) * step; chart.y -= (event.clientY - from.clientY) * step;
    from = event;
    showMap();
  });
  canvas.addEventListener("pointerup", () => { from = null; });
  canvas.addEventListener("click", (event) => { if (moved) event.stopPropagation(); }, true);   // a drag chooses no place
  el("map-in").addEventListener("click", () => zoomMap(0.7)); el("map-out").addEventListener("click", () => zoomMap(1 / 0.7));
  el("map-all").addEventListener("click", wholeMap); el("map-here").addEventListener("click", mapToPlace);
  const opacity = () => { el("map-heat").style.opacity = el("opacity").value / 100; };
  el("opacity").addEventListener("input", opacity);
  opacity();
  el("lines").addEventListener("change", () => { el("graticule").style.display = el("lines").checked ? "" : "none"; });
  el("lines").parentElement.hidden = !data.frame.graticule.length;
  new ResizeObserver(showMap).observe(el("map"));
}
