// Which versions are loaded in which role, what was found about a challenger, and what was decided.
import {element} from "./dom.js";
import {day, item, items, nameOf, prose, rowHead, table, text, verdict} from "./tables.js";
import {count, percent} from "./words.js";

const KINDS = {promote: "yes", "roll back": "no"};
const TITLES = {promote: "Promote the challenger", hold: "Hold: go on as it is", "roll back": "Roll the challenger back"};
const DECIDED = {...TITLES, retrain: "Train again", "no need": "No new model is needed", "cannot say": "Too little to say whether a new model is due"};

export function showRollout(place, models, {decisions}) {
  const roles = models.flatMap(({name, versions}) => versions.map((each) => [rowHead(nameOf(each)), text(models.length > 1 ? `${each.role} of ${name}` : each.role), text(day(each.loaded_at))]));
  const parts = [table("Loaded versions", ["Version", "Role", "Loaded"], roles)];
  const latest = decisions.find(({kind}) => kind === "rollout");
  if (latest) parts.push(...showLatest(latest));
  const problems = models.filter((each) => each.problem);
  parts.push(...problems.map((each) => element("p", {className: "notice"}, ...prose(each.problem))));
  if (decisions.length) parts.push(element("h3", {textContent: "What was decided"}), items(decisions.map(decisionItem)));
  else parts.push(element("p", {className: "hint", textContent: "Nothing was decided about versions yet."}));
  place.replaceChildren(...parts);
}

function showLatest({time, verdict: found, report}) {
  const box = verdict(KINDS[found] ?? "", TITLES[found] ?? found, report.advice);
  box.append(element("p", {className: "hint", textContent: `The rollout check of ${day(time)}.`}));
  return report.stages?.length ? [box, items(report.stages.map(stageItem))] : [box];
}

function stageItem({challenger, stage, challenger_did: did, agreement, labels, difference, verdict: found, checks}) {
  const title = element("span", {}, element("b", {textContent: `${nameOf(challenger)}, as ${stage}: ${found}`}));
  const details = [count(did.predictions, "prediction"), agreement !== null && `${percent(agreement)} agree with the answers`, count(labels, "label"), difference && `accuracy ${points(difference)}`];
  return item(title, details, ...checks.map((each) => `${each.check}: ${each.reason}`));
}

// A difference of shares, in percentage points.
function points(difference) {
  const [value, low, high] = [difference.value, difference.low, difference.high].map((share) => `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)}`);
  return `${value} points (${low} to ${high})`;
}

function decisionItem({time, kind, verdict: found, report}) {
  const due = (report.checks ?? []).filter((each) => each.due).map((each) => `${each.check}: ${each.reason}`);
  return item(element("b", {textContent: DECIDED[found] ?? `${kind}: ${found}`}), [day(time)], report.advice, ...due, report.applied?.join("; "));
}
