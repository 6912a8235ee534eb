// The recommendation under a memory budget, by the rule of `artifex-bench advise --memory-budget`: candidates come best
// first, the choice is the first that fits, the runner-up the second. The only case of a group is never chosen.
const rankings = byId("rankings") ? JSON.parse(byId("rankings").textContent) : [];
const needed = rankings.flatMap((one) => one.candidates.map((candidate) => candidate.needed));
const UNITS = ["B", "KiB", "MiB", "GiB"];

const plain = (text) => text.replaceAll("`", ""); // names in the texts of `advise` are between backticks

function formatBytes(bytes) {
  const power = Math.max(0, Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  const value = bytes / 1024 ** power;
  return `${value >= 1000 || power === 0 ? Math.round(value) : value.toPrecision(3)} ${UNITS[power]}`;
}

function parseBytes(text) {
  const found = /^\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B|B)?\s*$/i.exec(text);
  if (!found || !(Number(found[1]) > 0)) return null;
  if (/\d\s*$/.test(text) && Number(found[1]) < 1024) return null; // "8" may mean 8 GiB
  return Number(found[1]) * (found[2] ? (found[3] ? 1024 : 1000) ** ("KMGT".indexOf(found[2].toUpperCase()) + 1) : 1);
}

function adviseWithin(ranking, budget) {
  const fits = ranking.candidates.filter((one) => one.needed <= budget);
  const over = ranking.candidates.filter((one) => one.needed > budget);
  const [best, runnerUp, ...others] = fits;
  if (!best || ranking.cases === 1) return { over, others: [], only: best };
  const overlaps = fits.slice(1).filter((one) => one.low === null || one.low <= best.high);
  const judged = best.high === null ? "unknown" : best.contended || overlaps.length ? "low" : "high";
  return { best, runnerUp, others, over, level: ranking.level ?? judged, overlaps };
}

function showWithin(ranking, budget) {
  const { best, runnerUp, others, over, only, level, overlaps } = adviseWithin(ranking, budget);
  const article = document.createElement("article");
  const line = (label, text) => {
    const paragraph = element("p", ` ${text}`);
    paragraph.prepend(element("b", label));
    article.append(paragraph);
  };
  article.append(element("h3", ranking.group));
  if (best) {
    const choice = element("p", "Choice: ", { className: "choice" });
    choice.append(element("strong", best.name));
    article.append(choice, element("p", `${plain(best.figures)}, ${formatBytes(budget - best.needed)} to spare`));
    if (runnerUp) line("Runner-up", `${runnerUp.name}: ${plain(runnerUp.figures)}`);
    const doubts = ranking.level ? [] : best.contended ? ["other processes used the CPU"] : [];
    if (!ranking.level && best.high === null) doubts.push("a single sample has no interval");
    else if (!ranking.level && overlaps.length)
      doubts.push(`95 % interval overlaps ${overlaps.map((one) => one.name).join(", ")}`);
    line("Confidence", level + (doubts.length ? ` (${doubts.join(", ")})` : ranking.doubt ? `. ${ranking.doubt}` : ""));
  } else if (only) {
    article.append(element("p", `${only.name} is the only case, so there is nothing to compare it with: ${plain(only.figures)}`));
  } else if (over.length) {
    const least = over.reduce((one, other) => (other.needed < one.needed ? other : one));
    article.append(element("p", `No case qualifies. ${least.name} needs the least memory: ${formatBytes(least.needed)}`));
  } else article.append(element("p", "No case qualifies at any budget."));
  const rejected = [
    ...others.map((one) => [one.name, `fits, but another case is better: ${plain(one.figures)}`]),
    ...over.map((one) => [one.name, `needs ${formatBytes(one.needed)}, ${formatBytes(one.needed - budget)} over budget`]),
    ...Object.entries(ranking.rejected).map(([name, why]) => [name, plain(why)]),
  ];
  if (rejected.length) {
    const details = document.createElement("details"), list = document.createElement("dl");
    for (const [name, why] of rejected) list.append(element("dt", name), element("dd", why));
    details.append(element("summary", `Rejected (${rejected.length})`), list);
    article.append(details);
  }
  if (level) article.dataset.level = level;
  return article;
}

if (needed.length) {
  const size = byId("budget-size"), slider = byId("budget-slider"), question = byId("question");
  const [low, high] = [Math.min(...needed) * 0.9, Math.max(...needed) * 1.1];
  const asked = question.textContent;
  byId("budget").hidden = false;
  const update = () => {
    const budget = size.value.trim() === "" ? null : parseBytes(size.value);
    const wrong = budget === null && size.value.trim() !== "";
    byId("budget-error").textContent = wrong ? "Write a size such as 8GiB or 512MiB." : "";
    byId("budget-clear").hidden = size.value === "";
    byId("answers").hidden = budget !== null;
    byId("live").hidden = budget === null;
    question.textContent = budget === null ? asked : `Question: ${rankings[0].question} ${formatBytes(budget)}.`;
    byId("live").replaceChildren(...(budget === null ? [] : rankings.map((one) => showWithin(one, budget))));
    if (budget !== null) slider.value = (1000 * Math.log(budget / low)) / Math.log(high / low);
    slider.setAttribute("aria-valuetext", budget === null ? "no budget" : formatBytes(budget));
    saveView();
  };
  size.addEventListener("input", update);
  slider.addEventListener("input", () => {
    size.value = formatBytes(low * (high / low) ** (slider.value / 1000)).replace(" ", "");
    update();
  });
  byId("budget-clear").addEventListener("click", () => {
    size.value = "";
    slider.value = 1000;
    update();
    size.focus();
  });
  controls.set("budget", {
    read: () => size.value.trim(),
    write: (value) => {
      size.value = value;
      update();
    },
  });
  update();
}
