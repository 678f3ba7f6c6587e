// The page at /docs: the service's OpenAPI document, to read and to try.
import {element, fromTemplate, show} from "./dom.js";
import {request} from "./network.js";
import {paragraphs, prose, Schemas} from "./schema.js";
import {makeForm} from "./try.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const main = document.getElementById("main");

function operations(description) {
  return Object.entries(description.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({...item[method], method, path, parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])]})),
  );
}

function section(tag, tagged, schemas) {
  const id = `tag-${tag.replaceAll(/\W+/g, "-")}`;
  return element("section", {ariaLabel: tag}, element("h2", {id, textContent: tag}), ...tagged.map((operation) => describe(operation, schemas)));
}

function describe(operation, schemas) {
  const root = fromTemplate("operation");
  const find = (selector) => root.querySelector(selector);
  root.id = operation.operationId;
  find(".method").textContent = operation.method.toUpperCase();
  find(".path").textContent = operation.path;
  find(".summary-text").textContent = operation.summary ?? "";
  // Many operations, of which a person opens a few.
  root.addEventListener("toggle", () => fill(find, operation, schemas), {once: true});
  return root;
}

function fill(find, operation, schemas) {
  const parameters = operation.parameters.map((each) => schemas.resolve(each));
  find(".description").append(...paragraphs(operation.description));
  show(find(".parameters"), parameters.length > 0);
  find(".parameters ul").append(...parameters.map((each) => schemas.field(each.name, {...each.schema, description: each.description}, each.required)));
  const body = schemas.resolve(operation.requestBody);
  show(find(".request"), Boolean(body.content));
  find(".request").append(...contents(body.content, schemas));
  find(".responses").append(...Object.entries(operation.responses).map(([status, each]) => answer(status, schemas.resolve(each), schemas)));
  makeForm(find, {...operation, parameters, body}, schemas);
}

function contents(content = {}, schemas) {
  return Object.entries(content).map(([type, {schema}]) =>
    element("div", {}, element("p", {}, element("code", {textContent: type}), " ", element("span", {className: "hint", textContent: schemas.type(schema)})), ...schemas.fields(schema)),
  );
}

function answer(status, response, schemas) {
  const summary = element("summary", {}, element("b", {textContent: status}), " ", ...prose(response.description));
  const inner = contents(response.content, schemas);
  return inner.length ? element("details", {className: "response"}, summary, ...inner) : element("p", {className: "response"}, ...summary.childNodes);
}

// An address with the name of an operation opens it.
function openAddressed() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target?.matches("details")) return;
  target.open = true;
  target.scrollIntoView();
}

async function render() {
  try {
    const description = await request("openapi.json");
    const schemas = new Schemas(description);
    const byTag = Map.groupBy(operations(description), (operation) => operation.tags?.[0] ?? "other");
    main.replaceChildren(...[...byTag].map(([tag, tagged]) => section(tag, tagged, schemas)));
    openAddressed();
  } catch (problem) {
    main.replaceChildren(element("p", {className: "notice bad", role: "alert", textContent: problem.message}));
  }
  main.removeAttribute("aria-busy");
}

addEventListener("hashchange", openAddressed);
render();
