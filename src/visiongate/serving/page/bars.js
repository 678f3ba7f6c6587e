// Bars of probabilities. Each has its number beside it as text, so that a screen reader skips the bar.
import {element} from "./dom.js";
import {percent} from "./words.js";

export function fill(probability) {
  const line = element("i");
  // Through the object model, because the content security policy forbids style attributes.
  line.style.inlineSize = `${Math.max(100 * probability, 0.5)}%`;
  return line;
}

export function bar({label, probability}) {
  return element(
    "li",
    {},
    element("span", {className: "label", textContent: label}),
    element("span", {className: "share", textContent: percent(probability)}),
    element("span", {className: "track", ariaHidden: "true"}, fill(probability)),
  );
}
