// After timeline.js, in one script: the cursor, descriptions, the table, pointer, keys and buttons.
// The cursor, and all but the areas of the chosen kind in paler colours, in every case.
function drawCursor(one) {
  const [context, width, height] = prepare(one.overlay), { columns } = one.view, wide = width / columns.length;
  const style = getComputedStyle(document.documentElement), active = cases[state.active];
  const kind = active.chosen >= 0 ? kindOf(active.areas[active.chosen]) : null;
  if (kind !== null) {
    const same = new Set(one.areas.filter((area) => kindOf(area) === kind));
    context.fillStyle = style.getPropertyValue("--paper");
    context.globalAlpha = 0.7;
    context.fillRect(LEFT, TOP, width, height);
    context.globalAlpha = 1;
    context.fillStyle = style.getPropertyValue("--ink");
    sweep(one, (area, x, y, long, high, index) => {
      if (!same.has(area)) return;
      context.clearRect(x, y, long, Math.max(high, 1));
      if (one === active && index === one.chosen)
        for (const edge of [y - 1, y + Math.max(high, 1) - 1]) context.fillRect(x, edge, long, 2);
    });
  }
  context.fillStyle = style.getPropertyValue("--ink");
  const column = columnOf(one, one.at);
  if (one.at >= 0 && column >= 0) context.fillRect(LEFT + (column + 0.5) * wide, TOP, 1, height);
  const slider = one.section.querySelector(".stack");
  const words = `instruction ${one.at + 1}, ${format(one.alive[one.at])} alive`;
  slider.setAttribute("aria-valuemax", one.count);
  slider.setAttribute("aria-valuenow", one.at + 1);
  slider.setAttribute("aria-valuetext", one.chosen < 0 ? words : `${words}; ${describe(one, one.areas[one.chosen]).flat().join(" ")}`);
}

function columnOf(one, moment) {
  const aligned = moment - originOf(one) - state.from, shown = state.to - state.from;
  return aligned < 0 || aligned >= shown ? -1 : Math.floor(((aligned + 0.5) / shown) * one.view.columns.length);
}

function lifeOf(area, moment) {
  for (let i = 0; i < area.lives.length; i += 3)
    if (area.lives[i] <= moment && moment <= area.lives[i + 1]) return `${area.lives[i] + 1}–${area.lives[i + 1] + 1}`;
  return "";
}

function describe(one, area) {
  const atPeak = cases.map((each) => {
    const bytes = each.areas.reduce((total, other) => total + (kindOf(other) === kindOf(area) ? sizeAt(other, each.moment) : 0), 0);
    return [`peak of ${each.name}`, bytes ? `${format(bytes)} of this kind` : "none of this kind"];
  });
  return [
    ["buffer", area.name],
    ["bytes", format(sizeAt(area, one.at))],
    ["shape", area.shape],
    ["operation", area.operation],
    ["scope", area.scope],
    ["pass", passOf(area)[0]],
    ["source line", area.source],
    ["alive", `instructions ${lifeOf(area, one.at)}`],
    ...(area.buffers > 1 ? [["buffers", String(area.buffers)]] : []),
    ...(cases.length > 1 ? atPeak : []),
  ].filter(([, value]) => value);
}

const tooltip = byId("tooltip");
function show(one, x, y) {
  const [[, name], ...rows] = describe(one, one.areas[one.chosen]), list = element("dl", "");
  for (const [key, value] of rows) list.append(element("dt", key), element("dd", value));
  tooltip.replaceChildren(element("b", name), list);
  tooltip.hidden = false;
  const { clientWidth, clientHeight } = document.documentElement, { width, height } = tooltip.getBoundingClientRect();
  const left = x + 16 + width <= clientWidth ? x + 16 : Math.max(4, x - 16 - width);
  const above = Math.max(4, Math.min(y + 16, clientHeight - height - 4));
  Object.assign(tooltip.style, { left: `${left + scrollX}px`, top: `${above + scrollY}px` });
}
function hide() {
  tooltip.hidden = true;
}

// Where an area stands: the middle of its height at the cursor, in pixels of the window.
function placeOf(one) {
  const box = one.section.querySelector(".stack").getBoundingClientRect(), { columns, width, height, top } = one.view;
  let below = 0;
  for (const area of one.areas.slice(0, one.chosen)) below += sizeAt(area, one.at);
  const middle = below + sizeAt(one.areas[one.chosen], one.at) / 2;
  return [box.left + LEFT + (columnOf(one, one.at) + 0.5) * (width / columns.length), box.top + TOP + height * (1 - middle / top)];
}

function listAlive() {
  const one = cases[state.active], alive = one.areas.map((area) => [sizeAt(area, one.pinned), area]).filter(([bytes]) => bytes);
  alive.sort((a, b) => b[0] - a[0]);
  const total = one.alive[one.pinned], peak = one.pinned === one.moment ? ", the peak" : "";
  byId("alive-title").textContent = `${one.name}: alive at instruction ${one.pinned + 1} of ${one.count}${peak}, ${format(total)}`;
  byId("table").tBodies[0].replaceChildren(
    ...alive.slice(0, ROWS).map(([bytes, area]) => {
      const row = element("tr", ""), share = `${((100 * bytes) / total).toFixed(1)}%`;
      row.append(element("td", format(bytes)), element("td", share));
      for (const value of [area.name, passOf(area)[0], area.scope, area.operation, area.shape, area.source, lifeOf(area, one.pinned)])
        row.append(element("td", value || "–", "words"));
      return row;
    }),
  );
  const rest = alive.slice(ROWS);
  byId("rest").textContent = rest.length ? `${rest.length} more areas: ${format(rest.reduce((all, [bytes]) => all + bytes, 0))}. Every buffer at the peak is in buffers.csv.` : "";
}

function move(number, at, chosen) {
  const one = cases[number], before = cases[state.active];
  state.active = number;
  Object.assign(one, { at, chosen });
  if (before !== one) before.chosen = -1;
  for (const other of cases) // the cursors stand at one aligned instruction
    if (other !== one) other.at = Math.max(0, Math.min(other.count - 1, at - originOf(one) + originOf(other)));
  cases.forEach(drawCursor);
  chosen < 0 ? hide() : show(one, ...placeOf(one));
}

function pin(number) {
  cases[number].pinned = cases[number].at;
  listAlive();
}

// The moment and the area under the pointer; the area is -1 outside of the stack.
function find(one, { clientX, clientY }) {
  const box = one.section.querySelector(".stack").getBoundingClientRect(), { columns, width, height, top } = one.view;
  const column = Math.floor(((clientX - box.left - LEFT) / width) * columns.length), moment = columns[column];
  if (!(moment in one.running)) return null;
  let rest = (1 - (clientY - box.top - TOP) / height) * top;
  if (rest < 0) return [moment, -1];
  return [moment, one.areas.findIndex((area) => (rest -= sizeAt(area, moment)) < 0)];
}

function zoom(factor) {
  const [low, high] = wholeRange(), one = cases[state.active], shown = state.to - state.from;
  const wanted = Math.max(20, Math.min(high - low, Math.round(shown * factor))), middle = one.at - originOf(one);
  state.from = Math.max(low, Math.min(high - wanted, Math.round(middle - ((middle - state.from) / shown) * wanted)));
  state.to = state.from + wanted;
  hide();
  draw();
}
function showWhole() {
  [state.from, state.to] = wholeRange();
  draw();
}

function follow(one) {
  const aligned = one.at - originOf(one), shown = state.to - state.from, [low, high] = wholeRange();
  if (aligned >= state.from && aligned < state.to) return;
  state.from = Math.max(low, Math.min(high - shown, aligned - (shown >> 1)));
  state.to = state.from + shown;
  draw();
}

document.querySelectorAll(".stack").forEach((stack, number) => {
  const one = cases[number];
  stack.addEventListener("pointermove", (event) => {
    const found = find(one, event);
    if (!found) return move(number, one.at, -1);
    move(number, ...found);
    if (one.chosen >= 0) show(one, event.clientX, event.clientY);
  });
  stack.addEventListener("pointerleave", () => move(number, one.at, -1));
  stack.addEventListener("click", () => pin(number));
  stack.addEventListener("blur", () => move(number, one.at, -1));
  stack.addEventListener("keydown", (event) => {
    const alive = one.areas.flatMap((area, i) => (sizeAt(area, one.at) ? [i] : [])), place = alive.indexOf(one.chosen);
    const long = event.shiftKey ? 25 : 1, to = (moment) => Math.max(0, Math.min(one.count - 1, moment));
    const moments = { ArrowLeft: to(one.at - long), ArrowRight: to(one.at + long), Home: 0, End: one.count - 1, p: one.moment, P: one.moment };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moments) {
      one.at = moments[event.key];
      follow(one);
      move(number, one.at, one.chosen >= 0 && sizeAt(one.areas[one.chosen], one.at) ? one.chosen : -1);
      pin(number);
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const next = place < 0 ? (event.key === "ArrowUp" ? 0 : alive.length - 1) : place + (event.key === "ArrowUp" ? 1 : -1);
      move(number, one.at, alive[Math.max(0, Math.min(alive.length - 1, next))] ?? -1);
      pin(number);
    } else if (event.key === "+" || event.key === "=" || event.key === "-") {
      state.active = number;
      zoom(event.key === "-" ? 2 : 0.5);
    } else if (event.key === "Escape") {
      move(number, one.at, -1);
    } else return;
    event.preventDefault();
  });
});
for (const id of ["stack", "colour"]) byId(id).addEventListener("change", restack);
byId("align")?.addEventListener("change", showWhole);
byId("closer").addEventListener("click", () => zoom(0.5));
byId("wider").addEventListener("click", () => zoom(2));
byId("whole").addEventListener("click", showWhole);
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

[state.from, state.to] = wholeRange();
restack();
// Milliseconds from opening the page until it works and is painted.
await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
document.documentElement.dataset.readyAfter = Math.round(performance.now());
