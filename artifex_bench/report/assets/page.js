// Draws the charts, makes the table sort and filter, hands out the downloads. Data is in the element #data; what is large
// (the libraries, the downloads) is gzip in base 64 in elements of its own.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

async function unpacked(id, type) {
  const characters = atob(byId(id).textContent);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  const text = new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  return URL.createObjectURL(new Blob([await text.blob()], { type })); // an address in memory: nothing may be fetched
}

// plotly.js, a script that sets window.Plotly: compiled while the table is made.
const plotly = unpacked("plotly", "text/javascript").then((src) => new Promise((resolve, reject) => {
  const script = Object.assign(document.createElement("script"), { src, onerror: reject });
  script.onload = () => resolve(window.Plotly);
  document.head.append(script);
}));

// The table: DataTables, a module that itables bundles. It makes elements of the rows that it shows alone.
const ROWS = 50; // on a page
const { default: DataTable } = await import(await unpacked("datatables", "text/javascript"));
const ordered = (i) => ({ cells }, type) => {
  const [words, order] = cells[i];
  return (type === "sort" || type === "type") && order !== null ? order : words;
};
const table = new DataTable("#table", {
  data: data.lines,
  columns: data.lines[0].cells.map(([, order], i) => ({
    data: ordered(i),
    render: DataTable.render.text(), // no word of a case becomes markup
    type: order === null ? "string" : "num", // told, as finding it out takes a pass over all rows
    className: order === null ? "words" : "",
  })),
  createdRow: (row, { ok }) => row.classList.toggle("fell", !ok),
  pageLength: ROWS,
  info: false,
  autoWidth: false,
  order: [],
  layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: data.lines.length > ROWS ? "paging" : null },
});
table.on("draw", () => {
  const { recordsDisplay, recordsTotal } = table.page.info();
  byId("count").textContent = recordsDisplay === recordsTotal ? `${recordsTotal} cases` : `${recordsDisplay} of ${recordsTotal} cases`;
});
table.on("page", () => document.querySelector(".scroll").scrollTo(0, 0));
byId("filter").addEventListener("input", (event) => table.search(event.target.value).draw());

function showAlone(shape, name) {
  const matches = (_, line) => line.shape === shape && line.name === name;
  byId("filter").value = "";
  table.search("").search.fixed("case", matches).draw();
  byId("every").hidden = false;
}

byId("every").addEventListener("click", () => {
  table.search.fixed("case", null).draw();
  byId("every").hidden = true;
  byId("filter").focus();
});

// Charts: one figure at a time; where there is no room side by side, two panels stand one above the other.
const NARROW = 640;

function fitted(figure, width) {
  const layout = structuredClone(figure.layout);
  layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom"; // a finger scrolls the page
  if (layout.xaxis2 && width < NARROW) {
    Object.assign(layout.xaxis, { domain: [0, 1] });
    Object.assign(layout.xaxis2, { domain: [0, 1], anchor: "y2" });
    Object.assign(layout.yaxis, { domain: [0.58, 1] });
    Object.assign(layout.yaxis2, { domain: [0, 0.42], anchor: "x2" });
    layout.height *= 1.9;
  }
  return layout;
}

// Long names of points have no room there; pointing at them, and the buttons below, tell them.
const unnamed = (trace) => ({ ...trace, text: trace.text?.map((name) => (name.length > 12 ? "" : name)) });

async function draw(key, figure) {
  const plot = byId(`${key}-plot`);
  const config = { displayModeBar: false, responsive: true };
  const traces = plot.clientWidth < NARROW ? figure.data.map(unnamed) : figure.data;
  await (await plotly).react(plot, traces, fitted(figure, plot.clientWidth), config);
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", ({ points: [{ customdata }] }) => customdata && showAlone(customdata[0], customdata[1]));
  offer(plot.parentElement.querySelector(".cases"), figure);
}

// The same choice as a click on a point, for the keyboard.
function offer(place, figure) {
  const points = figure.data.filter((trace) => trace.customdata).flatMap((trace) => trace.customdata);
  place.replaceChildren("Show alone: ");
  for (const [shape, name] of points) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.addEventListener("click", () => showAlone(shape, name));
    place.append(button);
  }
  place.hidden = points.length === 0;
}

// Each is drawn when it comes near to the screen, or is to be printed.
const waiting = new Map();
const watch = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach((one) => drawNow(one.target)), {
  rootMargin: "400px",
});

function drawNow(plot) {
  watch.unobserve(plot);
  const work = waiting.get(plot);
  waiting.delete(plot);
  return work?.();
}

for (const [key, figures] of Object.entries(data.figures)) {
  const which = byId(`${key}-which`);
  which?.addEventListener("change", () => draw(key, figures[which.value]));
  const plot = byId(`${key}-plot`);
  plot.style.minHeight = `${figures[0].layout.height}px`; // so that nothing moves when it comes
  waiting.set(plot, () => draw(key, figures[which?.value ?? 0]));
  watch.observe(plot);
}

addEventListener("beforeprint", () => {
  document.querySelectorAll("#cases details, .advice:not([tabindex]) details").forEach((one) => (one.open = true));
  [...waiting.keys()].forEach(drawNow);
  table.page.len(-1).draw();
});
addEventListener("afterprint", () => table.page.len(ROWS).draw());

const [first] = waiting.keys();
if (first) await drawNow(first);

for (const link of document.querySelectorAll("[data-packed]")) {
  link.href = await unpacked(link.dataset.packed, link.dataset.type);
}

// Told in milliseconds since the page was opened: the table works, the first chart, if any, is drawn, both are painted.
await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
document.documentElement.dataset.readyAfter = Math.round(performance.now());
