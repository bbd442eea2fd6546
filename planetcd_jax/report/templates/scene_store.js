// What the page knows: its data, what is chosen and shown, and the reader's marks.
const data = JSON.parse(document.getElementById("data").textContent);
const all = data.candidates;                         // best first
const byRank = new Map(all.map((place) => [place.rank, place]));
const el = (id) => document.getElementById(id);
const WORDS = { accepted: "✓ accepted", unsure: "? unsure", rejected: "✗ rejected" };
const store = "planetcd-marks-" + data.run;
const state = { tau: data.tau, chosen: null, sort: "rank", marks: {}, past: [], lasting: true };

const digits = (value, n = 4) => (value === null || value === undefined ? "not measured" : Number(value.toPrecision(n)).toString());
const counted = (number, one) => `${number} ${one}${number === 1 ? "" : "s"}`;
const small = (p) => (p === null || p === undefined || p >= 0.001 ? digits(p, 2) : p.toExponential(p < 1e-9 ? 0 : 1));
const degrees = (value, letters) => `${Math.abs(value).toFixed(5)}° ${letters[value < 0 ? 1 : 0]}`;
const chance = (place) => (place.tail_p === null || place.tail_p === undefined ? place.p_value : place.tail_p);
const markOf = (place) => state.marks[place.rank] || {};
const say = (text) => { el("said").textContent = text; };

function size(place) {
  if (place.area_unit !== "m2") return `${digits(place.area, 3)} px²`;
  return place.area >= 1e5 ? `${digits(place.area / 1e6, 3)} km²` : `${digits(place.area, 3)} m²`;
}

function position(place) {
  return place.lon === null || place.lon === undefined ? `row ${place.row}, column ${place.col}`
    : `${degrees(place.lat, "NS")}, ${degrees(place.lon, "EW")}`;
}

/** Share of the scores of unchanged ground above a threshold; null where the run kept none. */
function shareAbove(threshold) {
  if (!data.null.length) return null;
  let low = 0, high = data.null.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (data.null[middle] > threshold) high = middle; else low = middle + 1;
  }
  return (data.null.length - low) / data.null.length;
}

const REFUSED = "This browser keeps no marks for this page: save them before you close it.";

/** A mark as it may stand in the store or in a file; null for anything else. */
function clean(mark) {
  if (typeof mark === "string") mark = { mark };     // of earlier versions
  if (!mark || typeof mark !== "object") return null;
  const made = {};
  if (mark.mark in WORDS) made.mark = mark.mark;
  for (const name of ["class", "note"]) if (typeof mark[name] === "string" && mark[name].trim()) made[name] = mark[name].trim();
  return Object.keys(made).length ? made : null;
}

/** What the browser holds for this page now: another tab may have written it, or this page just before a reload. */
function recall() {
  if (!state.lasting) return;
  try {
    const kept = Object.entries(JSON.parse(localStorage.getItem(store) || "{}")).map(([rank, mark]) => [rank, clean(mark)]);
    state.marks = Object.fromEntries(kept.filter(([rank, mark]) => mark && byRank.has(Number(rank))));
  } catch (error) { state.lasting = false; say(REFUSED); }
}

function keep() {
  try { localStorage.setItem(store, JSON.stringify(state.marks)); } catch (error) { state.lasting = false; say(REFUSED); }
}

/** Changes marks, {rank: mark or null}, so that it can be undone. */
function change(marks, said, asOne = null) {
  recall();
  const last = state.past[state.past.length - 1];
  const before = Object.fromEntries(Object.keys(marks).map((rank) => [rank, state.marks[rank] || null]));
  if (!(asOne && last && last.asOne === asOne)) state.past.push({ before, asOne });
  apply(marks);
  say(said + (state.lasting ? "" : ". " + REFUSED));
}

function apply(marks) {
  for (const [rank, mark] of Object.entries(marks)) {
    const made = clean(mark);
    if (made) state.marks[rank] = made; else delete state.marks[rank];
  }
  keep();
  marksChanged();
}

function undo() {
  const last = state.past.pop();
  if (!last) return;
  recall();
  apply(last.before);
  say("The last mark is undone.");
}

function setMark(word) {
  const place = byRank.get(state.chosen);
  if (!place) return;
  const own = markOf(place), taken = own.mark === word;
  change({ [place.rank]: { ...own, mark: taken ? undefined : word } },
    taken ? `Place ${place.rank}: the mark is taken back.` : `Place ${place.rank}: ${word}.`);
  if (!taken && el("advance").checked) step(1);
}

/** Class or note of the chosen place, as it is typed; one step for undo. */
function setText(name, text) {
  const place = byRank.get(state.chosen);
  if (place) change({ [place.rank]: { ...markOf(place), [name]: text } }, "", `${name} ${place.rank}`);
}
