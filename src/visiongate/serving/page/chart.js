// Bars of predictions over time, as SVG.
import {element} from "./dom.js";
import {count} from "./words.js";

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;
const GAP = 0.2;
// More bars than this would be thinner than a pixel on a phone.
const BARS = 120;

export function drawVolume(figure, report) {
  const {bars, hours} = makeBars(report);
  const most = Math.max(1, ...bars.map((bar) => bar.predictions));
  const chart = svg("svg", {viewBox: `0 0 ${bars.length} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": describe(bars)});
  for (const [index, {start, predictions}] of bars.entries()) {
    const height = (HEIGHT * predictions) / most;
    const bar = svg("rect", {x: index + GAP / 2, y: HEIGHT - height, width: 1 - GAP, height});
    bar.append(Object.assign(svg("title"), {textContent: `${clock(start)}: ${count(predictions, "prediction")}`}));
    chart.append(bar);
  }
  const labels = [clock(bars[0].start), `at most ${most.toLocaleString("en")} in ${hours === 1 ? "an hour" : `${hours} hours`}`, clock(bars.at(-1).start)];
  figure.replaceChildren(chart, element("div", {className: "axis"}, ...labels.map((text) => element("span", {textContent: text}))));
}

// From the first prediction, and at least a day. Hours without predictions are missing in the report.
function makeBars({since, until, all, by_hour: byHour}) {
  const [start, end] = [since, until].map(Date.parse);
  const first = HOUR * Math.floor(Math.max(start, Math.min(Date.parse(all.first), end - DAY)) / HOUR);
  const hours = Math.ceil((end - first) / HOUR / BARS);
  const bars = [];
  for (let time = first; time <= end; time += hours * HOUR) bars.push({start: time, predictions: 0});
  for (const {hour, predictions} of byHour) {
    const bar = bars[Math.floor((Date.parse(hour) - first) / HOUR / hours)];
    if (bar) bar.predictions += predictions;
  }
  return {bars, hours};
}

function describe(bars) {
  const busiest = bars.reduce((a, b) => (b.predictions > a.predictions ? b : a));
  const total = bars.reduce((sum, bar) => sum + bar.predictions, 0);
  return `${count(total, "prediction")} since ${clock(bars[0].start)}; the most, ${busiest.predictions.toLocaleString("en")}, from ${clock(busiest.start)}`;
}

function clock(time) {
  return new Date(time).toLocaleString("en", {month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
}

function svg(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
