// Marks out as CSV and as GeoJSON with its own reference system, and in again.
const TAKEN = () => el("only-accepted").checked;

function csvCell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

/** Places for the CSV file: those above the threshold and those with a mark; or the accepted ones only. */
const forCsv = () => all.filter((place) => (TAKEN() ? markOf(place).mark === "accepted" : place.rho > state.tau || state.marks[place.rank]));

/** Places for the JSON file: those with a mark; or the accepted ones only. */
const forJson = () => all.filter((place) => (TAKEN() ? markOf(place).mark === "accepted" : state.marks[place.rank]));

function csv(places) {
  const lines = [["run", "mark", "class", "note", "above_tau", "tau", ...data.columns.map((name) => (name === "note" || name === "class" ? `place_${name}` : name))]];
  for (const place of places) {
    const mark = markOf(place);
    lines.push([data.run, mark.mark, mark.class, mark.note, place.rho > state.tau, state.tau, ...data.columns.map((name) => place[name])]);
  }
  return lines.map((cells) => cells.map(csvCell).join(",")).join("\n") + "\n";
}

/** The outline of a place in map coordinates, closed; its window where it has none. */
function polygon(place) {
  const half = Math.floor(data.chip_side / 2), [x, y, wide, high] = place.box;
  const window = [[x, y], [x + wide, y], [x + wide, y + high], [x, y + high], [x, y]];
  const corner = [place.chip_col, place.chip_row];
  return (place.rings.length ? place.rings : [window]).map((ring) => ring.map(([col, row]) => groundOf(col + corner[0], row + corner[1])));
}

/** Marked places as GeoJSON. Its coordinates are those of the map; "crs" holds their system, as GeoJSON of 2008 has it. */
function geojson(places) {
  const kept = data.columns.filter((name) => !["note", "class"].includes(name));
  return JSON.stringify({
    type: "FeatureCollection",
    name: "marks",
    ...(data.frame.wkt ? { crs: { type: "name", properties: { name: data.frame.wkt } } } : {}),
    planetcd: { run: data.run, before: data.before_name, after: data.after_name, tau: state.tau, simulated: data.simulated, version: data.version },
    features: places.map((place) => ({
      type: "Feature",
      geometry: { type: "Polygon", coordinates: polygon(place) },
      properties: { ...Object.fromEntries(kept.map((name) => [name, place[name]])), mark: null, class: null, note: null, ...markOf(place) },
    })),
  }, null, 1);
}

function save(name, type, write, places) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([write(places)], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`Saved ${name}: ${counted(places.length, "place")}, ${places.filter((place) => state.marks[place.rank]).length} of them marked.`);
}

/** Rows of a CSV file, each by the names of its first line. */
function csvRows(text) {
  const rows = [[]];
  let cell = "", quoted = false;
  const end = () => { rows[rows.length - 1].push(cell); cell = ""; };
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += c; i += 1; } else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === ",") end();
    else if (c === "\n") { end(); rows.push([]); } else if (c !== "\r") cell += c;
  }
  if (cell || rows[rows.length - 1].length) end();
  const [names, ...rest] = rows.filter((row) => row.length > 1);
  return rest.map((row) => Object.fromEntries(names.map((name, k) => [name, row[k]])));
}

/** The place of this page that a mark of another run is about: the nearest, no farther than its own extent. */
function nearest(row, col) {
  const away = (place) => Math.hypot(place.row - row, place.col - col);
  const found = all.reduce((best, place) => (away(place) < away(best) ? place : best), all[0]);
  return found && away(found) <= Math.max(10, found.height_px, found.width_px) ? found : null;
}

/** Takes marks from the text of a file that this page, or the page of another run of the same images, has saved. */
function takeMarks(text) {
  let rows, run, before = data.before_name;
  try {
    if (/^\s*\{/.test(text)) {
      const read = JSON.parse(text);
      ({ run, before } = read.planetcd);
      rows = read.features.map((feature) => feature.properties);
    } else { rows = csvRows(text); run = rows[0].run; }
    if (!rows.every((row) => "rank" in row && "mark" in row)) throw new Error("no marks");
  } catch (error) { say("This file holds no marks of this program: load one that Save CSV or Save JSON has written."); return; }
  if (before !== data.before_name) { say(`These marks are of ${before}, this page is of ${data.before_name}: nothing was taken.`); return; }
  const taken = {};
  let lost = 0;
  for (const row of rows) {
    const mark = clean(row), place = run === data.run ? byRank.get(Number(row.rank)) : nearest(Number(row.row), Number(row.col));
    if (mark && place) taken[place.rank] = mark; else if (mark) lost += 1;
  }
  change(taken, `Took ${counted(Object.keys(taken).length, "mark")}` + (run === data.run ? "" : " of another run, by position") +
    (lost ? `; ${counted(lost, "mark")} of the file found no place here` : "") + ".");
}

function watchFiles() {
  el("save-csv").addEventListener("click", () => save("marks.csv", "text/csv", csv, forCsv()));
  el("save-json").addEventListener("click", () => save("marks.json", "application/geo+json", geojson, forJson()));
  el("load").addEventListener("click", () => el("file").click());
  el("file").addEventListener("change", async () => {
    const [file] = el("file").files;
    if (file) takeMarks(await file.text());
    el("file").value = "";
  });
}
