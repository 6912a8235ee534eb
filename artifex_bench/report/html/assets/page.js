// Adds to the page what HTML and SVG cannot do: tooltips, filters by text, by column and by a click on a mark, sorting,
// pages of the table, the choice of a figure, links to a view, downloads. A mark is the marker of a case in a chart;
// `data-case` names its row.
const byId = (id) => document.getElementById(id);
const element = (tag, text, fields) => Object.assign(document.createElement(tag), { textContent: text }, fields);
const table = byId("table");
const headings = [...table.tHead.rows[0].cells];
const rows = [...table.tBodies[0].rows];
const rowOf = new Map(rows.map((row) => [row.dataset.case, row]));
const marks = [...document.querySelectorAll(".mark")];
const facets = [...document.querySelectorAll(".facet")];
const tooltip = byId("tooltip");
const ROWS = Number(table.dataset.rows); // on a page of the table

// The view: everything that the reader chose. Each control has a name in the link, and says what it holds. The table and
// the marks show what passes every filter; `chosen` is the case of the mark that was clicked.
const state = { chosen: "", page: 0, column: -1, descending: false, everything: false };
const controls = new Map(); // name -> { read, write }; "" is what a control holds at first
const words = new Map(rows.map((row) => [row, [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase()]));

function refresh() {
  const wanted = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const picked = facets.filter((one) => one.value).map((one) => [Number(one.dataset.column), one.value]);
  const passes = (row) =>
    (!state.chosen || row.dataset.case === state.chosen) &&
    picked.every(([column, value]) => row.cells[column].textContent.replace(/ \*$/, "") === value) &&
    wanted.every((word) => words.get(row).includes(word));
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
  const noun = byId("count").dataset.noun;
  byId("count").textContent =
    matching.length === rows.length ? `${rows.length} ${noun}` : `${matching.length} of ${rows.length} ${noun}`;
  byId("clear").hidden = !state.chosen && !picked.length && !wanted.length;
  byId("paging").hidden = pages === 1;
  byId("page").textContent = `Page ${state.page + 1} of ${pages}`;
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page === pages - 1;
  saveView();
}

function choose(name) {
  Object.assign(state, { chosen: name === state.chosen ? "" : name, page: 0 });
  refresh();
}

function clearFilters() {
  byId("filter").value = "";
  for (const facet of facets) facet.value = "";
  Object.assign(state, { chosen: "", page: 0 });
  refresh();
}

for (const input of [byId("filter"), ...facets]) {
  input.addEventListener("input", () => {
    state.page = 0;
    refresh();
  });
  controls.set(input.id, { read: () => input.value, write: (value) => (input.value = value) });
}
controls.set("case", { read: () => state.chosen, write: (value) => (state.chosen = rowOf.has(value) ? value : "") });
byId("clear").addEventListener("click", () => {
  clearFilters();
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
  applySort();
  refresh();
}
function applySort() {
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
}
controls.set("sort", {
  read: () => (state.column < 0 ? "" : `${state.column}${state.descending ? "d" : "a"}`),
  write: (value) => {
    const column = value === "" ? -1 : parseInt(value);
    Object.assign(state, { column: column < headings.length ? column : -1, descending: value.endsWith("d") });
    applySort();
  },
});
headings.forEach((heading, i) => heading.querySelector("button").addEventListener("click", () => sort(i)));

// The tooltip of a mark: the name and the figures of its case, as the table has them.
function show(mark) {
  const row = rowOf.get(mark.dataset.case);
  const figures = document.createElement("dl");
  headings.forEach((heading, i) => {
    const text = row.cells[i].textContent;
    if (text === "–" || text.replace(" *", "") === row.dataset.name) return;
    figures.append(element("dt", heading.textContent), element("dd", text));
  });
  tooltip.replaceChildren(element("b", row.dataset.name), figures);
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
  for (const mark of svg.querySelectorAll(".mark:not(.dimmed)")) {
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
    if (mark) choose(mark.dataset.case);
  });
}
// On the element around: Chromium puts an svg element that listens to focus itself into the order of Tab.
for (const plot of document.querySelectorAll(".plot")) {
  plot.addEventListener("focusin", ({ target }) => target.matches(".mark:focus-visible") && show(target));
  plot.addEventListener("focusout", hide);
  plot.addEventListener("keydown", (event) => {
    if (!event.target.matches(".mark") || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault(); // the space bar would scroll
    choose(event.target.dataset.case);
  });
}
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  hide();
  clearFilters();
});

for (const select of document.querySelectorAll(".chart select")) {
  const figures = [...select.closest(".chart").querySelectorAll(".plot")];
  const update = () => figures.forEach((figure, i) => (figure.hidden = i !== Number(select.value)));
  select.addEventListener("change", () => {
    update();
    saveView();
  });
  controls.set(select.id, {
    read: () => (select.selectedIndex > 0 ? select.value : ""),
    write: (value) => {
      select.selectedIndex = Math.max(0, [...select.options].findIndex((option) => option.value === value));
      update();
    },
  });
  update(); // a browser that goes back to the page keeps the choice
}

// A link to a view: "#view?" and what each control holds. Other fragments name a section.
const VIEW = "#view?";
let saving = 0;
function saveView() {
  clearTimeout(saving); // browsers limit how often an address may change
  saving = setTimeout(() => {
    const held = [...controls].map(([name, { read }]) => [name, read()]).filter(([, value]) => value !== "");
    if (held.length) history.replaceState(null, "", VIEW + new URLSearchParams(held));
    else if (location.hash.startsWith(VIEW)) history.replaceState(null, "", "#");
  }, 100);
}
function openView() {
  if (!location.hash.startsWith(VIEW)) return;
  const held = new URLSearchParams(location.hash.slice(VIEW.length));
  for (const [name, { write }] of controls) write(held.get(name) ?? "");
  state.page = 0;
  refresh();
}
addEventListener("hashchange", openView);

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
