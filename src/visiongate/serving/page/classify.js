// The page at /: takes images in, sends a few at a time, and shows each answer as it arrives.
import {Card} from "./card.js";
import {show} from "./dom.js";
import {takeIn} from "./intake.js";
import {askForKey, UNAUTHORIZED} from "./key.js";
import {chosenModel, describeModel, offerModels} from "./model.js";
import {classify} from "./network.js";
import {count, heading, list, spoken, tag} from "./words.js";

const AT_ONCE = 3;
const ATTEMPTS = 5;
const BUSY = [429, 503];
const SUMMARY_CLASSES = 4;

const at = (id) => document.getElementById(id);
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
const waiting = [];
const cards = [];
let sending = 0;

function add(files) {
  const batch = [...files].map((file) => new Card(file, chosenModel(), again));
  if (!batch.length) return;
  show(at("message"), false);
  cards.push(...batch);
  at("answers").prepend(...batch.map((card) => card.root));
  document.body.classList.add("used");
  waiting.push(...batch);
  send();
}

function again(card) {
  card.wait("Waiting");
  waiting.push(card);
  send();
}

function send() {
  while (sending < AT_ONCE && waiting.length) {
    sending += 1;
    answer(waiting.shift()).finally(() => {
      sending -= 1;
      send();
    });
  }
  summarize();
}

async function answer(card) {
  try {
    card.wait("Looking");
    card.say(await attempt(card));
    at("spoken").textContent = spoken(card.name, card.answer);
  } catch (problem) {
    if (problem.status === UNAUTHORIZED) return holdForKey(card);
    card.fail(problem);
    at("spoken").textContent = `${card.name}: ${problem.title}. ${problem.message}`;
  }
}

// A busy service says when to come back; a person should not have to.
async function attempt(card) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await classify(card.file, card.model);
    } catch (problem) {
      if (!BUSY.includes(problem.status) || tries === ATTEMPTS) throw problem;
      card.wait("The service is busy; trying again");
      await sleep(problem.retryAfter || tries);
    }
  }
}

function holdForKey(card) {
  card.wait("Waiting for the API key");
  card.held = true;
  askForKey(resume);
}

function resume() {
  at("choose").focus();
  describe();
  for (const card of cards.filter((each) => each.held)) {
    card.held = false;
    again(card);
  }
}

function summarize() {
  const answered = cards.filter((card) => card.answer);
  const failed = cards.filter((card) => card.problem).length;
  const done = answered.length + failed;
  const parts = [`${count(cards.length, "image")}: ${done < cards.length ? `${done} done` : tally(answered)}`];
  if (failed) parts.push(`${failed} failed`);
  show(at("summary"), cards.length > 1);
  at("summary").querySelector("p").textContent = `${parts.join(", ")}.`;
}

function tally(answered) {
  const counts = new Map();
  for (const card of answered) {
    const label = tag(card.answer).toLowerCase() || heading(card.answer);
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  const names = sorted.slice(0, SUMMARY_CLASSES).map(([label, number]) => `${number} ${/^\d/.test(label) ? "× " : ""}${label}`);
  if (sorted.length > SUMMARY_CLASSES) names.push(`${count(sorted.length - SUMMARY_CLASSES, "more class", "more classes")}`);
  return names.length ? list(names) : "none answered";
}

function clear() {
  for (const card of cards) card.release();
  cards.length = waiting.length = 0;
  document.body.classList.remove("used");
  show(at("summary"), false);
  at("choose").focus();
}

function tell(text) {
  show(at("message")).textContent = text;
  at("spoken").textContent = text;
}

// A service that has just started knows no model yet.
async function describe() {
  try {
    await offerModels();
    await describeModel();
  } catch (problem) {
    if (problem.status === UNAUTHORIZED) return askForKey(resume);
    at("classes").textContent = problem.message;
    if (BUSY.includes(problem.status)) sleep(problem.retryAfter || 2).then(describe);
  }
}

takeIn(add, tell);
at("clear").addEventListener("click", clear);
at("model").addEventListener("change", () => describeModel().catch((problem) => tell(problem.message)));
describe();
