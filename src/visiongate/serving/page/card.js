// One image: its preview, and the answer or the problem.
import {bar, fill} from "./bars.js";
import {element, fromTemplate, show} from "./dom.js";
import {offerFeedback} from "./feedback.js";
import {classify} from "./network.js";
import {doubt, heading, milliseconds, percent, ranked, tag} from "./words.js";

const TOP = 5;
// Of the further classes, those are shown that have a probability worth reading.
const VISIBLE = 0.001;

export class Card {
  // `retry` is called with the card when a person asks for another attempt.
  constructor(file, model, retry) {
    const name = file.name || "Pasted image";
    Object.assign(this, {file, model, name});
    this.root = fromTemplate("answer");
    this.image = this.find("img");
    this.preview = URL.createObjectURL(file);
    this.find(".name").textContent = name;
    this.root.setAttribute("aria-label", name);
    this.image.addEventListener("error", () => this.hidePreview());
    this.image.src = this.preview;
    this.image.alt = name;
    this.find(".retry").addEventListener("click", () => retry(this));
    this.find(".heat").addEventListener("click", () => this.toggleHeatMap());
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  // The browser cannot show every format that the service can read, such as HEIC and DICOM.
  hidePreview() {
    show(this.image, false);
    show(this.find(".no-preview"));
  }

  release() {
    URL.revokeObjectURL(this.preview);
    this.root.remove();
  }

  wait(text) {
    this.problem = null;
    this.root.setAttribute("aria-busy", "true");
    this.find(".state").textContent = text;
    this.reveal(".wait");
  }

  reveal(part) {
    for (const each of [".wait", ".said", ".failed"]) show(this.find(each), each === part);
  }

  say(answer) {
    this.answer = answer;
    const classes = ranked(answer);
    this.root.setAttribute("aria-busy", "false");
    this.root.classList.toggle("unsure", tag(answer) !== "");
    this.find(".said h2").replaceChildren(heading(answer), " ", element("b", {textContent: percent(answer.confidence)}));
    this.find(".confidence").replaceChildren(fill(answer.confidence));
    show(this.find(".tag"), tag(answer) !== "").textContent = tag(answer);
    show(this.find(".doubt"), doubt(answer) !== "").textContent = doubt(answer);
    this.find(".bars").replaceChildren(...classes.slice(1, TOP).filter((each) => each.probability >= VISIBLE).map(bar));
    this.showAllClasses(classes);
    this.find(".time").textContent = `Answered in ${milliseconds(answer.processing_time_ms.total)}`;
    offerFeedback(this.find(".feedback"), answer, classes.map((each) => each.label));
    this.reveal(".said");
  }

  // A thousand bars cost time, so they are made when somebody opens them.
  showAllClasses(classes) {
    const details = show(this.find("details"), classes.length > TOP);
    details.querySelector("summary").textContent = `All ${classes.length.toLocaleString("en")} classes`;
    details.addEventListener("toggle", () => details.querySelector("ol").replaceChildren(...classes.map(bar)), {once: true});
  }

  fail(problem) {
    this.problem = problem;
    this.root.setAttribute("aria-busy", "false");
    this.find(".failed h2").textContent = problem.title;
    this.find(".failed p").textContent = problem.message;
    // The same bytes cannot succeed later: only an overloaded or unreachable service is worth another attempt.
    show(this.find(".retry"), problem.status === 0 || problem.status === 429 || problem.status >= 500);
    this.reveal(".failed");
  }

  async toggleHeatMap() {
    const button = this.find(".heat");
    button.disabled = true;
    try {
      this.heatMap ??= (await classify(this.file, this.model, true)).heat_map;
      this.paint(this.image.src !== this.heatMap);
    } catch (error) {
      this.find(".time").textContent = error.message;
    }
    button.disabled = false;
    button.focus();
  }

  paint(heat) {
    const button = this.find(".heat");
    button.textContent = heat ? "Show image" : "Show heat map";
    this.image.src = heat ? this.heatMap : this.preview;
    this.image.alt = heat ? `${this.name}: the places that speak for ${this.answer.predicted_label} are bright` : this.name;
    show(this.image);
    show(this.find(".no-preview"), false);
  }
}
