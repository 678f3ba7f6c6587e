// What the image really shows, said by a person: one tap of a few classes, a search among many.
import {button, element, fromTemplate, show} from "./dom.js";
import {post} from "./network.js";

const BUTTONS = 10;
const MATCHES = 8;

// Asks about a random sample of the answers, as the service says. Of the others, people report what they notice: the two kinds are
// counted apart.
export function offerFeedback(place, answer, classes) {
  place.classList.toggle("asked", answer.feedback_requested);
  if (answer.feedback_requested) return askForFeedback(place, answer, classes);
  const ask = button("Correct or confirm", () => { askForFeedback(place, answer, classes); focusFirst(place); }, "quiet");
  place.replaceChildren(ask);
}

function askForFeedback(place, answer, classes) {
  const question = fromTemplate("question");
  const actions = question.querySelector(".actions");
  show(question.querySelector(".why"), answer.feedback_requested);
  const say = (label) => record(place, answer, classes, label);
  actions.append(button(`Yes, ${answer.predicted_label}`, () => say(answer.predicted_label)));
  const others = classes.filter((label) => label !== answer.predicted_label);
  if (others.length < BUTTONS) actions.append(...others.map((label) => button(`No, ${label}`, () => say(label))));
  else actions.append(button("No, something else", () => search(place, others, say, () => askForFeedback(place, answer, classes))));
  place.replaceChildren(question);
}

function search(place, classes, say, cancel) {
  const form = fromTemplate("search");
  const [input, matches, hint, back] = ["input", "ul", ".hint", "button"].map((each) => form.querySelector(each));
  const list = () => {
    const found = find(classes, input.value);
    matches.replaceChildren(...found.slice(0, MATCHES).map((label) => element("li", {}, button(label, () => say(label)))));
    hint.textContent = found.length > MATCHES ? `${(found.length - MATCHES).toLocaleString("en")} more: type to narrow them down.` : found.length ? "" : "No class has this name.";
  };
  input.addEventListener("input", list);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && input.value.trim()) matches.querySelector("button")?.click();
    if (event.key === "ArrowDown") matches.querySelector("button")?.focus();
    if (event.key === "Escape") back.click();
  });
  back.addEventListener("click", () => { cancel(); focusFirst(place); });
  list();
  place.replaceChildren(form);
  input.focus();
}

// The classes are in the order of their probability; those that begin with the text come first.
function find(classes, text) {
  const wanted = text.trim().toLowerCase();
  const found = classes.filter((label) => label.toLowerCase().includes(wanted));
  return found.sort((a, b) => b.toLowerCase().startsWith(wanted) - a.toLowerCase().startsWith(wanted));
}

async function record(place, answer, classes, label) {
  const controls = place.querySelectorAll("button, input");
  for (const each of controls) each.disabled = true;
  try {
    await post("feedback", {prediction_id: answer.prediction_id, label});
    thank(place, answer, classes, label);
  } catch (error) {
    for (const each of controls) each.disabled = false;
    tell(place, error.message);
  }
}

function thank(place, answer, classes, label) {
  const text = label === answer.predicted_label ? `Thank you: ${label} is confirmed.` : `Thank you: recorded as ${label}.`;
  // The last feedback for a prediction counts.
  const change = button("Change", () => { askForFeedback(place, answer, classes); focusFirst(place); }, "quiet");
  place.classList.remove("asked");
  place.replaceChildren(element("p", {className: "thanks", role: "status"}, element("span", {textContent: text}), " ", change));
  change.focus();
}

function focusFirst(place) {
  place.querySelector("button")?.focus();
}

function tell(place, text) {
  place.querySelector(".problem")?.remove();
  place.append(element("p", {className: "problem bad", role: "alert", textContent: text}));
}
