// Bars of a count by hour, as SVG.
import {element} from "./dom.js";
import {count} from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HOUR = 3_600_000;
const HEIGHT = 100;
const GAP = 0.2;

export function drawVolume(figure, byHour) {
  const bars = everyHour(byHour);
  const most = Math.max(1, ...bars.map((bar) => bar.predictions));
  const chart = svg("svg", {viewBox: `0 0 ${bars.length} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": describe(bars)});
  for (const [index, {hour, predictions}] of bars.entries()) {
    const height = (HEIGHT * predictions) / most;
    const bar = svg("rect", {x: index + GAP / 2, y: HEIGHT - height, width: 1 - GAP, height});
    bar.append(Object.assign(svg("title"), {textContent: `${clock(hour)}: ${count(predictions, "prediction")}`}));
    chart.append(bar);
  }
  const axis = element("div", {className: "axis"}, element("span", {textContent: clock(bars[0].hour)}), element("span", {textContent: `at most ${most.toLocaleString("en")} an hour`}), element("span", {textContent: clock(bars.at(-1).hour)}));
  figure.replaceChildren(chart, axis);
}

// An hour without predictions is missing in the log. At least a day is shown, so that one bar does not fill the chart.
function everyHour(byHour) {
  const known = new Map(byHour.map(({hour, predictions}) => [Date.parse(hour), predictions]));
  const last = HOUR * Math.floor(Date.now() / HOUR);
  const first = Math.min(last - 23 * HOUR, ...known.keys());
  const hours = Array.from({length: (last - first) / HOUR + 1}, (_, index) => first + index * HOUR);
  return hours.map((hour) => ({hour, predictions: known.get(hour) ?? 0}));
}

function describe(bars) {
  const busiest = bars.reduce((a, b) => (b.predictions > a.predictions ? b : a));
  const total = bars.reduce((sum, bar) => sum + bar.predictions, 0);
  return `${count(total, "prediction")} since ${clock(bars[0].hour)}; most in an hour: ${busiest.predictions.toLocaleString("en")}, at ${clock(busiest.hour)}`;
}

function clock(time) {
  return new Date(time).toLocaleString("en", {weekday: "short", hour: "2-digit", minute: "2-digit", hour12: false});
}

function svg(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
