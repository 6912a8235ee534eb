// Adds to the page what HTML and SVG cannot do: tooltips, the filter by text or by a click on a mark, sorting, pages of
// the table, the choice of a figure, downloads. A mark is the marker of a case in a chart; `data-case` names its row.
const byId = (id) => document.getElementById(id);
const table = byId("table");
const headings = [...table.tHead.rows[0].cells];
const rows = [...table.tBodies[0].rows];
const rowOf = new Map(rows.map((row) => [row.dataset.case, row]));
const marks = [...document.querySelectorAll(".mark")];
const tooltip = byId("tooltip");
const ROWS = Number(table.dataset.rows); // on a page of the table

// The table and the marks: both show what passes the filter; `chosen` is the case of the mark that was clicked.
const state = { chosen: null, page: 0, column: -1, descending: false, everything: false };
const words = new Map(rows.map((row) => [row, [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase()]));

function refresh() {
  const wanted = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const passes = (row) =>
    (state.chosen === null || row.dataset.case === state.chosen) && wanted.every((word) => words.get(row).includes(word));
  const matching = [...table.tBodies[0].rows].filter(passes);
  const pages = Math.max(1, Math.ceil(matching.length / ROWS));
  state.page = Math.min(state.page, pages - 1);
  const onPage = state.everything ? matching : matching.slice(state.page * ROWS, (state.page + 1) * ROWS);
  const visible = new Set(onPage), cases = new Set(matching.map((row) => row.dataset.case));
  for (const row of rows) row.hidden = !visible.has(row);
  for (const mark of marks) {
    mark.classList.toggle("dimmed", !cases.has(mark.dataset.case));
    mark.setAttribute("aria-pressed", mark.dataset.case === state.chosen);
  }
  byId("count").textContent =
    matching.length === rows.length ? `${rows.length} cases` : `${matching.length} of ${rows.length} cases`;
  byId("every").hidden = state.chosen === null;
  byId("paging").hidden = pages === 1;
  byId("page").textContent = `Page ${state.page + 1} of ${pages}`;
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page === pages - 1;
}

function choose(name) {
  byId("filter").value = "";
  Object.assign(state, { chosen: name, page: 0 });
  refresh();
}

byId("filter").addEventListener("input", () => {
  state.page = 0;
  refresh();
});
byId("every").addEventListener("click", () => {
  choose(null);
  byId("filter").focus();
});
for (const [id, step] of [["previous", -1], ["next", 1]]) {
  byId(id).addEventListener("click", () => {
    state.page += step;
    document.querySelector(".scroll").scrollTo(0, 0);
    refresh();
  });
}

// Sorting: by the raw value of a number, by the text of other cells; what was not measured comes last. The third
// activation of a heading restores the first order.
const first = new Map(rows.map((row, place) => [row, place]));
function sort(column) {
  if (state.column !== column) Object.assign(state, { column, descending: false });
  else if (!state.descending) state.descending = true;
  else Object.assign(state, { column: -1, descending: false });
  for (const heading of headings) heading.removeAttribute("aria-sort");
  headings[state.column]?.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
  const key = (row) => {
    const cell = row.cells[state.column];
    return "order" in cell.dataset ? (cell.dataset.order === "" ? null : Number(cell.dataset.order)) : cell.textContent;
  };
  const compare = (a, b) => {
    const [one, other] = [key(a), key(b)];
    if (one === null || other === null) return (one === null) - (other === null);
    return (typeof one === "number" ? one - other : one.localeCompare(other)) * (state.descending ? -1 : 1);
  };
  const before = (a, b) => (state.column < 0 ? 0 : compare(a, b)) || first.get(a) - first.get(b);
  table.tBodies[0].append(...[...rows].sort(before));
  refresh();
}
headings.forEach((heading, i) => heading.querySelector("button").addEventListener("click", () => sort(i)));

// The tooltip of a mark: the name and the figures of its case, as the table has them.
function show(mark) {
  const row = rowOf.get(mark.dataset.case);
  const figures = document.createElement("dl");
  headings.forEach((heading, i) => {
    const text = row.cells[i].textContent;
    if (text === "–" || text.replace(" *", "") === row.dataset.name) return;
    figures.append(
      Object.assign(document.createElement("dt"), { textContent: heading.textContent }),
      Object.assign(document.createElement("dd"), { textContent: text }),
    );
  });
  tooltip.replaceChildren(Object.assign(document.createElement("b"), { textContent: row.dataset.name }), figures);
  document.querySelector(".mark.near")?.classList.remove("near");
  mark.classList.add("near");
  tooltip.hidden = false;
  const box = mark.getBoundingClientRect(), own = tooltip.getBoundingClientRect(), gap = 12;
  const { clientWidth, clientHeight } = document.documentElement;
  const right = box.right + gap + own.width <= clientWidth;
  const left = right ? box.right + gap : Math.max(4, Math.min(box.left - gap - own.width, clientWidth - own.width - 4));
  // where neither side has room, below the mark or above it
  const beside = right || box.left - gap - own.width >= 0;
  const below = box.bottom + gap + own.height <= clientHeight ? box.bottom + gap : box.top - gap - own.height;
  const top = beside ? Math.min(box.top, clientHeight - own.height - 4) : below;
  Object.assign(tooltip.style, { left: `${left + scrollX}px`, top: `${Math.max(4, top) + scrollY}px` });
}

function hide() {
  tooltip.hidden = true;
  document.querySelector(".mark.near")?.classList.remove("near");
}

// A pointer acts on the nearest mark within reach, because markers are small and lie on one another.
const REACH = 18; // pixels
function nearest(svg, { clientX, clientY }) {
  let found = null, least = REACH;
  for (const mark of svg.querySelectorAll(".mark")) {
    const box = mark.getBoundingClientRect();
    const distance = Math.hypot(box.x + box.width / 2 - clientX, box.y + box.height / 2 - clientY);
    if (distance < least) [found, least] = [mark, distance];
  }
  return found;
}

for (const svg of document.querySelectorAll("svg.figure")) {
  svg.addEventListener("pointermove", (event) => {
    const mark = nearest(svg, event);
    svg.classList.toggle("acts", mark !== null);
    mark ? show(mark) : hide();
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("click", (event) => {
    const mark = nearest(svg, event);
    if (mark) choose(mark.dataset.case === state.chosen ? null : mark.dataset.case);
  });
}
// On the element around: Chromium puts an svg element that listens to focus itself into the order of Tab.
for (const plot of document.querySelectorAll(".plot")) {
  plot.addEventListener("focusin", ({ target }) => target.matches(".mark:focus-visible") && show(target));
  plot.addEventListener("focusout", hide);
  plot.addEventListener("keydown", (event) => {
    if (!event.target.matches(".mark") || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault(); // the space bar would scroll
    const name = event.target.dataset.case;
    choose(name === state.chosen ? null : name);
  });
}
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  hide();
  choose(null);
});

for (const select of document.querySelectorAll("select")) {
  const figures = [...select.closest(".chart").querySelectorAll(".plot")];
  const update = () => figures.forEach((figure, i) => (figure.hidden = i !== Number(select.value)));
  select.addEventListener("change", update);
  update(); // a browser that goes back to the page keeps the choice
}

addEventListener("beforeprint", () => {
  document.querySelectorAll("#cases details, .advice:not([tabindex]) details").forEach((one) => (one.open = true));
  state.everything = true;
  refresh();
});
addEventListener("afterprint", () => {
  state.everything = false;
  refresh();
});

async function unpack(id, type) {
  const characters = atob(byId(id).textContent);
  const bytes = Uint8Array.from(characters, (character) => character.charCodeAt(0));
  const text = new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  return URL.createObjectURL(new Blob([await text.blob()], { type })); // an address in memory: nothing may be fetched
}
for (const link of document.querySelectorAll("[data-packed]")) {
  link.href = await unpack(link.dataset.packed, link.dataset.type);
}

refresh();
// Milliseconds from opening the page until it works and is painted.
await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
document.documentElement.dataset.readyAfter = Math.round(performance.now());
