// The page at /live: what the prediction log and the people who gave feedback say, refreshed while somebody looks.
import {DAY, drawVolume, HOUR} from "./chart.js";
import {element, show} from "./dom.js";
import {showModel} from "./foot.js";
import {askForKey, UNAUTHORIZED} from "./key.js";
import {request} from "./network.js";
import {count, milliseconds, percent} from "./words.js";

const EVERY = 5;
const CLASSES = 30;
const UNKNOWN = "–";
const ALL = "all";

const at = (id) => document.getElementById(id);
let paused = false;
let everyClass = false;
let report = null;

function cell(...content) {
  return element("td", {className: "number"}, ...content);
}

// A share with its 95% interval, which says how much the feedback can tell.
function interval(share) {
  return share ? cell(percent(share.value), element("span", {className: "hint", textContent: ` ${range(share)}`})) : cell(UNKNOWN);
}

function range({low, high}) {
  return `${percent(low)} to ${percent(high)}`;
}

function table(place, columns, rows) {
  const head = columns.map((name, index) => element("th", {scope: "col", className: index ? "number" : "", textContent: name}));
  place.replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function fact(name, value, note = "") {
  return element("div", {}, element("dt", {textContent: name}), element("dd", {textContent: value}), note && element("dd", {className: "note", textContent: note}));
}

function showFacts({predictions, feedback, latency_ms: latency, sure, out_of_distribution: unlike}) {
  const {accuracy, labeled} = feedback;
  at("facts").replaceChildren(
    fact("Predictions", predictions.toLocaleString("en")),
    fact("Accuracy by feedback", accuracy ? percent(accuracy.value) : UNKNOWN, accuracy ? `${range(accuracy)}, from ${count(labeled, "answer")}` : "No feedback yet"),
    fact("Latency, mean", latency ? milliseconds(latency.mean) : UNKNOWN, latency ? `p95 ${milliseconds(latency.p95)}, p99 ${milliseconds(latency.p99)}` : ""),
    fact("Sure", sure === null ? UNKNOWN : percent(sure), unlike === null ? "" : `${percent(unlike)} unlike the training images`),
  );
}

function showClasses({feedback}) {
  const classes = [...feedback.classes].sort((a, b) => b.predicted - a.predicted);
  const shown = everyClass ? classes : classes.slice(0, CLASSES);
  table(at("classes"), ["Class", "Predicted", "Feedback", "Precision", "Recall", "F1"], shown.map(classRow));
  show(at("all-classes"), shown.length < classes.length).textContent = `All ${classes.length.toLocaleString("en")} classes`;
  at("feedback-note").textContent = feedback.labeled ? "By feedback, with 95% intervals. People choose what they report, so these describe the predictions with feedback, not all of them." : "Precision, recall and F1 appear as soon as somebody says what an image shows.";
}

function classRow({name, predicted, labeled, precision, recall, f1}) {
  return element("tr", {}, element("th", {scope: "row", textContent: name}), cell(predicted.toLocaleString("en")), cell(labeled.toLocaleString("en")), ...[precision, recall, f1].map(interval));
}

function versionRow(model) {
  const {predictions, feedback, latency_ms: latency} = model;
  const times = latency ? [latency.mean, latency.p95, latency.p99].map(milliseconds) : [UNKNOWN, UNKNOWN, UNKNOWN];
  return element("tr", {}, element("th", {scope: "row", textContent: nameOf(model)}), cell(predictions.toLocaleString("en")), interval(feedback.accuracy), ...times.map((each) => cell(each)));
}

function nameOf({name, version, sha256, shadow}) {
  return `${name} ${version ?? sha256.slice(0, 12)}${shadow ? " (shadow)" : ""}`;
}

// One version of a model, or all answers.
function chosen() {
  return report.models.find((each) => nameOf(each) === at("scope").value) ?? report.all;
}

function offerVersions() {
  // Not in the order of their latest use, which changes.
  const names = report.models.map(nameOf).sort();
  const options = [element("option", {value: ALL, textContent: "All answers"}), ...names.map((name) => element("option", {value: name, textContent: name}))];
  const known = [...at("scope").options].map((option) => option.value);
  // Rebuilding the list would close it under a person's finger.
  if (known.join() !== [ALL, ...names].join()) {
    const kept = at("scope").value;
    at("scope").replaceChildren(...options);
    at("scope").value = names.includes(kept) ? kept : ALL;
  }
  show(at("scope-label"), names.length > 1);
}

function period(duration) {
  const days = duration / DAY;
  return Number.isInteger(days) ? count(days, "day") : count(Math.round(duration / HOUR), "hour");
}

function render() {
  at("state").textContent = `The last ${period(Date.parse(report.until) - Date.parse(report.since))}, at ${new Date(report.until).toLocaleTimeString()}`;
  show(at("lost"), !report.log.recording);
  show(at("none"), !report.models.length);
  show(at("numbers"), report.models.length > 0);
  if (!report.models.length) return;
  offerVersions();
  showFacts(chosen());
  showClasses(chosen());
  drawVolume(at("volume"), report);
  table(at("versions"), ["Model", "Predictions", "Accuracy", "Mean", "p95", "p99"], report.models.map(versionRow));
}

async function refresh() {
  try {
    report = await request("performance");
    render();
    show(at("problem"), false);
  } catch (problem) {
    if (problem.status === UNAUTHORIZED) return askForKey(start);
    show(at("problem")).textContent = `${problem.title}. ${problem.message}`;
  }
}

function start() {
  refresh();
  request("model").then((model) => showModel(at("foot"), model), () => {});
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  if (!paused) refresh();
});
at("all-classes").addEventListener("click", () => {
  everyClass = true;
  showClasses(chosen());
});
at("scope").addEventListener("change", render);
document.addEventListener("visibilitychange", () => !document.hidden && !paused && refresh());
setInterval(() => !document.hidden && !paused && refresh(), 1000 * EVERY);
start();
