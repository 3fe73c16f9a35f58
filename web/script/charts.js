// Charts of a run's metrics or machines, which grow while the run goes on. Each
// update fetches only the seconds after the last one.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

const height = 190;
const maxLegend = 8; // lines; more are told apart by pointing at them
const percentiles = ["p50", "p95", "p99", "max"];

export class Charts {
  // The choices are fields of a form, by the names that the server knows them by.
  constructor(address, box, choices, none) {
    this.address = address;
    this.box = box;
    this.choices = choices;
    this.none = none;
    this.clear();
    for (const choice of Object.values(choices)) {
      choice.addEventListener("change", () => this.restart());
    }
    new ResizeObserver(() => this.resize()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restart());
  }

  clear() {
    this.lines = new Map();
    this.from = 0;
    for (const plot of this.plots?.values() ?? []) {
      plot.destroy();
    }
    this.plots = new Map(); // by title
    this.box.replaceChildren();
  }

  restart() {
    this.round = (this.round ?? 0) + 1;
    this.busy = false;
    this.clear();
    this.update();
  }

  // update adds what is new. While one is under way, another is not needed.
  async update() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    const round = this.round;
    const chosen = new URLSearchParams({ from: this.from });
    for (const [name, choice] of Object.entries(this.choices)) {
      chosen.set(name, choice.value);
    }
    // What can't be had now, the next second may bring.
    const data = await fetch(`${this.address}?${chosen}`)
      .then((response) => (response.ok ? response.json() : null), () => null);
    if (round !== this.round) {
      return;
    }
    this.busy = false;
    if (data) {
      this.take(data);
    }
    if (this.again) {
      this.again = false;
      this.update();
    }
  }

  take(data) {
    this.offer(data.metrics);
    const fresh = data.lines.filter((line) => !this.lines.has(keyOf(line)));
    if (this.from > 0 && fresh.length > 0) {
      // A line that has just begun may lack what came before its first fetch.
      this.lines.clear();
      this.from = 0;
      this.again = true;
      return;
    }
    for (const line of data.lines) {
      const old = this.lines.get(keyOf(line));
      if (!old) {
        this.lines.set(keyOf(line), line);
        continue;
      }
      old.times.push(...line.times);
      for (const name of Object.keys(line.values)) {
        old.values[name].push(...line.values[name]);
      }
    }
    this.from = data.to;
    this.draw();
    this.box.dataset.points = [...this.lines.values()].reduce((sum, line) => sum + line.times.length, 0);
  }

  // offer puts new metrics into the chooser.
  offer(metrics) {
    const known = new Set([...this.choices.metric?.options ?? []].map((option) => option.value));
    for (const { name } of metrics) {
      if (!known.has(name)) {
        known.add(name);
        this.choices.metric.add(new Option(name, name));
      }
    }
  }

  draw() {
    for (const [title, curves] of this.charts()) {
      const data = align(curves);
      const plot = this.plots.get(title);
      if (plot && plot.series.length === data.length) {
        plot.setData(data);
      } else {
        this.plots.set(title, this.plot(title, curves, data, plot));
      }
    }
    if (this.plots.size === 0) {
      this.box.textContent = this.none;
    }
  }

  // charts sorts what there is into charts: title, and curves by their names.
  charts() {
    const charts = new Map();
    const add = (title, name, line, values) => {
      if (!charts.has(title)) {
        charts.set(title, new Map());
      }
      charts.get(title).set(name, [line.times, values]);
    };
    for (const line of this.lines.values()) {
      const { rate, value, count } = line.values;
      const split = line.label !== "";
      if (line.kind === "ms") {
        for (const name of percentiles) {
          add(split ? `${line.name}, ${name} in ms` : `${line.name} in ms`, split ? line.label : name, line, line.values[name]);
        }
      }
      if (rate) {
        add(`${line.name} a second`, line.label || "rate", line, rate);
      }
      if (line.kind === "host") {
        add(line.name, line.label, line, value);
      } else if (value) {
        add(`${line.name}, value`, line.label || "value", line, value);
      }
      if (count) {
        add(`${line.name}, distinct values a second`, line.label || "distinct", line, count);
      }
    }
    return charts;
  }

  plot(title, curves, data, old) {
    const figure = old ? old.root.parentElement : document.createElement("figure");
    old?.destroy();
    if (!old) {
      if (this.plots.size === 0) {
        this.box.replaceChildren();
      }
      const caption = document.createElement("figcaption");
      caption.textContent = title;
      figure.append(caption);
      this.box.append(figure);
    }
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const names = [...curves.keys()];
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 } };
    const options = {
      width: widthOf(figure), height, tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      legend: { show: names.length <= maxLegend, live: true },
      cursor: { y: false, drag: { x: true, y: false }, focus: { prox: 24 } },
      focus: { alpha: names.length > maxLegend ? 0.25 : 1 },
      scales: { x: { range: (u, min, max) => (min === max ? [min - 30, max + 30] : [min, max]) }, y: { range: (u, min, max) => [0, max > 0 ? max * 1.08 : 1] } },
      axes: [{ ...axis, values: timesOfDay, space: 70 }, { ...axis, size: 56, values: (u, ticks) => ticks.map(figureOf) }],
      series: [{ label: "UTC", value: (u, at) => timeOfDay(at ?? u.data[0].at(-1) ?? 0) }, ...names.map((name, i) => ({
        label: name, stroke: colour(`--c${(i % 4) + 1}`), width: names.length > maxLegend ? 1 : 1.6,
        points: { show: data[0].length < 3 }, // Where nothing is pointed at, the last second's.
        value: (u, y, curve, at) => valueOf(at === null ? u.data[curve].at(-1) : y),
      }))],
    };
    const plot = new uPlot(options, data, figure);
    plot.root.querySelector("canvas").setAttribute("role", "img");
    plot.root.querySelector("canvas").setAttribute("aria-label", `Chart of ${title}`);
    return plot;
  }

  resize() {
    for (const plot of this.plots.values()) {
      const width = widthOf(plot.root.parentElement);
      if (width !== plot.width) {
        plot.setSize({ width, height });
      }
    }
  }
}

const keyOf = (line) => `${line.kind} ${line.name} ${line.label}`;

function widthOf(figure) {
  const style = getComputedStyle(figure);
  return Math.max(120, Math.floor(figure.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)));
}

// align puts curves with times of their own on all times that any of them has.
function align(curves) {
  const list = [...curves.values()];
  if (list.length > 0 && list.every(([times]) => times === list[0][0])) {
    return [list[0][0], ...list.map(([, values]) => values)];
  }
  return uPlot.join(list.map(([times, values]) => [times, values]), list.map(() => [0, 2]));
}

const valueOf = (y) => (y === null || y === undefined ? "–" : figureOf(y));
const timeOfDay = (at) => new Date(at * 1000).toISOString().slice(11, 19);
const timesOfDay = (u, ticks) => ticks.map(timeOfDay);

// figureOf writes a number with four digits that matter.
function figureOf(x) {
  if (x === 0 || (Math.abs(x) >= 0.001 && Math.abs(x) < 1e6)) {
    return String(Number(x.toPrecision(4)));
  }
  return x.toExponential(1);
}
