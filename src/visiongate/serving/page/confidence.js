// The distribution of the confidence, and how often answers of a confidence are right.
import {element} from "./dom.js";
import {svg} from "./chart.js";
import {range} from "./tables.js";
import {count, percent} from "./words.js";

const SIZE = 100;

export function drawConfidences(place, {confidences, predictions}) {
  const most = Math.max(1, ...confidences);
  const width = SIZE / confidences.length;
  const chart = svg("svg", {viewBox: `0 0 ${SIZE} ${SIZE}`, preserveAspectRatio: "none", role: "img", "aria-label": describe(confidences, predictions)});
  for (const [index, number] of confidences.entries()) {
    const height = (SIZE * number) / most;
    const bar = svg("rect", {x: (index + 0.1) * width, y: SIZE - height, width: 0.8 * width, height});
    bar.append(Object.assign(svg("title"), {textContent: `${percent(index / confidences.length)} to ${percent((index + 1) / confidences.length)}: ${count(number, "prediction")}`}));
    chart.append(bar);
  }
  place.replaceChildren(chart, axis());
}

function describe(confidences, predictions) {
  const high = confidences.slice(-2).reduce((a, b) => a + b, 0);
  return `${percent(predictions ? high / predictions : 0)} of ${count(predictions, "prediction")} have a confidence of at least 90%`;
}

// Each point lies on the diagonal if 90% of the answers with a confidence of 90% are right. The line through it is its interval.
export function drawCalibration(place, {calibration}) {
  if (!calibration) return place.replaceChildren(element("p", {className: "hint", textContent: "No feedback of this kind yet."}));
  const {ece, bins} = calibration;
  const chart = svg("svg", {viewBox: `0 0 ${SIZE} ${SIZE}`, preserveAspectRatio: "none", role: "img", "aria-label": bins.map(inWords).join("; ")});
  chart.append(svg("line", {x1: 0, y1: SIZE, x2: SIZE, y2: 0, class: "guide"}));
  for (const bin of bins) {
    const x = SIZE * bin.confidence;
    const line = svg("line", {x1: x, x2: x, y1: SIZE * (1 - bin.accuracy.low), y2: SIZE * (1 - bin.accuracy.high), class: "whisker"});
    // A line without length and with round ends is a dot, however the drawing is stretched.
    const dot = svg("line", {x1: x, x2: x, y1: SIZE * (1 - bin.accuracy.value), y2: SIZE * (1 - bin.accuracy.value), class: "dot"});
    dot.append(Object.assign(svg("title"), {textContent: inWords(bin)}));
    chart.append(line, dot);
  }
  place.replaceChildren(chart, axis(), element("p", {className: "hint", textContent: `Calibration error ${percent(ece.value)} (${range(ece)}). On the line, confidence and accuracy are equal.`}));
}

function inWords({confidence, labeled, accuracy}) {
  return `confidence ${percent(confidence)}: ${percent(accuracy.value)} of ${labeled} right, ${range(accuracy)}`;
}

function axis() {
  return element("div", {className: "axis", ariaHidden: "true"}, ...["0%", "confidence", "100%"].map((each) => element("span", {textContent: each})));
}
