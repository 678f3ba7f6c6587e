// Numbers and answers in words.
// So many classes are named; of more, the most probable ones.
const NAMED = 4;

export function percent(share) {
  const value = 100 * share;
  if (value > 99.9 && value < 100) return "> 99.9%";
  if (value > 0 && value < 0.1) return "< 0.1%";
  const digits = value > 99 && value < 100 ? 1 : value < 1 && value > 0 ? 1 : 0;
  return `${value.toFixed(digits)}%`;
}

export function count(number, singular, plural = `${singular}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? singular : plural}`;
}

export function milliseconds(value) {
  // With a space at which no line breaks.
  return value >= 1000 ? `${(value / 1000).toFixed(1)}\u00a0s` : `${value < 10 ? value.toFixed(1) : Math.round(value)}\u00a0ms`;
}

export function list(names, conjunction = "and") {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} ${conjunction} ${names.at(-1)}`;
}

// The probabilities by class, the highest first; the predicted class first of all, because a threshold may have chosen it.
export function ranked(answer) {
  const first = answer.predicted_label;
  return Object.entries(answer.probabilities)
    .map(([label, probability]) => ({label, probability}))
    .sort((a, b) => (b.label === first) - (a.label === first) || b.probability - a.probability);
}

export function doubt(answer) {
  // A prediction set holds for images like those of the training.
  if (answer.out_of_distribution) return "This image is unlike the training images, so the answer may mean nothing.";
  return answer.sure === false ? couldBe(answer) : "";
}

// The prediction set in words: the classes that the model cannot exclude.
function couldBe(answer) {
  const possible = new Set(answer.possible);
  const names = ranked(answer).map(({label}) => label).filter((label) => possible.has(label));
  if (!names.length) return "It looks like none of the classes.";
  if (names.length <= NAMED) return `It could be ${list(names, "or")}.`;
  return `It could be any of ${count(names.length, "class", "classes")}, such as ${list(names.slice(0, NAMED - 1))}.`;
}

export function tag(answer) {
  if (answer.out_of_distribution) return "Unlike the training images";
  return answer.sure === false ? "Not sure" : "";
}

export function heading(answer) {
  const unsure = answer.out_of_distribution || answer.sure === false;
  return unsure ? `Perhaps ${answer.predicted_label}` : answer.predicted_label;
}

// A problem's detail as a sentence of its own. An address or a path at its start, such as models:/NAME, stays as it is.
export function sentence(text) {
  const isName = /^\S*\//.test(text);
  const start = isName ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(start) ? start : `${start}.`;
}

export function spoken(name, answer) {
  const certainty = `${heading(answer)}, ${percent(answer.confidence)}`;
  return [`${name}: ${certainty}.`, tag(answer) && `${tag(answer)}.`, doubt(answer)].filter(Boolean).join(" ");
}
