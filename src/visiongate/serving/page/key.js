// A field for the API key, where the service requires one.
import {element} from "./dom.js";
import {hasKey, setKey} from "./network.js";

export const UNAUTHORIZED = 401;
let form = null;

// Asks once, even if several requests are refused, and calls `resume` when there is a key to try.
export function askForKey(resume) {
  if (form) return;
  const input = element("input", {type: "password", id: "key-value", autocomplete: "off", required: true});
  input.setAttribute("aria-describedby", "key-hint");
  form = element(
    "form",
    {className: "key"},
    element("label", {htmlFor: "key-value", textContent: hasKey() ? "The service does not know this API key." : "This service requires an API key."}),
    element("p", {id: "key-hint", className: "hint", textContent: "The key is kept in this browser tab only."}),
    element("div", {className: "actions"}, input, element("button", {type: "submit", className: "primary", textContent: "Use this key"})),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setKey(input.value.trim());
    form.remove();
    form = null;
    resume();
  });
  document.querySelector("main").prepend(form);
  input.focus();
}
