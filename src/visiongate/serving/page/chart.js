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
// Versions that have a color; the latest ones.
const COLORS = 4;

// The bars of a version, or of all answers, in which each version has its color.
export function drawVolume(figure, report, {chosen, versions}) {
  // In an order that does not change, so that a version keeps its color.
  const parts = versions.slice(0, COLORS).map(({label, by_hour: hours}) => ({label, hours})).sort((a, b) => (a.label < b.label ? -1 : 1));
  const {bars, hours} = makeBars(report, chosen, parts);
  const most = Math.max(1, ...bars.map((bar) => bar.predictions));
  const chart = svg("svg", {viewBox: `0 0 ${bars.length} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": describe(bars)});
  for (const [index, bar] of bars.entries()) chart.append(...stack(index, bar, most, parts));
  const labels = [clock(bars[0].start), `at most ${most.toLocaleString("en")} in ${hours === 1 ? "an hour" : `${hours} hours`}`, clock(bars.at(-1).start)];
  figure.classList.toggle("stacked", parts.length > 0);
  figure.replaceChildren(chart, element("div", {className: "axis"}, ...labels.map((text) => element("span", {textContent: text}))), ...legend(parts, versions.length > parts.length));
}

// What is not of one of the parts has the first color.
function stack(index, {start, predictions, counts}, most, parts) {
  const rest = predictions - counts.reduce((sum, each) => sum + each, 0);
  let top = HEIGHT;
  return [rest, ...counts].flatMap((number, part) => {
    if (!number) return [];
    const height = (HEIGHT * number) / most;
    top -= height;
    const bar = svg("rect", {x: index + GAP / 2, y: top, width: 1 - GAP, height, class: `part${part}`});
    const name = part ? `, ${parts[part - 1].label}` : "";
    bar.append(Object.assign(svg("title"), {textContent: `${clock(start)}${name}: ${count(number, "prediction")}`}));
    return [bar];
  });
}

function legend(parts, more) {
  if (!parts.length) return [];
  const entries = parts.map(({label}, part) => element("li", {}, element("i", {className: `part${part + 1}`, ariaHidden: "true"}), label));
  if (more) entries.push(element("li", {}, element("i", {className: "part0", ariaHidden: "true"}), "others"));
  return [element("ul", {className: "legend"}, ...entries)];
}

// From the first prediction, and at least a day. Hours without predictions are missing in the report.
function makeBars({since, until, all}, {first: earliest, by_hour: byHour}, parts) {
  const [start, end] = [since, until].map(Date.parse);
  const first = HOUR * Math.floor(Math.max(start, Math.min(Date.parse(earliest ?? all.first ?? until), end - DAY)) / HOUR);
  const hours = Math.ceil((end - first) / HOUR / BARS);
  const bars = [];
  for (let time = first; time <= end; time += hours * HOUR) bars.push({start: time, predictions: 0, counts: parts.map(() => 0)});
  const at = ({hour}) => bars[Math.floor((Date.parse(hour) - first) / HOUR / hours)];
  for (const each of byHour) if (at(each)) at(each).predictions += each.predictions;
  for (const [part, {hours: counted}] of parts.entries()) for (const each of counted) if (at(each)) at(each).counts[part] += each.predictions;
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

export function svg(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
