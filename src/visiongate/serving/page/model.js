// The model that answers: its classes, its version at the foot, and a choice if the service has several.
import {element, show} from "./dom.js";
import {showModel} from "./foot.js";
import {request} from "./network.js";
import {count, list} from "./words.js";

const NAMED = 4;

const at = (id) => document.getElementById(id);

// Empty for the default one.
export function chosenModel() {
  return at("model-label").hidden ? "" : at("model").value;
}

export async function describeModel() {
  const model = await request("model", {}, {model: chosenModel()});
  const {classes} = model;
  at("classes").textContent = `The model tells ${classes.length > NAMED ? count(classes.length, "class", "classes") : list(classes)} apart.`;
  showModel(at("foot"), model);
}

export async function offerModels() {
  const models = await request("models");
  at("model").replaceChildren(...models.map(({name}) => element("option", {textContent: name})));
  show(at("model-label"), models.length > 1);
}
