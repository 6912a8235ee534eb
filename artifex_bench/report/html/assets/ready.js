openView();
refresh();
// Milliseconds from opening the page until it works and is painted.
await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
document.documentElement.dataset.readyAfter = Math.round(performance.now());
