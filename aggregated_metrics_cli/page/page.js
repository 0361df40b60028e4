"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

function draw() {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--dim").trim();
  const line = style.getPropertyValue("--line").trim();
  const card = style.getPropertyValue("--card").trim();
  const axis = { color: ink, gridcolor: line, linecolor: line, zerolinecolor: line };
  return Promise.all(Object.entries(figures).map(([id, { data, layout }]) =>
    Plotly.react(id, data, {
      ...layout,
      font: { ...layout.font, color: ink, size: 12, family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink } },
      xaxis: { ...layout.xaxis, ...axis },
      yaxis: { ...layout.yaxis, ...axis },
    }, { responsive: true, displayModeBar: false, scrollZoom: false })));
}

function show() {
  draw().then(() => { document.documentElement.dataset.drawn = Object.keys(figures).length; });
}
dark.addEventListener("change", show);
show();
