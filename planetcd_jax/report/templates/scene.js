"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = data.candidates;                       // best first
  const el = (id) => document.getElementById(id);
  const list = el("candidates"), svg = el("marks");
  const store = "planetcd-marks-" + data.run;
  const state = { tau: data.tau, chosen: -1, blinking: false, phase: 0, zoom: 2, marks: {}, serial: 0 };
  let timer = 0, images = {};

  const shown = () => all.filter((c) => c.rho > state.tau).length;   // candidates are sorted by rho
  const number = (v, digits = 4) => (v === null ? "not measured" : Number(v.toPrecision(digits)).toString());
  const place = (c) => (c.lon === null ? `row ${c.row}, column ${c.col}` : `${c.lat.toFixed(5)}° N, ${c.lon.toFixed(5)}° E`);
  const words = { accepted: "✓ accepted", rejected: "✗ rejected" };
  const say = (text) => { el("said").textContent = text; };

  let lasting = true;                                // until the browser refuses to keep marks
  const refused = "This browser keeps no marks for this page: export them before you close it.";
  const unkept = () => { lasting = false; say(refused); };

  // What the browser holds for this page now: another tab may have written it, or this page just before a reload.
  function recall() {
    if (!lasting) return;
    try {
      const kept = Object.entries(JSON.parse(localStorage.getItem(store) || "{}"));
      state.marks = Object.fromEntries(kept.filter(([, mark]) => mark in words));
    } catch (error) { unkept(); }
  }

  function keep() {
    try { localStorage.setItem(store, JSON.stringify(state.marks)); } catch (error) { unkept(); }
  }

  // The list and the map: built once, then shown or hidden.
  const items = all.map((c, i) => {
    const item = document.createElement("li");
    item.id = "candidate-" + c.rank;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    const rank = document.createElement("b"), text = document.createElement("span"), mark = document.createElement("span");
    rank.textContent = c.rank;
    text.textContent = `rho ${number(c.rho)}, p ${number(c.p_value, 2)}`;
    const where = document.createElement("small");
    where.textContent = place(c);
    text.append(where);
    mark.className = "mark";
    item.append(rank, text, mark);
    item.addEventListener("click", () => choose(i));
    list.append(item);
    return item;
  });
  const spots = all.map((c, i) => {
    const spot = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const least = 0.012 * Math.max(svg.viewBox.baseVal.width, svg.viewBox.baseVal.height);   // small ones are to be seen too
    const wide = Math.max(c.width_px, least), high = Math.max(c.height_px, least);
    const attributes = { x: c.col - data.col - wide / 2, y: c.row - data.row - high / 2, width: wide, height: high,
                         tabindex: 0, role: "button", class: "spot", id: "spot-" + c.rank,
                         "aria-label": `Candidate ${c.rank}, rho ${number(c.rho)}` };
    for (const [name, value] of Object.entries(attributes)) spot.setAttribute(name, value);
    spot.addEventListener("click", () => choose(i));
    spot.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(i); }
    });
    return spot;
  });
  for (const spot of spots.slice().reverse()) svg.append(spot);      // the best on top

  function drawMarks() {
    all.forEach((c, i) => {
      const mark = state.marks[c.rank] || "";
      items[i].lastChild.textContent = words[mark] || "";
      items[i].lastChild.className = "mark " + mark;
      spots[i].setAttribute("class", ["spot", mark, i === state.chosen ? "chosen" : ""].join(" ").trim());
    });
    const mark = state.chosen < 0 ? "" : state.marks[all[state.chosen].rank];
    el("accept").setAttribute("aria-pressed", String(mark === "accepted"));
    el("reject").setAttribute("aria-pressed", String(mark === "rejected"));
  }

  function setTau(tau, from) {
    state.tau = Math.max(0, tau);
    const n = shown();
    items.forEach((item, i) => { item.hidden = i >= n; item.style.display = i < n ? "" : "none"; });
    spots.forEach((spot, i) => { spot.style.display = i < n ? "" : "none"; });
    if (from !== "slider") el("tau").value = Math.round(1000 * state.tau / data.top);
    if (from !== "number") el("tau-number").value = Number(state.tau.toPrecision(6));
    const more = n === all.length && data.changed > n ? `, and ${data.changed - n} more in candidates.csv` : "";
    const own = Math.abs(state.tau - data.tau) < 1e-9 * data.top ? "tau of this run" : `this run's tau: ${number(data.tau)}`;
    el("tau-note").textContent = `${n} of ${all.length} candidates above ${number(state.tau)}${more}; ${own}`;
    el("empty").hidden = n > 0;
    if (n === 0) clear(); else if (state.chosen < 0 || state.chosen >= n) choose(Math.min(Math.max(state.chosen, 0), n - 1), true);
  }

  function clear() {
    state.chosen = -1;
    list.removeAttribute("aria-activedescendant");
    items.forEach((item) => item.setAttribute("aria-selected", "false"));
    el("viewer-title").textContent = "No candidate";
    el("panels").hidden = true;
    el("measures").replaceChildren();
    drawMarks();
  }

  function choose(i, quiet) {
    state.chosen = i;
    const c = all[i];
    items.forEach((item, k) => item.setAttribute("aria-selected", String(k === i)));
    list.setAttribute("aria-activedescendant", items[i].id);
    const box = list.getBoundingClientRect(), mine = items[i].getBoundingClientRect();
    if (mine.top < box.top || mine.bottom > box.bottom) list.scrollTop += mine.top - box.top - box.height / 3;
    el("viewer-title").textContent = `Candidate ${c.rank}`;
    el("panels").hidden = false;
    measures(c);
    drawMarks();
    if (!quiet) say(`Candidate ${c.rank} of ${shown()}`);
    load(c);
  }

  function measures(c) {
    const rows = [
      ["rho", number(c.rho)], ["p-value", number(c.p_value, 3)],
      ["centre", place(c)], ["pixel of the centre", `row ${c.row}, column ${c.col}`],
      ["changed ground", c.outlined ? `${number(c.area, 4)} ${c.area_unit.replace("2", "²")}, ${c.height_px} x ${c.width_px} px` : "no pixel exceeds the level; outlined at half the peak"],
      ["pixel evidence at the centre", `${number(c.pixel_size, 3)} sd; chance stays below ${number(c.pixel_level, 3)}`],
      ["windows above tau that see it", c.windows ? `${c.windows}, the highest from row ${c.window_row}, column ${c.window_col}` : "none"],
      ["connected site", c.site ? String(c.site) : "none"],
      ["residual shift", c.shift_rows === null ? "no shift brings the dates closer" : `${number(c.shift_rows, 3)} rows, ${number(c.shift_cols, 3)} columns`],
      ["correlation of the dates", number(c.correlation, 3)],
      ["brightness, after less before", number(c.brightness_difference, 3)],
    ];
    if (c.explanation) {
      rows.unshift(["in words", c.explanation]);
      rows.push(
        ["contrast, after over before", number(c.contrast_ratio, 3)], ["noise, after over before", number(c.noise_ratio, 3)],
        ["relief lit from another side, share", number(c.light_turn, 2)], ["likeness once registered", number(c.likeness, 3)], ["features that moved most", c.channels_moved],
        ["rho by shift of the after-image, rows", c.rho_by_shift],
      );
    }
    el("measures").replaceChildren(...rows.map(([name, value]) => {
      const row = document.createElement("div"), term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name; text.textContent = value;
      row.append(term, text);
      return row;
    }));
  }

  const picture = (source) => new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("an image of this page is damaged"));
    image.src = source;
  });

  async function load(c) {
    const serial = ++state.serial;
    const [before, after, heat] = await Promise.all([picture(c.before), picture(c.after), c.heat ? picture(c.heat) : null]);
    if (serial !== state.serial) return;             // another candidate was chosen meanwhile
    images = { before, after, heat };
    draw();
  }

  function grey(image, width, height) {
    const canvas = document.createElement("canvas");
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0, width, height);
    const pixels = context.getImageData(0, 0, width, height).data, out = new Uint8ClampedArray(width * height);
    for (let i = 0; i < out.length; i++) out[i] = (pixels[4 * i] + pixels[4 * i + 1] + pixels[4 * i + 2]) / 3;
    return out;
  }

  function draw() {
    const side = data.side;
    const contexts = {};
    for (const key of ["before", "after", "blink", "colour", "heat"]) {
      const canvas = el("panel-" + key);
      canvas.width = side; canvas.height = side;
      contexts[key] = canvas.getContext("2d");
    }
    contexts.before.drawImage(images.before, 0, 0, side, side);
    contexts.after.drawImage(images.after, 0, 0, side, side);
    const first = grey(images.before, side, side), second = grey(images.after, side, side);
    const mixed = contexts.colour.createImageData(side, side);
    for (let i = 0; i < first.length; i++) {
      mixed.data[4 * i] = first[i]; mixed.data[4 * i + 1] = second[i]; mixed.data[4 * i + 2] = first[i]; mixed.data[4 * i + 3] = 255;
    }
    contexts.colour.putImageData(mixed, 0, 0);
    if (images.heat) contexts.heat.drawImage(images.heat, 0, 0, side, side);
    else {
      contexts.heat.fillStyle = "#c8d0d8";
      contexts.heat.font = "12px sans-serif";
      contexts.heat.fillText("no pixel map", 8, 20);
    }
    const c = all[state.chosen];
    el("heat-scale").textContent = images.heat ? `dark 0 to bright ${number(c.heat_top, 3)} sd; level ${number(c.heat_level, 3)}` : "";
    drawBlink();
    drawZoom();
    el("panels").dataset.rank = all[state.chosen].rank;
  }

  function drawBlink() {
    if (!images.before) return;
    const after = state.phase % 2 === 1;
    el("panel-blink").getContext("2d").drawImage(after ? images.after : images.before, 0, 0, data.side, data.side);
    el("blink-date").textContent = (after ? "after" : "before") + (state.blinking ? "" : ", paused");
  }

  function drawZoom() {
    el("zoom-value").textContent = state.zoom + "×";
    for (const canvas of document.querySelectorAll(".chip canvas")) {
      canvas.style.width = canvas.style.height = data.side * state.zoom + "px";
      const c = all[state.chosen];
      if (!c) continue;
      const scale = data.shrink * state.zoom, box = canvas.nextElementSibling.style, svg = canvas.nextElementSibling.nextElementSibling;
      [box.left, box.top, box.width, box.height] = c.box.map((v) => v * scale + "px");
      svg.style.width = svg.style.height = data.side * state.zoom + "px";
      svg.setAttribute("viewBox", `0 0 ${data.side / data.shrink} ${data.side / data.shrink}`);
      svg.replaceChildren(...c.rings.map((ring) => {
        const line = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
        line.setAttribute("points", ring.map((point) => point.join(",")).join(" "));
        return line;
      }));
    }
  }

  function blink(on) {
    state.blinking = on;
    clearInterval(timer);
    if (on) timer = setInterval(() => { state.phase += 1; drawBlink(); }, 600);
    el("blink").setAttribute("aria-pressed", String(on));
    drawBlink();
  }

  function step(by) {
    const n = shown();
    if (n) choose(((state.chosen < 0 ? 0 : state.chosen + by) + n) % n);
  }

  function mark(what) {
    if (state.chosen < 0) return;
    const rank = all[state.chosen].rank;
    recall();
    if (state.marks[rank] === what) delete state.marks[rank]; else state.marks[rank] = what;
    keep();
    drawMarks();
    say((state.marks[rank] ? `Candidate ${rank} ${what}` : `Candidate ${rank}: mark taken back`) + (lasting ? "" : ". " + refused));
  }

  function zoom() { state.zoom = state.zoom % 4 + 1; drawZoom(); }

  function outline() {
    const plain = el("panels").classList.toggle("plain");
    el("outline").setAttribute("aria-pressed", String(!plain));
  }

  function csv() {
    const quote = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n\r]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
    };
    const lines = [["mark", "above_tau", "tau", ...data.columns].join(",")];
    for (const c of all) {
      if (!state.marks[c.rank] && c.rho <= state.tau) continue;
      lines.push([state.marks[c.rank] || "", c.rho > state.tau, state.tau, ...data.columns.map((name) => c[name])].map(quote).join(","));
    }
    return lines.join("\n") + "\n";
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "marks.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    say(`Exported ${Object.keys(state.marks).length} marks`);
  }

  const actions = { n: () => step(1), ArrowRight: () => step(1), p: () => step(-1), ArrowLeft: () => step(-1),
                    b: () => blink(!state.blinking), a: () => mark("accepted"), r: () => mark("rejected"), z: zoom, w: outline };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target instanceof HTMLInputElement;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (field && (event.target.type === "number" || key.startsWith("Arrow"))) return;
    if (actions[key]) { event.preventDefault(); actions[key](); }
  });
  list.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  for (const [id, action] of [["next", actions.n], ["previous", actions.p], ["blink", actions.b], ["accept", actions.a],
                              ["reject", actions.r], ["zoom", zoom], ["outline", outline], ["export", save],
                              ["tau-reset", () => setTau(data.tau)]]) el(id).addEventListener("click", action);
  el("tau").addEventListener("input", (event) => setTau(data.top * event.target.value / 1000, "slider"));
  el("tau-number").addEventListener("input", (event) => { if (event.target.value !== "") setTau(Number(event.target.value), "number"); });
  const opacity = () => {
    el("heat").style.opacity = el("opacity").value / 100;
    el("opacity-value").textContent = el("opacity").value + " %";
  };
  el("opacity").addEventListener("input", opacity);

  window.addEventListener("storage", (event) => {
    if (event.key === store || event.key === null) { recall(); drawMarks(); }
  });

  opacity();
  recall();
  drawMarks();
  setTau(data.tau);
  drawZoom();
  blink(!matchMedia("(prefers-reduced-motion: reduce)").matches);
})();
