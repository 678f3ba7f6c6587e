// The page at /live: what the prediction log and the people who gave feedback say, refreshed while somebody looks.
import {DAY, drawVolume, HOUR} from "./chart.js";
import {drawCalibration, drawConfidences} from "./confidence.js";
import {element, show} from "./dom.js";
import {showDrift} from "./drift.js";
import {showModel} from "./foot.js";
import {askForKey, UNAUTHORIZED} from "./key.js";
import {request} from "./network.js";
import {showRollout} from "./rollout.js";
import {cell, fact, fillTable, interval, nameOf, range, rowHead, UNKNOWN} from "./tables.js";
import {count, milliseconds, percent} from "./words.js";

const EVERY = 5;
const CLASSES = 30;
const ALL = "all";
const NOTES = {
  sampled: "By the replies about a random sample of the answers, with 95% intervals.",
  volunteered: "By feedback that nobody asked for, with 95% intervals. People report mistakes more often than they confirm answers, so these describe the predictions with feedback, not all of them.",
  feedback: "By all feedback, with 95% intervals. Most of it may be volunteered, so these describe the predictions with feedback, not all of them.",
};

const at = (id) => document.getElementById(id);
let paused = false;
let everyClass = false;
let basisWasChosen = false;
let report = null;

function showFacts({predictions, confidence, sampled, volunteered, latency_ms: latency, sure, out_of_distribution: unlike}) {
  at("facts").replaceChildren(
    fact("Accuracy, random sample", sampled.accuracy ? percent(sampled.accuracy.value) : UNKNOWN, describeSample(sampled)),
    fact("Accuracy, volunteered feedback", volunteered.accuracy ? percent(volunteered.accuracy.value) : UNKNOWN, volunteered.accuracy ? `${range(volunteered.accuracy)}, from ${count(volunteered.labeled, "answer")}; people report mistakes more often` : "No feedback yet"),
    fact("Predictions", predictions.toLocaleString("en"), confidence === null ? "" : `mean confidence ${percent(confidence)}`),
    fact("Latency, mean", latency ? milliseconds(latency.mean) : UNKNOWN, latency ? `p50 ${milliseconds(latency.p50)}, p95 ${milliseconds(latency.p95)}, p99 ${milliseconds(latency.p99)}` : ""),
    fact("Sure", sure === null ? UNKNOWN : percent(sure), unlike === null ? "" : `${percent(unlike)} unlike the training images`),
    showCalibrationError(chosenScores()),
  );
  showGivers();
}

function describeSample({accuracy, labeled, asked, images, response_rate: rate}) {
  if (asked === null) return accuracy ? `${range(accuracy)}, from ${count(labeled, "reply", "replies")} to the answers` : "No replies yet";
  if (!asked) return "The service has not asked anyone yet";
  const different = images < labeled ? `, about ${count(images, "different image")}` : "";
  const replies = `${labeled.toLocaleString("en")} of ${asked.toLocaleString("en")} replied (${percent(rate.value)})${different}`;
  return accuracy ? `${range(accuracy)}; ${replies}` : replies;
}

function showCalibrationError({calibration}) {
  return fact("Calibration error", calibration ? percent(calibration.ece.value) : UNKNOWN, calibration ? range(calibration.ece) : "No feedback yet");
}

// One who lies, or sees other images, may have given most of the feedback.
function showGivers() {
  const {givers, others, labeled} = chosenScores();
  show(at("givers"), givers > 0);
  if (!givers) return;
  const rest = others.accuracy ? `without it, the accuracy is ${percent(others.accuracy.value)} (${range(others.accuracy)})` : "nobody else gave any";
  at("givers").textContent = `Feedback came with ${count(givers, "API key")}. The most active one gave ${others.removed.toLocaleString("en")} of ${labeled.toLocaleString("en")}; ${rest}.`;
}

function showClasses() {
  const scores = new Map(chosenScores().classes.map((each) => [each.name, each]));
  const classes = [...chosen().feedback.classes].sort((a, b) => b.predicted - a.predicted);
  const shown = everyClass ? classes : classes.slice(0, CLASSES);
  fillTable(at("classes"), ["Class", "+Predicted", "+Feedback", "+Precision", "+Recall", "+F1"], shown.map((each) => classRow(each, scores.get(each.name))));
  show(at("all-classes"), shown.length < classes.length).textContent = `All ${classes.length.toLocaleString("en")} classes`;
  at("feedback-note").textContent = chosenScores().labeled ? NOTES[at("basis").value] : "Precision, recall and F1 appear as soon as there is feedback of this kind.";
}

function classRow({name, predicted}, scores) {
  return [rowHead(name), cell(predicted.toLocaleString("en")), cell((scores?.labeled ?? 0).toLocaleString("en")), ...["precision", "recall", "f1"].map((score) => interval(scores?.[score]))];
}

function versionRow(model) {
  const {predictions, sampled, volunteered, latency_ms: latency} = model;
  const times = latency ? [latency.mean, latency.p50, latency.p95, latency.p99].map(milliseconds) : Array(4).fill(UNKNOWN);
  return [rowHead(label(model)), cell(predictions.toLocaleString("en")), interval(sampled.accuracy), interval(volunteered.accuracy), ...times.map((each) => cell(each))];
}

function label(model) {
  const role = model.shadow ? " (shadow)" : model.roles.canary === model.predictions ? " (canary)" : "";
  return `${nameOf(model)}${role}`;
}

// One version of a model, or all answers.
function chosen() {
  return report.models.find((each) => label(each) === at("scope").value) ?? {...report.all, by_hour: report.by_hour};
}

function chosenScores() {
  return chosen()[at("basis").value];
}

function offerVersions() {
  // Not in the order of their latest use, which changes.
  const names = report.models.map(label).sort();
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
  if (!basisWasChosen) at("basis").value = chosen().accuracy_from ?? "sampled";
  showFacts(chosen());
  showClasses();
  drawConfidences(at("confidences"), chosen());
  drawCalibration(at("calibration"), chosenScores());
  const answers = report.models.filter((each) => !each.shadow).map((each) => ({...each, label: label(each)}));
  drawVolume(at("volume"), report, {chosen: chosen(), versions: at("scope").value === ALL && answers.length > 1 ? answers : []});
  fillTable(at("versions"), ["Model", "+Predictions", "+Accuracy, random sample", "+Volunteered", "+Mean", "+p50", "+p95", "+p99"], report.models.map(versionRow));
}

async function refresh() {
  try {
    const [performance, monitoring, models] = await Promise.all(["performance", "monitoring", "models"].map((each) => request(each)));
    report = performance;
    render();
    showDrift(at("drift"), monitoring);
    showRollout(at("rollout"), models, monitoring);
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
  showClasses();
});
at("scope").addEventListener("change", render);
at("basis").addEventListener("change", () => {
  basisWasChosen = true;
  render();
});
document.addEventListener("visibilitychange", () => !document.hidden && !paused && refresh());
setInterval(() => !document.hidden && !paused && refresh(), 1000 * EVERY);
start();
