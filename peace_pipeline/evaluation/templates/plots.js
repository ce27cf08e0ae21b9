// Plotly writes its colours into figures: in the dark they take those of the page.
const dark = matchMedia("(prefers-color-scheme: dark)");
const colors = () => {
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
  document.querySelectorAll(".js-plotly-plot").forEach((plot) => {
    const axes = Object.keys(plot._fullLayout).filter((key) => /^[xy]axis\d*$/.test(key));
    const said = axes.flatMap((axis) => ["gridcolor", "zerolinecolor", "linecolor"].map((name) => [`${axis}.${name}`, line]));
    Plotly.relayout(plot, { "font.color": ink, ...Object.fromEntries(said) });
  });
};
if (dark.matches) colors();
dark.addEventListener("change", colors);
