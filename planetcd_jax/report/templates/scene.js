// The list with its filters and threshold, what is told of a place, and what keys and buttons do.
const items = new Map();

function span(name, text) {
  const made = document.createElement("span");
  made.className = name; made.textContent = text;
  return made;
}

function thumb(source) {
  const box = document.createElement("i"), image = document.createElement("img");
  image.src = source; image.alt = ""; image.loading = "lazy";
  box.append(image);
  return box;
}

function item(place) {
  const entry = document.createElement("li"), button = document.createElement("button"), thumbs = span("thumbs", "");
  button.type = "button"; button.id = `place-${place.rank}`;
  thumbs.append(thumb(place.chip.before), thumb(place.chip.after));
  const rank = span("rank", String(place.rank)), score = document.createElement("small"), extent = span("", size(place)), pixelsOf = document.createElement("small");
  score.textContent = digits(place.rho, 3); score.title = "rho";
  pixelsOf.textContent = `${place.height_px} x ${place.width_px} px`;
  rank.append(score); extent.append(pixelsOf);
  button.append(rank, thumbs, span("", small(chance(place))), extent);
  const told = span("told", "");
  told.title = place.kind || "";
  told.append(span("what", place.kind || ""), span("mark", ""));
  button.append(told);
  button.addEventListener("click", () => choose(place.rank));
  entry.append(button);
  items.set(place.rank, entry);
  return entry;
}

const above = () => all.filter((place) => place.rho > state.tau);

/** Places that pass threshold and filters, in the order that is asked for. */
function listed() {
  const kind = el("kind") ? el("kind").value : "", marked = el("marked").value;
  const kept = above().filter((place) => (!kind || place.kind === kind) && (!marked || (markOf(place).mark || "none") === marked));
  const keys = { rank: (place) => place.rank, p: (place) => chance(place) ?? 2, size: (place) => -place.area, kind: (place) => place.kind || "~" };
  const key = keys[state.sort];
  return kept.sort((one, other) => (key(one) < key(other) ? -1 : key(one) > key(other) ? 1 : one.rank - other.rank));
}

let order = [];
function list() {
  order = listed().map((place) => place.rank);
  const kept = new Set(order);
  el("places").replaceChildren(...order.map((rank) => items.get(rank)));
  for (const place of all) chart.spots.get(place.rank).style.display = kept.has(place.rank) ? "" : "none";
  el("empty").hidden = order.length > 0;
  el("empty").textContent = above().length ? "No place passes these filters." : "No place lies above this threshold. Lower it to see what comes closest.";
  el("listed").textContent = order.length === above().length ? "" : `${order.length} listed`;
  if (!kept.has(state.chosen)) { if (order.length) choose(order[0]); else nothing(); }
}

function counts() {
  const found = above(), reviewed = found.filter((place) => markOf(place).mark), accepted = found.filter((place) => markOf(place).mark === "accepted");
  const missed = found.length === all.length && data.changed > all.length ? ` (${data.changed} in candidates.csv)` : "";
  const by = data.expected !== null && state.tau === data.tau ? ` (by chance at most ${digits(data.expected, 2)})` : "";
  el("counts").textContent = `${counted(found.length, "place")} above the threshold${missed}${by}; ` +
    `${reviewed.length} of ${found.length} reviewed, ${accepted.length} accepted`;
  const share = shareAbove(state.tau), own = state.tau === data.tau ? "The run's threshold." : `The run's threshold: ${digits(data.tau)}.`;
  const least = data.null.length ? data.windows / data.null.length : 0;
  el("chance").textContent = share === null ? own : (share
    ? `By chance about ${Math.round(share * data.windows)} of ${data.windows} windows (${digits(100 * share, 2)} %) are above it. `
    : `By chance fewer than ${Math.ceil(least)} of ${data.windows} windows are above it. `) + own;
}

function marksChanged() {
  for (const place of all) {
    const mark = markOf(place), cell = items.get(place.rank).querySelector(".mark");
    cell.textContent = WORDS[mark.mark] || "";
    cell.className = `mark ${mark.mark || ""}`;
    if (mark.class) { const small = document.createElement("small"); small.textContent = mark.class; cell.append(small); }
    chart.spots.get(place.rank).setAttribute("class", ["spot", mark.mark, place.rank === state.chosen ? "chosen" : ""].filter(Boolean).join(" "));
  }
  const own = markOf(byRank.get(state.chosen) || {});
  document.querySelectorAll("[data-mark]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.mark === own.mark)));
  for (const name of ["class", "note"]) if (document.activeElement !== el(name)) el(name).value = own[name] || "";
  el("undo").disabled = !state.past.length;
  counts();
}

function setTau(tau, from) {
  state.tau = Math.max(0, tau);
  if (from !== "slider") el("tau").value = Math.round((1000 * state.tau) / data.top);
  if (from !== "number") el("tau-number").value = Number(state.tau.toPrecision(6));
  el("tau").setAttribute("aria-valuetext", digits(state.tau));
  list(); counts();
}

function nothing() {
  state.chosen = null; shown = null; serial += 1;
  el("place-title").textContent = "No place";
  el("facts").replaceChildren(); el("inner-facts").replaceChildren();
  marksChanged(); draw();
}

function choose(rank) {
  if (document.activeElement && ["class", "note"].includes(document.activeElement.id)) document.activeElement.blur();
  state.chosen = rank;
  const place = byRank.get(rank);
  for (const [own, entry] of items) entry.firstChild.setAttribute("aria-current", String(own === rank));
  const box = el("places"), entry = items.get(rank);
  if (entry.offsetTop < box.scrollTop + box.offsetTop || entry.offsetTop + entry.offsetHeight > box.scrollTop + box.offsetTop + box.clientHeight) {
    box.scrollTop = entry.offsetTop - box.offsetTop - box.clientHeight / 3;
  }
  el("place-title").textContent = `Place ${rank}`;
  facts(place); marksChanged(); setScale(view.scale); show(place);
}

function step(by) {
  if (!order.length) return;
  const at = order.indexOf(state.chosen);
  choose(order[(at + by + order.length) % order.length]);
}

/** Text with a button that copies it. */
function copied(text) {
  const button = document.createElement("button");
  button.type = "button"; button.textContent = "Copy"; button.setAttribute("aria-label", `Copy ${text}`);
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text); say(`Copied ${text}`); } catch (error) { say(`The browser does not copy; the text is: ${text}`); }
  });
  return [`${text} `, button];
}

function moved(place) {
  if (place.shift_rows === null) return "no shift brings the two dates closer here";
  const parts = [[place.shift_rows, "down", "up"], [place.shift_cols, "right", "left"]].filter(([n]) => Math.abs(n) >= 0.05);
  return parts.length ? "the second date lies " + parts.map(([n, ahead, back]) => `${digits(Math.abs(n), 2)} px ${n > 0 ? ahead : back}`).join(" and ") + " of the first here"
    : "the two dates lie on each other here";
}

function brighter(place) {
  const by = place.brightness_difference;
  return by === null ? "not measured" : Math.abs(by) < 0.005 ? "alike on both dates" : `the second date is ${by > 0 ? "brighter" : "darker"} by ${digits(100 * Math.abs(by), 2)} % of the range`;
}

function kindText(place) {
  const sure = place.kind_sure === undefined || place.kind_sure === null ? "" : ` (right for ${Math.round(100 * place.kind_sure)} % of drawn changes that were as clear)`;
  return place.kind + sure;
}

const TOLD = new Set(["rank", "rho", "p_value", "tail_p", "kind", "kind_sure", "lon", "lat", "x", "y", "row", "col", "area", "area_unit", "height_px", "width_px",
  "pixel_size", "pixel_level", "outlined", "shift_rows", "shift_cols", "correlation", "brightness_difference", "explanation"]);
const INNER = { site: "connected group of windows", windows: "windows above the threshold that see it", window_row: "highest window, first row",
  window_col: "highest window, first column", contrast_ratio: "contrast, after over before", noise_ratio: "noise, after over before",
  light_turn: "relief lit from another side, share", likeness: "likeness once registered", channels_moved: "features that moved most",
  rho_by_shift: "rho by shift of the second date, rows" };

function facts(place) {
  const tail = place.tail_p === undefined || place.tail_p === null ? "" : `; tail p ${small(place.tail_p)} (extrapolated)`;
  const rows = [
    ["Score", `rho ${digits(place.rho)}; p ${small(place.p_value)}${tail}`],
    ...(place.kind ? [["Looks like", kindText(place)]] : []),
    ...(place.explanation ? [["In words", place.explanation]] : []),
    ["Size", place.outlined ? `${size(place)}, ${place.height_px} x ${place.width_px} px` : `${place.height_px} x ${place.width_px} px; no pixel stands out, so the outline is drawn at half the peak`],
    ...(place.lon === null ? [] : [["Degrees", copied(position(place))]]),
    ...(data.frame.wkt ? [["Map units", copied(unitsText(place.x, place.y))]] : []),
    ["Pixel", copied(`row ${place.row}, column ${place.col}`)],
    ["Agreement", `correlation of the two dates ${digits(place.correlation, 2)}; ${moved(place)}`],
    ["Brightness", brighter(place)],
    ["Strongest pixel", place.pixel_size === null ? "not measured" : `${digits(place.pixel_size, 3)} standard deviations of unchanged ground; chance stays below ${digits(place.pixel_level, 3)}`],
  ];
  const inner = data.columns.filter((name) => !TOLD.has(name) && place[name] !== null && place[name] !== "")
    .map((name) => [INNER[name] || name.replace(/_/g, " "), typeof place[name] === "number" ? digits(place[name]) : String(place[name])]);
  for (const [id, told] of [["facts", rows], ["inner-facts", inner]]) {
    el(id).replaceChildren(...told.flatMap(([name, value]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name; text.append(...(Array.isArray(value) ? value : [value]));
      return [term, text];
    }));
  }
}

function sortBy(name) {
  state.sort = name;
  document.querySelectorAll("[data-sort]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.sort === name)));
  list();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  el("theme").value = theme;
  try { localStorage.setItem("planetcd-theme", theme); } catch (error) { /* a page without a store opens in the system's colours */ }
}

const actions = {
  n: () => step(1), ArrowRight: () => step(1), ArrowDown: () => step(1), p: () => step(-1), ArrowLeft: () => step(-1), ArrowUp: () => step(-1),
  a: () => setMark("accepted"), u: () => setMark("unsure"), r: () => setMark("rejected"), b: pause,
  c: () => el("class").focus(), e: () => el("note").focus(), "+": () => zoom(1 / 1.3), "=": () => zoom(1 / 1.3), "-": () => zoom(1.3), 0: () => setScale("change"),
  m: () => setMapDate(DATES[(DATES.indexOf(chart.date) + 1) % DATES.length]), o: () => el("outline").click(), "?": () => el("keys").showModal(),
};
MODES.forEach((mode, k) => { actions[k + 1] = () => setMode(mode); });

document.addEventListener("keydown", (event) => {
  const writing = event.target.matches("input:not([type=range], [type=checkbox])"), moving = event.target.matches("select, input[type=range]");
  if (el("keys").open || writing) { if (writing && ["Enter", "Escape"].includes(event.key)) event.target.blur(); return; }
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); undo(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || (moving && (event.target.matches("select") || event.key.startsWith("Arrow")))) return;
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) { event.preventDefault(); action(); }
});

function watch() {
  const on = (event) => (id, action) => el(id).addEventListener(event, action);
  const click = on("click"), input = on("input"), picked = on("change");           // every way to choose from a list sends it
  document.querySelectorAll("[data-sort]").forEach((button) => button.addEventListener("click", () => sortBy(button.dataset.sort)));
  document.querySelectorAll("[data-mode]").forEach((button) => button.addEventListener("click", () => setMode(button.dataset.mode)));
  document.querySelectorAll("[data-mark]").forEach((button) => button.addEventListener("click", () => setMark(button.dataset.mark)));
  document.querySelectorAll("[data-date]").forEach((button) => button.addEventListener("click", () => setMapDate(button.dataset.date)));
  document.querySelectorAll("[data-scale]").forEach((button) => button.addEventListener("click", () => setScale(button.dataset.scale)));
  click("next", actions.n); click("previous", actions.p); click("undo", undo); click("help", actions["?"]); click("pause", pause);
  click("closer", () => zoom(1 / 1.4)); click("farther", () => zoom(1.4)); click("tau-reset", () => setTau(data.tau));
  input("tau", (event) => setTau((data.top * event.target.value) / 1000, "slider"));
  input("tau-number", (event) => { if (event.target.value !== "") setTau(Number(event.target.value), "number"); });
  input("class", () => setText("class", el("class").value)); input("note", () => setText("note", el("note").value));
  input("speed", beat); input("swipe", draw); picked("stretch", tone); picked("alike", tone);
  picked("outline", () => { view.outline = el("outline").checked; draw(); });
  picked("marked", list); picked("theme", () => setTheme(el("theme").value));
  if (el("kind")) picked("kind", list);
  window.addEventListener("storage", (event) => { if (event.key === store || event.key === null) { recall(); marksChanged(); } });
  watchStage(); watchMap(); watchFiles();
}

all.forEach(item);
if (el("kind")) for (const kind of [...new Set(all.map((place) => place.kind).filter(Boolean))].sort()) el("kind").append(new Option(kind, kind));
try { setTheme(localStorage.getItem("planetcd-theme") || ""); } catch (error) { setTheme(""); }
buildMap();
recall();
watch();
if (matchMedia("(prefers-reduced-motion: reduce)").matches) view.blinking = false;
setTau(data.tau);
marksChanged(); setMode("blink"); showMap(); setMapDate("before"); beat();
