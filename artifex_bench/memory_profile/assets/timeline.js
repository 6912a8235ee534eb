// Draws the stacks on canvases, and shows what is under the pointer or chosen by keys. An area is
// {name, scope, operation, phase, shape, source, buffers, lives}; lives are first, last, bytes, one after the other.
const byId = (id) => document.getElementById(id);
const { texts, cases } = JSON.parse(byId("data").textContent);
const FIELDS = ["name", "scope", "operation", "phase", "shape", "source"];
const PASSES = ["forward", "recomputed", "backward", "step"];
const LEFT = 70, RIGHT = 12, TOP = 12, BOTTOM = 40, STRIP = 7; // pixels around the plot; height of the strip of passes
const ROWS = 40; // of the table
const state = { active: 0, from: 0, to: 1 }; // the case that the table shows; the aligned instructions in view

function element(tag, text, name) {
  return Object.assign(document.createElement(tag), { textContent: text }, name && { className: name });
}

function format(bytes) {
  const power = [3, 2, 1].find((one) => Math.abs(bytes) >= 1024 ** one);
  if (!power) return `${Math.round(bytes)} B`;
  const value = bytes / 1024 ** power;
  return `${value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2)} ${["KiB", "MiB", "GiB"][power - 1]}`;
}

for (const one of cases) {
  one.buffers = one.areas.map((packed) => ({
    ...Object.fromEntries(FIELDS.map((field, i) => [field, texts[packed[i]]])),
    buffers: packed[6],
    lives: packed[7],
  }));
  one.running = one.phases.flatMap(([name, count]) => Array(count).fill(texts[name]));
  Object.assign(one, { at: one.moment, chosen: -1, pinned: one.moment });
  one.alive = sum(one.buffers.map((area) => area.lives), one.count);
}

function sum(lists, count) {
  const changes = new Float64Array(count + 1);
  for (const lives of lists)
    for (let i = 0; i < lives.length; i += 3) {
      changes[lives[i]] += lives[i + 2];
      changes[lives[i + 1] + 1] -= lives[i + 2];
    }
  for (let i = 1; i < count; i++) changes[i] += changes[i - 1];
  return changes.subarray(0, count);
}

// The bytes of an area at a moment: the last life that begins by then, if it has not ended.
function sizeAt({ lives }, moment) {
  let low = 0, high = lives.length / 3;
  while (low < high) {
    const middle = (low + high) >> 1;
    lives[3 * middle] <= moment ? (low = middle + 1) : (high = middle);
  }
  return low && lives[3 * low - 2] >= moment ? lives[3 * low - 1] : 0;
}

const isBand = (area) => area.phase === "argument" && !area.operation;
const isOwn = (area) => isBand(area) || area.phase === "other"; // never merged further
// Areas of one kind are highlighted and counted together, in one case and across cases. By scope they are also merged.
const kindOf = (area) =>
  isBand(area) ? area.name : area.phase === "other" ? "other"
    : (byId("stack").value === "scope" ? ["phase", "scope", byId("colour").value] : FIELDS.slice(1)).map((field) => area[field]).join("\n");

function mergeScopes(buffers, count) {
  const kinds = new Map();
  for (const area of buffers) {
    const kind = kindOf(area);
    kinds.has(kind) ? kinds.get(kind).push(area) : kinds.set(kind, [area]);
  }
  return [...kinds.values()].map((group) => {
    if (group.length === 1) return group[0];
    const heights = sum(group.map((area) => area.lives), count), lives = [];
    for (let first = 0, i = 1; i <= count; i++)
      if (i === count || heights[i] !== heights[first]) {
        if (heights[first] > 0) lives.push(first, i - 1, heights[first]);
        first = i;
      }
    const buffers = group.reduce((total, area) => total + area.buffers, 0), merged = { name: `${buffers} buffers`, buffers, lives };
    for (const field of FIELDS.slice(1))
      merged[field] = group.every((area) => area[field] === group[0][field]) ? group[0][field] : "several";
    return merged;
  });
}

// Colours: passes have their own; of other fields the eight values with most bytes at the peaks.
let ranks = new Map();
function passOf(area) {
  if (area.phase === "other") return ["smaller buffers", "other"];
  if (area.phase === "argument") return isBand(area) ? ["arguments and outputs", "argument"] : ["copies of arguments", "copies"];
  return PASSES.includes(area.phase) ? [area.phase, area.phase] : ["not attributed", "unknown"];
}
function colourOf(area) {
  const field = byId("colour").value;
  if (field === "phase" || isOwn(area)) return passOf(area);
  const rank = ranks.get(area[field]);
  return rank < 8 ? [area[field] || `no ${field}`, `key${rank}`] : ["all others", "unknown"];
}

function restack() {
  const field = byId("colour").value, bytes = new Map();
  for (const one of cases) {
    one.areas = byId("stack").value === "scope" ? mergeScopes(one.buffers, one.count) : one.buffers;
    one.chosen = -1;
    for (const area of one.areas)
      if (!isOwn(area)) bytes.set(area[field], (bytes.get(area[field]) ?? 0) + sizeAt(area, one.moment));
  }
  ranks = new Map([...bytes].sort((a, b) => b[1] - a[1]).map(([key], i) => [key, i]));
  const entries = new Map(cases.flatMap((one) => one.areas.map(colourOf)));
  const order = ["argument", "copies", "other", ...PASSES, ...Array.from({ length: 8 }, (_, i) => `key${i}`), "unknown"];
  byId("legend").replaceChildren(
    ...[...entries].sort((a, b) => order.indexOf(a[1]) - order.indexOf(b[1])).map(([label, name]) => {
      const item = element("li", ""), swatch = element("span", "", "swatch");
      swatch.style.background = `var(--${name})`;
      item.append(swatch, label);
      return item;
    }),
  );
  hide();
  draw();
}

// Aligned instructions: those of each case less its origin.
const originOf = (one) => (byId("align")?.value === "peak" ? one.moment : 0);
function wholeRange() {
  return [Math.min(...cases.map((one) => -originOf(one))), Math.max(...cases.map((one) => one.count - originOf(one)))];
}

function draw() {
  cases.forEach(drawCase);
  listAlive();
}

function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = devicePixelRatio;
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return [context, width - LEFT - RIGHT, height - TOP - BOTTOM];
}

// One column for each instruction, or for each pixel if there are more: it shows its moment with most bytes.
function columnsOf(one, width) {
  const shown = state.to - state.from, count = Math.max(1, Math.min(shown, Math.floor(width))), start = state.from + originOf(one);
  return Array.from({ length: count }, (_, i) => {
    const first = start + Math.floor((i * shown) / count), last = start + Math.floor(((i + 1) * shown) / count);
    let best = first;
    for (let m = first + 1; m < last; m++) if ((one.alive[m] ?? -1) > (one.alive[best] ?? -1)) best = m;
    return best;
  });
}

// Calls paint(area, x, y, width, height) for the runs of columns that an area fills, from the bottom of the stack up.
function sweep(one, paint) {
  const { columns, width, height, top } = one.view, offsets = new Float64Array(columns.length);
  const y = (bytes) => TOP + height * (1 - bytes / top);
  const edge = (column) => LEFT + Math.round((column * width) / columns.length); // whole pixels leave no seams
  const lowest = (moment) => {
    let low = 0, high = columns.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      columns[middle] < moment ? (low = middle + 1) : (high = middle);
    }
    return low;
  };
  one.areas.forEach((area, number) => {
    for (let i = 0; i < area.lives.length; i += 3) {
      const size = area.lives[i + 2], end = lowest(area.lives[i + 1] + 1);
      for (let c = lowest(area.lives[i]), start = c; c < end; c++) {
        const base = offsets[c];
        offsets[c] += size;
        if (c + 1 < end && offsets[c + 1] === base) continue;
        paint(area, edge(start), y(base + size), edge(c + 1) - edge(start), (height * size) / top, number);
        start = c + 1;
      }
    }
  });
}

function drawCase(one, number) {
  const section = document.querySelectorAll(".timeline")[number], [canvas, overlay] = section.querySelectorAll("canvas");
  const [context, width, height] = prepare(canvas);
  const top = 1.06 * Math.max(...cases.map((each) => Math.max(each.peak, each.alive[each.moment])));
  Object.assign(one, { overlay, section, view: { columns: columnsOf(one, width), width, height, top } });
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const y = (bytes) => TOP + height * (1 - bytes / top), { columns } = one.view, wide = width / columns.length;
  const names = new Map(one.areas.map((area) => [area, colour(colourOf(area)[1])]));
  context.fillStyle = colour("muted");
  context.textAlign = "right";
  const unit = 1024 ** [3, 2, 1, 0].find((power) => top >= 1024 ** power), step = niceStep(top / unit / 5) * unit;
  for (let tick = 0; tick <= top; tick += step) {
    context.fillText(tick ? `${+(tick / unit).toFixed(2)} ${["B", "KiB", "MiB", "GiB"][Math.round(Math.log(unit) / Math.log(1024))]}` : "0", LEFT - 8, y(tick) + 4);
    context.globalAlpha = 0.25;
    context.fillRect(LEFT, y(tick), width, 1);
    context.globalAlpha = 1;
  }
  sweep(one, (area, x, at, long, high, index) => {
    context.fillStyle = names.get(area);
    context.globalAlpha = index % 2 ? 0.82 : 1; // neighbours differ
    context.fillRect(x, at + (high >= 4 ? 1 : 0), long, high - (high >= 4 ? 1 : 0));
  });
  context.globalAlpha = 1;
  columns.forEach((moment, i) => {
    if (!(moment in one.running) || byId("colour").value !== "phase") return; // the legend names no passes
    context.fillStyle = colour(passOf({ phase: one.running[moment], operation: "-" })[1]);
    context.fillRect(LEFT + i * wide, TOP + height + 3, wide + 0.3, STRIP);
  });
  context.fillStyle = colour("muted");
  context.textAlign = "center";
  const ticks = Math.max(1, niceStep((state.to - state.from) / Math.max(3, width / 110)));
  for (let tick = Math.ceil((state.from + originOf(one)) / ticks) * ticks; tick <= state.to + originOf(one); tick += ticks)
    if (tick >= 0 && tick <= one.count)
      context.fillText(tick, LEFT + ((tick - originOf(one) - state.from) / (state.to - state.from)) * width, TOP + height + 24);
  context.strokeStyle = context.fillStyle = colour("ink");
  context.setLineDash([6, 4]);
  context.beginPath();
  context.moveTo(LEFT, y(one.peak));
  context.lineTo(LEFT + width, y(one.peak));
  context.stroke();
  context.setLineDash([]);
  const place = columns.indexOf(one.moment);
  if (place >= 0) {
    const x = LEFT + (place + 0.5) * wide, at = y(one.alive[one.moment]);
    context.fillStyle = colour("chosen");
    context.beginPath();
    context.moveTo(x, at + 1);
    context.lineTo(x - 6, at - 9);
    context.lineTo(x + 6, at - 9);
    context.fill();
    context.textAlign = x > LEFT + width / 2 ? "right" : "left";
    context.fillText("peak", x + (x > LEFT + width / 2 ? -9 : 9), at - 3);
  }
  section.querySelector(".summary").textContent =
    `Compiled peak ${format(one.peak)}. Most bytes are alive at instruction ${one.moment + 1} of ${one.count}: ${format(one.alive[one.moment])}.`;
  drawCursor(one);
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least);
}
