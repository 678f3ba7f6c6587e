// A form for an operation: it sends the request from this page, and shows the answer.
import {element, show} from "./dom.js";
import {askForKey, UNAUTHORIZED} from "./key.js";
import {send} from "./network.js";

const LONGEST = 20_000;
const FORM = "multipart/form-data";
const JSON_TYPE = "application/json";

export function makeForm(find, operation, schemas) {
  const parameters = operation.parameters.filter((each) => each.in !== "header").map(parameterInput);
  const body = bodyInput(operation, schemas);
  find(".inputs").append(...[...parameters, body].filter(Boolean).map(({label}) => label));
  find(".try").addEventListener("submit", async (event) => {
    event.preventDefault();
    await run(find, operation, parameters, body);
  });
}

function parameterInput(parameter) {
  const input = element("input", {type: "text", required: Boolean(parameter.required), autocomplete: "off", placeholder: String(parameter.schema?.default ?? "")});
  return {...parameter, input, label: element("label", {}, `${parameter.name} `, input)};
}

function bodyInput({operationId, body}, schemas) {
  const types = Object.keys(body.content ?? {});
  if (!types.length) return null;
  if (types.includes(FORM) || !types.includes(JSON_TYPE)) {
    const input = element("input", {type: "file", multiple: types.includes(FORM)});
    return {input, label: element("label", {}, "File ", input), encode: () => (types.includes(FORM) ? {body: asForm(input.files)} : {body: input.files[0]})};
  }
  const example = JSON.stringify(schemas.example(body.content[JSON_TYPE].schema), null, 2);
  const input = element("textarea", {id: `${operationId}-body`, value: example, rows: Math.min(example.split("\n").length, 14), spellcheck: false});
  return {input, label: element("label", {}, "Body ", input), encode: () => ({body: input.value, headers: {"Content-Type": JSON_TYPE}})};
}

function asForm(files) {
  const form = new FormData();
  for (const file of files) form.append("file", file, file.name);
  return form;
}

function address(path, parameters) {
  const given = parameters.filter(({input}) => input.value !== "");
  let filled = path;
  for (const {name, input} of given.filter((each) => each.in === "path")) filled = filled.replace(`{${name}}`, encodeURIComponent(input.value));
  const query = new URLSearchParams(given.filter((each) => each.in === "query").map(({name, input}) => [name, input.value]));
  // Relative to the page, which a proxy may serve below a path.
  return `.${filled}${query.size ? `?${query}` : ""}`;
}

async function run(find, operation, parameters, body) {
  const [summary, output] = find(".result").children;
  const start = performance.now();
  try {
    const response = await send(address(operation.path, parameters), {method: operation.method.toUpperCase(), ...body?.encode()});
    const text = await response.text();
    if (response.status === UNAUTHORIZED) askForKey(() => run(find, operation, parameters, body));
    summary.textContent = `${response.status} ${response.statusText} in ${Math.round(performance.now() - start)} ms`;
    output.textContent = readable(text);
  } catch (problem) {
    summary.textContent = problem.message;
    output.textContent = "";
  }
  show(output, output.textContent !== "");
  show(find(".result"));
}

function readable(text) {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Metrics and an empty answer are no JSON.
  }
  return shown.length > LONGEST ? `${shown.slice(0, LONGEST)}\n… ${(shown.length - LONGEST).toLocaleString("en")} more characters` : shown;
}
