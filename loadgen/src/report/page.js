//<![CDATA[
"use strict";
// Shows the values under the pointer. Everything it shows is in the page already, as tables too.
const charts = JSON.parse(document.getElementById("charts").textContent);
const svgElement = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};
const span = (text) => {
  const element = document.createElement("span");
  element.textContent = text;
  return element;
};
const nearest = (points, x) =>
  points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const series = charts[figure.dataset.chart].filter((line) => line.points.length > 0);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  figure.append(tip);
  for (const svg of figure.querySelectorAll("svg")) {
    const [left, top, width, height] = svg.dataset.plot.split(" ").map(Number);
    const marks = svgElement("g", {});
    svg.append(marks);
    const hide = () => { tip.hidden = true; marks.replaceChildren(); };
    svg.addEventListener("pointerleave", hide);
    const show = (event) => {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      const x = ((event.clientX - box.left) * scale - left) / width;
      if (x < -0.05 || x > 1.05) return hide();
      const found = series.map((line) => ({ line, point: nearest(line.points, x) }));
      const first = found.reduce((a, b) => (Math.abs(a.point[0] - x) <= Math.abs(b.point[0] - x) ? a : b)).point;
      const near = found.filter((one) => Math.abs(one.point[0] - first[0]) < 0.03);
      const at = left + first[0] * width;
      marks.replaceChildren(svgElement("line", { class: "cross", x1: at, x2: at, y1: top, y2: top + height }));
      tip.replaceChildren(span(first[2]));
      for (const { line, point } of near) {
        const row = document.createElement("div");
        const swatch = span("");
        swatch.className = "swatch c" + line.color;
        const value = document.createElement("b");
        value.textContent = point[2] === first[2] ? point[3] : point[3] + " (" + point[2] + ")";
        row.append(swatch, span(line.name), value);
        tip.append(row);
        marks.append(svgElement("circle", {
          class: "here c" + line.color, r: 5, cx: left + point[0] * width, cy: top + (1 - point[1]) * height,
        }));
      }
      tip.hidden = false;
      const origin = figure.getBoundingClientRect();
      const middle = box.left - origin.left + at / scale;
      const side = middle > origin.width / 2 ? middle - tip.offsetWidth - 14 : middle + 14;
      tip.style.left = Math.max(0, Math.min(side, origin.width - tip.offsetWidth)) + "px";
      tip.style.top = box.top - origin.top + (top + 6) / scale + "px";
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
  }
}
//]]>
