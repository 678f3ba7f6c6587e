// The model's name and version, at the foot of each page.
import {element} from "./dom.js";

export function showModel(place, model) {
  const name = [model.name, model.version && `version ${model.version}`].filter(Boolean).join(", ");
  const link = element("a", {href: "model", textContent: "details"});
  place.replaceChildren(element("p", {}, `Model: ${name} · `, element("code", {textContent: model.sha256.slice(0, 12), title: `sha256 ${model.sha256}`}), " · ", link));
}
