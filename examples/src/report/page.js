"use strict";
(() => {
  const figures = [...document.querySelectorAll("figure")].map((figure) => {
    const tip = document.createElement("span");
    tip.className = "tip";
    figure.append(tip);
    return {
      svg: figure.querySelector("svg"),
      cross: figure.querySelector(".cross"),
      tip,
      end: Number(figure.dataset.end),
      series: JSON.parse(figure.dataset.series),
    };
  });
  const left = 48, right = 26, width = 960;
  const clock = (t) => {
    const s = Math.floor(t), two = (n) => String(n).padStart(2, "0");
    return (s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) : Math.floor(s / 60)) + ":" + two(s % 60);
  };
  const at = (points, t) => {
    let low = 0, high = points.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle][0] <= t) low = middle + 1; else high = middle;
    }
    return low ? points[low - 1][1] : 0;
  };
  const show = (t) => {
    for (const figure of figures) {
      const x = left + (t / figure.end) * (width - left - right);
      figure.cross.setAttribute("x1", x);
      figure.cross.setAttribute("x2", x);
      figure.cross.style.visibility = "visible";
      figure.tip.textContent = clock(t) + "  " +
        figure.series.map((s) => s.name + " " + s.unit + Number(at(s.points, t).toFixed(3))).join(", ");
    }
  };
  for (const figure of figures) {
    figure.svg.addEventListener("pointermove", (event) => {
      const box = figure.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * width;
      const t = ((x - left) / (width - left - right)) * figure.end;
      show(Math.min(figure.end, Math.max(0, t)));
    });
  }
  const filter = document.getElementById("filter");
  const rows = [...document.querySelectorAll("#decisions tbody tr")];
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    document.getElementById("shown").textContent = shown;
  });
  for (const row of rows) row.addEventListener("pointerenter", () => show(Number(row.dataset.t)));
})();
