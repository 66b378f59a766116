/* Sorts and filters the table of models (see book/_ext/explorer_page.py). It asks for nothing
   elsewhere and keeps nothing; without it the table stays as it was written. */

"use strict";

for (const host of document.querySelectorAll(".explorer")) {
  const form = host.querySelector("form");
  const table = host.querySelector(".box > table");
  const heads = [...table.tHead.rows[0].cells];
  const bodies = [...table.tBodies];

  /* A column's value in a row: a name, a number, or null where nothing was measured. */
  const valueOf = (body, column) => {
    if (column === 0) return body.dataset.name;
    const value = body.rows[0].cells[column].dataset.value;
    return value === undefined ? null : Number(value);
  };

  /* Rows without a value come last in either direction; equal ones keep their order. */
  const sort = (column, direction) => {
    const sign = direction === "ascending" ? 1 : -1;
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    const ordered = bodies
      .map((body, place) => ({ body, place, value: valueOf(body, column) }))
      .sort((a, b) => {
        if (a.value === null || b.value === null) {
          return (a.value === null) - (b.value === null) || a.place - b.place;
        }
        return sign * compare(a.value, b.value) || a.place - b.place;
      });
    table.append(...ordered.map((each) => each.body));
    heads.forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    });
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      /* Scores begin with the highest, names with the first. */
      const first = column === 0 ? "ascending" : "descending";
      const other = column === 0 ? "descending" : "ascending";
      sort(column, head.getAttribute("aria-sort") === first ? other : first);
    });
    head.replaceChildren(button);
  });

  const filter = () => {
    const { text, measure, images } = form.elements;
    const words = text.value.trim().toLowerCase();
    const column = Number(measure.value);
    let shown = 0;
    for (const body of bodies) {
      const kept =
        body.dataset.name.includes(words) &&
        (images.value === "" ||
          (images.value === "real" ? body.dataset.images === "real" : body.dataset.images.includes(images.value))) &&
        (column === 0 || valueOf(body, column) !== null);
      body.hidden = !kept;
      shown += kept;
    }
    for (const row of [table.tHead.rows[0], ...bodies.map((body) => body.rows[0])]) {
      [...row.cells].forEach((cell, place) => {
        cell.hidden = column !== 0 && place !== 0 && place !== column;
      });
    }
    form.querySelector("output").textContent = `${shown} of ${bodies.length} rows`;
  };

  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
}
