// Where a scene has several dates: each date of the chosen place as a small picture, with what it says of the change.
function showDates() {
  const place = byRank.get(state.chosen), box = el("dates");
  box.hidden = !place || !place.looks;
  box.replaceChildren(...(box.hidden ? [] : place.looks.map((look, k) => {
    const entry = document.createElement("li"), image = document.createElement("img");
    image.src = look.picture; image.alt = "";
    const told = span(`tells ${look.told.replace(" ", "-")}`, look.told);
    const when = span("when", data.dates[k]);
    when.title = data.dates[k];
    entry.append(image, told, when);
    return entry;
  })));
}

new MutationObserver(showDates).observe(el("place-title"), { childList: true });
