// Requests to the service that this page comes from. Addresses are relative, so that a proxy may serve it below a path.
import {sentence} from "./words.js";

const KEY = "visiongate-key";
const UNREACHABLE = {
  title: "The service cannot be reached",
  detail: "It may be restarting, or the connection may be lost. Try again in a moment.",
};
const UNREADABLE = {
  title: "The file cannot be read",
  detail: "It may be a folder, or it was moved or changed after it was chosen. Choose the image itself.",
};

// A problem in words: what the service said (RFC 9457), or why nothing came back.
class Problem extends Error {
  constructor({title, detail, status = 0, retryAfter = 0}) {
    super(sentence(detail || title));
    Object.assign(this, {title, status, retryAfter});
  }
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

// As `fetch`, with the API key that was entered in this tab.
export async function send(address, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = {...options.headers, ...(key && {Authorization: `Bearer ${key}`})};
  const response = await fetch(address, {...options, headers}).catch(() => null);
  if (!response) throw new Problem(UNREACHABLE);
  return response;
}

// `parameters` without a value are left out.
export async function request(address, options = {}, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  const response = await send(query.size ? `${address}?${query}` : address, options);
  const body = await response.json().catch(() => null);
  if (!response.ok) throw problem(response, body);
  return body;
}

export function post(address, body) {
  return request(address, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
}

function problem(response, body) {
  return new Problem({
    title: body?.title ?? `The service answered ${response.status}`,
    detail: body?.detail ?? response.statusText,
    status: response.status,
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

export async function classify(file, model, explain = false) {
  // A request with an unreadable file fails as if the service were unreachable.
  await file.slice(0, 1).arrayBuffer().catch(() => { throw new Problem(UNREADABLE); });
  const form = new FormData();
  form.append("file", file, file.name);
  return request("predict", {method: "POST", body: form}, {model, explain});
}
