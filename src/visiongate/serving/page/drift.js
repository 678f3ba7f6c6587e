// What the last drift check found: what has changed, how much, how sure it is, since when, and what to do.
import {element} from "./dom.js";
import {cell, day, fact, interval, item, items, nameOf, prose, range, rowHead, table, UNKNOWN, verdict} from "./tables.js";
import {count, percent, sentence} from "./words.js";

const KINDS = {"no drift": "yes", drift: "no"};
const TITLES = {"no drift": "No drift", drift: "Something has changed", "cannot say": "Too few predictions to say"};
const HARMS = {possible: "The answers may have become worse.", estimated: "The answers have probably become worse: the accuracy, estimated without labels, has fallen.", measured: "The answers have become worse: the accuracy by feedback has fallen."};
const NO_CHECK = "There was no drift check yet. `visiongate drift` makes one; run it weekly.";

export function showDrift(place, {drift, checks}) {
  if (!drift) return place.replaceChildren(element("p", {className: "hint"}, ...prose(NO_CHECK)));
  const box = verdict(KINDS[drift.verdict] ?? "", TITLES[drift.verdict] ?? drift.verdict, HARMS[drift.harm], drift.advice);
  box.append(element("p", {className: "hint", textContent: describe(drift, checks)}));
  place.replaceChildren(box, ...(drift.models ?? []).flatMap((model) => showModel(model, drift.advice)));
}

function describe({checked_at: time, hours, yearly_level: level}, checks) {
  const found = checks.filter((each) => each.verdict === "drift");
  const history = `Of the last ${count(checks.length, "check")}, ${found.length || "none"} found drift${found.length ? `, the latest on ${day(found[0].time)}` : ""}.`;
  const guarantee = level ? ` At most ${percent(level)} of years without a change have a false alarm.` : "";
  return `Checked on ${day(time)}, the ${Math.round(hours / 24) || 1} days before it. ${history}${guarantee}`;
}

// No advice is repeated: that of the check is the first version's, and that of a version is made of those of its findings.
function showModel(model, said) {
  const findings = model.findings ?? [];
  const parts = [element("h3", {textContent: `${nameOf(model)}: ${model.verdict}`})];
  const advice = model.advice ?? "";
  if (model.verdict !== "no drift" && advice !== said) parts.push(element("p", {}, ...prose(advice)));
  if (model.causes?.length) parts.push(element("p", {}, ...prose(`Likely: ${model.causes.join("; ")}`)));
  if (findings.length) parts.push(items(findings.map((each) => findingItem(each, advice))));
  parts.push(element("p", {className: "hint", textContent: compared(model)}));
  if (model.accuracy) parts.push(showAccuracy(model.accuracy));
  if (model.label_shift?.classes?.length) parts.push(showShares(model));
  return parts;
}

function compared({window: recent, reference, tests}) {
  const base = reference?.origin ? `${reference.images.toLocaleString("en")} ${reference.origin}` : "nothing";
  const names = tests?.length ? ` Looked at: ${tests.map((each) => words(each.test)).join(", ")}.` : "";
  return recent ? `${count(recent.compared, "prediction")} compared with ${base}.${names}` : "";
}

function findingItem({test, what, effect, unit, p_value: p, since, advice, severity}, said) {
  const name = element("b", {className: severity === "critical" ? "bad" : severity === "warning" ? "warn" : "", textContent: `${words(test)}: `});
  const sure = p < 0.0001 ? "p < 0.0001" : `p = ${number(p)}`;
  const much = effect === undefined ? "" : `${number(effect)} ${unit ?? ""}`;
  return item(element("span", {}, name, what), [much, sure, since && `since ${day(since)}`], said.includes(advice) ? "" : advice);
}

function words(test) {
  return test.replaceAll("_", " ");
}

function number(value) {
  return String(Number(value.toPrecision(2)));
}

// It stands beside its limits, because it is no measurement.
function showAccuracy(accuracy) {
  const {value, reference, limits, reliable} = accuracy;
  const doubt = reliable === false ? " The images are unlike the held-out ones, so that the accuracy is probably lower." : "";
  return element("div", {}, element("dl", {className: "facts"}, fact("Accuracy, estimated without labels", percent(value), range(accuracy)), fact("On held-out images", reference === null || reference === undefined ? UNKNOWN : percent(reference))), element("p", {className: "hint", textContent: `${sentence(limits ?? "")}${doubt}`}));
}

function showShares({label_shift: shift, ...model}) {
  const rows = shift.classes.map((each) => [rowHead(each.name), cell(percent(each.reference)), interval({value: each.share, low: each.low, high: each.high})]);
  const details = element("details", {}, element("summary", {textContent: "Estimated shares of the true classes"}), table(`True classes of ${nameOf(model)}`, ["Class", "+Held-out images", "+Now, estimated"], rows), element("p", {className: "hint", textContent: sentence(shift.limits ?? "")}));
  details.open = opened.has(nameOf(model));
  details.addEventListener("toggle", () => opened[details.open ? "add" : "delete"](nameOf(model)));
  return details;
}

// The page is drawn again every few seconds.
const opened = new Set();
