// Plotly writes its look into figures: in the dark they take the colours of the page and lighter ones of their own, on
// a narrow screen smaller type, titles of axes in several lines, and room for the whole legend.
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 640px)");
const lighter = (color) =>
  `#${[1, 3, 5].map((at) => Math.round(parseInt(color.slice(at, at + 2), 16) * 0.72 + 71).toString(16).padStart(2, "0")).join("")}`;
const lit = (color) => (Array.isArray(color) ? color.map(lit) : /^#[0-9a-f]{6}$/i.test(color) ? lighter(color) : color);
const wrapped = (text) => text.replace(/(.{18,}?) /g, "$1<br>");
const COLORS = ["marker.color", "line.color", "error_x.color", "error_y.color"];
const inside = (object, path) => path.split(".").reduce((found, name) => found?.[name], object);
const all = () => document.querySelectorAll(".js-plotly-plot").forEach(look);

const look = (plot) => {
  plot.drawn ??= Object.fromEntries(COLORS.map((path) => [path, plot._fullData.map((trace) => inside(trace, path))]));
  const style = getComputedStyle(document.documentElement);
  const [ink, line, muted] = ["--ink", "--line", "--muted"].map((name) => style.getPropertyValue(name).trim());
  const axes = Object.keys(plot._fullLayout).filter((key) => /^[xy]axis\d*$/.test(key));
  const [changes, colors] = [{}, {}];
  if (dark.matches || plot.dataset.changed) {
    changes["font.color"] = ink;
    for (const axis of axes) for (const name of ["gridcolor", "zerolinecolor", "linecolor"]) changes[`${axis}.${name}`] = line;
    (plot.layout.shapes ?? []).forEach((_, place) => { changes[`shapes[${place}].line.color`] = muted; });
    for (const [path, drawn] of Object.entries(plot.drawn)) colors[path] = drawn.map(dark.matches ? lit : (color) => color);
  }
  if (narrow.matches && !plot.dataset.changed) {
    changes["font.size"] = 10;
    for (const axis of axes) {
      changes[`${axis}.title.font.size`] = 11;
      if (axis[0] === "x") changes[`${axis}.title.text`] = wrapped(plot.layout[axis]?.title?.text ?? "");
    }
    changes.height = plot._fullLayout.height + 14 * plot.querySelectorAll(".legend .traces").length;
  }
  if (changes.height) [plot.style.height, plot.parentElement.style.height] = [`${changes.height}px`, "auto"];
  if (!Object.keys(changes).length) return;
  plot.dataset.changed = "yes";
  Plotly.update(plot, colors, changes);
};
all();
dark.addEventListener("change", all);
