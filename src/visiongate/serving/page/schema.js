// JSON schemas as nested lists, and an example of a value.
import {element} from "./dom.js";

// A schema may contain itself.
const DEEPEST = 6;

export class Schemas {
  constructor(document) {
    this.document = document;
  }

  resolve(schema = {}) {
    if (!schema.$ref) return schema;
    const target = schema.$ref.slice(2).split("/").reduce((value, key) => value?.[key], this.document);
    return {...this.resolve(target), title: schema.$ref.split("/").at(-1)};
  }

  // What a value is, in a few words, such as "list of integer" or "string or null".
  type(schema, depth = 0) {
    const {type, anyOf, oneOf, items, enum: values, format, title, const: only} = this.resolve(schema);
    if (depth > DEEPEST) return title ?? "…";
    if (anyOf ?? oneOf) return [...new Set((anyOf ?? oneOf).map((each) => this.type(each, depth + 1)))].join(" or ");
    if (only !== undefined) return JSON.stringify(only);
    if (values) return values.map((value) => JSON.stringify(value)).join(" or ");
    if (type === "array") return `list of ${this.type(items, depth + 1)}`;
    if (schema?.$ref && type === "object") return title;
    if (format === "binary") return "file";
    return [type ?? "any"].flat().join(" or ");
  }

  // The fields of an object, or of the objects in it.
  fields(schema, depth = 0) {
    const found = this.resolve(schema);
    if (depth > DEEPEST) return [];
    if (found.items) return this.fields(found.items, depth + 1);
    if (found.anyOf ?? found.oneOf) return this.alternatives(found.anyOf ?? found.oneOf, depth);
    const required = new Set(found.required);
    const items = Object.entries(found.properties ?? {}).map(([name, property]) => this.field(name, property, required.has(name), depth));
    return items.length ? [element("ul", {className: "fields"}, ...items)] : [];
  }

  alternatives(schemas, depth) {
    const lists = schemas.map((each) => [this.type(each), this.fields(each, depth + 1)]).filter(([, fields]) => fields.length);
    if (lists.length < 2) return lists.flatMap(([, fields]) => fields);
    return lists.flatMap(([type, fields]) => [element("p", {className: "alternative", textContent: type}), ...fields]);
  }

  field(name, schema, required, depth = 0) {
    const {description, default: initial} = {...this.resolve(schema), ...schema};
    const facts = [this.type(schema), required && "required", initial !== undefined && initial !== null && `default ${JSON.stringify(initial)}`];
    return element(
      "li",
      {},
      element("code", {textContent: name}),
      " ",
      element("span", {className: "hint", textContent: facts.filter(Boolean).join(", ")}),
      ...prose(description ? ` ${description}` : ""),
      ...this.fields(schema, depth + 1),
    );
  }

  example(schema, depth = 0) {
    const found = this.resolve(schema);
    if (found.example !== undefined) return found.example;
    if (found.examples?.length) return found.examples[0];
    if (found.default !== undefined) return found.default;
    if (found.anyOf ?? found.oneOf) return this.example((found.anyOf ?? found.oneOf)[0], depth + 1);
    if (found.enum) return found.enum[0];
    if (depth > DEEPEST) return null;
    if (found.type === "array") return [this.example(found.items, depth + 1)];
    if (found.type === "object" || found.properties) return Object.fromEntries(Object.entries(found.properties ?? {}).map(([name, each]) => [name, this.example(each, depth + 1)]));
    return {string: "", integer: 0, number: 0, boolean: false}[found.type] ?? null;
  }
}

// Text in which `code` is marked as in Markdown.
export function prose(text = "") {
  return text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? element("code", {textContent: part}) : part));
}

export function paragraphs(text = "") {
  return text.split(/\n{2,}/).filter(Boolean).map((each) => element("p", {}, ...prose(each)));
}
