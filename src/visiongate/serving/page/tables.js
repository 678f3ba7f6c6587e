// Tables and facts of the page at /live.
import {element} from "./dom.js";
import {percent, sentence} from "./words.js";

export const UNKNOWN = "–";

export function cell(...content) {
  return element("td", {className: "number"}, ...content);
}

export function text(...content) {
  return element("td", {}, ...content);
}

export function rowHead(name) {
  return element("th", {scope: "row", textContent: name});
}

// A share with its 95% interval, which says how much the feedback can tell.
export function interval(share) {
  return share ? cell(percent(share.value), element("span", {className: "hint", textContent: ` ${range(share)}`})) : cell(UNKNOWN);
}

export function range({low, high}) {
  return `${percent(low)} to ${percent(high)}`;
}

// The names of columns of numbers begin with a +, which is not shown.
export function fillTable(place, columns, rows) {
  const head = columns.map((name) => element("th", {scope: "col", className: name.startsWith("+") ? "number" : "", textContent: name.replace("+", "")}));
  place.replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells))));
  return place;
}

// A table of its own, which scrolls sideways on a narrow screen.
export function table(label, columns, rows) {
  const place = element("div", {className: "scroll", tabIndex: 0, role: "region", ariaLabel: label});
  place.append(fillTable(element("table"), columns, rows));
  return place;
}

export function fact(name, value, note = "") {
  return element("div", {}, element("dt", {textContent: name}), element("dd", {textContent: value}), note && element("dd", {className: "note", textContent: note}));
}

// A result in a word, and what it means.
export function verdict(kind, title, ...lines) {
  return element("div", {className: `verdict ${kind}`}, element("p", {}, element("b", {textContent: title})), ...lines.filter(Boolean).map((line) => element("p", {}, ...prose(line))));
}

// What has too many words for a table: a title, a line of details, and sentences.
export function item(title, details, ...lines) {
  const paragraphs = lines.filter(Boolean).map((line) => element("p", {}, ...prose(line)));
  return element("li", {}, element("p", {}, title), element("p", {className: "hint", textContent: details.filter(Boolean).join(" · ")}), ...paragraphs);
}

export function items(entries) {
  return element("ul", {className: "items"}, ...entries);
}

// A sentence with code between backticks.
export function prose(line) {
  return sentence(line).split("`").map((part, index) => (index % 2 ? element("code", {textContent: part}) : part));
}

export function day(time) {
  return new Date(time).toLocaleString("en", {month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
}

export function nameOf({name, version, sha256}) {
  return `${name} ${version ?? sha256.slice(0, 12)}`;
}
