// Plotly writes its look into figures: in the dark they take the colours of the page, on a narrow screen smaller type
// and room for the whole legend.
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 640px)");
const look = (plot) => {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  const axes = Object.keys(plot._fullLayout).filter((key) => /^[xy]axis\d*$/.test(key));
  const changes = {};
  if (dark.matches || plot.dataset.changed) {
    changes["font.color"] = ink;
    for (const axis of axes) for (const name of ["gridcolor", "zerolinecolor", "linecolor"]) changes[`${axis}.${name}`] = line;
  }
  if (narrow.matches && !plot.dataset.changed) {
    changes["font.size"] = 10;
    for (const axis of axes) changes[`${axis}.title.font.size`] = 11;
    changes.height = plot._fullLayout.height + 14 * plot.querySelectorAll(".legend .traces").length;
  }
  if (changes.height) [plot.style.height, plot.parentElement.style.height] = [`${changes.height}px`, "auto"];
  if (!Object.keys(changes).length) return;
  plot.dataset.changed = "yes";
  Plotly.relayout(plot, changes);
};
const all = () => document.querySelectorAll(".js-plotly-plot").forEach(look);
all();
dark.addEventListener("change", all);
