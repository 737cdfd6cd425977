// Draws the tables that ask for it, with uPlot. Without this file every page still says the same, as tables.
(() => {
  "use strict";
  const plots = new Map(); // by element: the plot, and the look at its size
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const LINE = "#2a9484", SECOND = "#b07a1d";

  const value = (row, name) => (row.dataset[name] === undefined ? null : Number(row.dataset[name]));
  const axis = (more) => ({
    stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
    font: "12px system-ui, sans-serif", ...more,
  });

  function curve(element, rows, reading) {
    const days = [...rows].reverse();
    const at = days.map((row) => Date.parse(row.dataset.day + "T00:00:00Z") / 1000);
    const data = [at, ...["high", "low", "share"].map((name) => days.map((row) => value(row, name)))];
    const told = (index) => {
      if (!reading || index === null || index === undefined) return;
      const [day, right, interval, judged, turns, , changed] = [...days[index].cells].map((cell) => cell.textContent.trim());
      const share = days[index].dataset.n === "0" ? "nothing was judged" : `${right} right (${interval}) of ${judged} judged`;
      reading.textContent = [day, share, `${turns} turns`, changed].filter(Boolean).join(" · ");
    };
    return [data, {
      scales: { x: { time: true, range: (_, low, high) => (low === high ? [low - 43200, high + 43200] : [low - 20000, high + 20000]) },
        y: { range: [0, 1] } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      series: [{}, { points: { show: false }, stroke: "transparent" }, { points: { show: false }, stroke: "transparent" },
        { stroke: LINE, width: 2.25, spanGaps: false, points: { show: true, size: 6, fill: LINE } }],
      bands: [{ series: [1, 2], fill: LINE + "26" }],
      axes: [
        axis({ grid: { show: false }, space: 64, size: 30, values: (_, ticks, __, ___, step) => ticks.map((tick) => step < 86400 ? "" :
          new Date(tick * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" })) }),
        axis({ size: 48, values: (_, ticks) => ticks.map((tick) => Math.round(100 * tick) + " %"), space: 44 }),
      ],
      cursor: { y: false, points: { size: 9 }, drag: { x: false, y: false } },
      hooks: { ready: [() => told(days.length - 1)], draw: [(plot) => marks(plot, days, at)],
        setCursor: [(plot) => told(plot.cursor.idx)] },
    }];
  }

  // What changed: a small mark below the day for the library, a dashed line for the model.
  function marks(plot, days, at) {
    const { ctx, bbox } = plot, ratio = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    days.forEach((row, n) => {
      const x = plot.valToPos(at[n], "x", true), bottom = bbox.top + bbox.height;
      if (Number(row.dataset.changes)) {
        ctx.fillStyle = colour("--line-strong");
        ctx.beginPath();
        ctx.moveTo(x, bottom - 7 * ratio); ctx.lineTo(x + 4.5 * ratio, bottom); ctx.lineTo(x - 4.5 * ratio, bottom);
        ctx.fill();
      }
      if (row.dataset.policy) {
        ctx.strokeStyle = ctx.fillStyle = SECOND;
        ctx.lineWidth = 1.5 * ratio;
        ctx.setLineDash([4 * ratio, 3 * ratio]);
        ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bottom); ctx.stroke();
        ctx.setLineDash([]);
        ctx.fillStyle = colour("--soft");
        const name = row.dataset.policy.split("@").pop(), left = x + ctx.measureText(name).width > bbox.left + bbox.width - 8 * ratio;
        ctx.textAlign = left ? "right" : "left";
        ctx.fillText(name, x + (left ? -6 : 6) * ratio, bottom - 12 * ratio);
      }
    });
    ctx.restore();
  }

  function steps(element, rows) {
    const data = ["step", "loss", "kl"].map((name) => [...rows].map((row) => value(row, name)));
    const top = (_, __, high) => [0, (high || 1) * 1.08];
    return [data, {
      scales: { x: { time: false }, loss: { range: top }, kl: { range: top } },
      series: [{}, { scale: "loss", stroke: LINE, width: 2.25, points: { show: false } },
        { scale: "kl", stroke: SECOND, width: 2, points: { show: false } }],
      axes: [axis({ grid: { show: false }, size: 30 }), axis({ scale: "loss", size: 48 }),
        axis({ scale: "kl", side: 1, size: 56, grid: { show: false } })],
      cursor: { y: false, drag: { x: false, y: false } },
    }];
  }

  const KINDS = { curve, steps };

  function draw(element) {
    const table = document.getElementById(element.dataset.from);
    if (!table) return;
    const reading = document.querySelector(`[data-reading="${element.dataset.from}"]`);
    element.hidden = false;
    if (reading) reading.hidden = false;
    const [data, options] = KINDS[element.dataset.plot](element, table.tBodies[0].rows, reading);
    const size = () => ({ width: element.clientWidth, height: element.clientHeight });
    const plot = new uPlot({ ...options, ...size(), legend: { show: false } }, data, element);
    const watch = new ResizeObserver(() => plot.setSize(size()));
    watch.observe(element);
    plots.set(element, { plot, watch });
  }

  function forget() {
    for (const [element, { plot, watch }] of plots) {
      if (!element.isConnected || element.hidden) {
        watch.disconnect();
        plot.destroy();
        plots.delete(element);
      }
    }
  }

  function drawAll(within) {
    forget();
    for (const element of within.querySelectorAll("[data-plot]")) {
      if (!plots.has(element)) draw(element);
    }
    for (const details of within.querySelectorAll("details[data-folds]")) details.open = unfolded.has(details.id);
  }

  const unfolded = new Set(); // tables that the reader has opened: they stay so when their part of the page comes anew
  document.addEventListener("click", (event) => {
    const details = event.target.closest("details[data-folds] > summary")?.parentElement;
    if (details) unfolded[details.open ? "delete" : "add"](details.id); // it opens or closes after this
  });

  function redraw() {
    for (const [element] of plots) element.hidden = true;
    const elements = [...plots.keys()];
    forget();
    elements.forEach(draw);
  }

  document.addEventListener("DOMContentLoaded", () => {
    drawAll(document);
    const here = document.querySelector(".nav [aria-current]"); // on a phone the pages' names may be wider than it
    here?.closest(".nav").scrollTo({ left: here.offsetLeft - 60 });
  });
  document.addEventListener("htmx:afterSettle", (event) => drawAll(event.target.parentElement || document));
  dark.addEventListener("change", redraw);
})();
