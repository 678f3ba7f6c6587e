// Build elements without HTML from strings, so that no file name or class name can be markup.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

export function show(target, visible = true) {
  target.hidden = !visible;
  return target;
}

export function button(text, action, className = "") {
  const made = element("button", {type: "button", textContent: text, className});
  made.addEventListener("click", action);
  return made;
}
