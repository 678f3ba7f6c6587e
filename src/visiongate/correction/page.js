// Decisions by button and by key. Keys act on the card that has the focus.
const message = document.getElementById("message");
// The content hashes of the images that were decided about on this page, the latest last.
const decisions = [];
const cards = () => [...document.querySelectorAll("article")];

function tell(text, done) {
  message.textContent = text;
  message.classList.toggle("done", done);
}

function parse(html) {
  return new DOMParser().parseFromString(html, "text/html").querySelector("article");
}

async function change(card, request) {
  const controls = card.querySelectorAll("button, select, input");
  controls.forEach((control) => { control.disabled = true; });
  try {
    const response = await fetch("card", {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify({sha256: card.dataset.sha256, ...request}),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    const changed = parse(answer.html);
    card.replaceWith(changed);
    remember(card.dataset.sha256, request.action);
    document.getElementById("decided").textContent = answer.decided.toLocaleString("en");
    tell(changed.querySelector(".decision")?.textContent.replace(/\s+/g, " ").trim() ?? "Undone.", true);
    follow(changed, request.action);
  } catch (error) {
    controls.forEach((control) => { control.disabled = false; });
    card.focus();
    tell(error instanceof TypeError ? "Not saved: the command has ended. Start `visiongate correct` again." : `Not saved: ${error.message}`, false);
  }
}

function remember(sha256, action) {
  const index = decisions.indexOf(sha256);
  if (index >= 0) decisions.splice(index, 1);
  if (action !== "undo") decisions.push(sha256);
}

// After a decision, the next card without one has the focus; after an undo, the card itself.
function follow(card, action) {
  const all = cards();
  const open = all.slice(all.indexOf(card) + 1).find((each) => !each.classList.contains("decided"));
  focus(action === "undo" || !open ? card : open);
}

function focus(card) {
  card?.focus({preventScroll: true});
  card?.scrollIntoView({block: "nearest"});
}

function act(card, control) {
  const label = control.dataset.value ?? control.parentElement.querySelector("select")?.value ?? "";
  change(card, {action: control.dataset.action, label, why: card.querySelector("[data-why]")?.value ?? ""});
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) act(button.closest("article"), button);
});

document.addEventListener("keydown", (event) => {
  const card = document.activeElement.closest("article");
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select")) return;
  const all = cards();
  if (event.key === "n" || event.key === "p") {
    const index = card ? all.indexOf(card) + (event.key === "n" ? 1 : -1) : 0;
    if (all[index]) focus(all[index]);
    else document.querySelector(event.key === "n" ? "[rel=next]" : "[rel=prev]")?.focus();
    event.preventDefault();
    return;
  }
  // The focus has moved on after a decision, so that an undo is for the latest one unless the card itself has one.
  const isUndo = event.key === "u" && !card?.classList.contains("decided");
  const target = isUndo ? all.find((each) => each.dataset.sha256 === decisions.at(-1)) : card;
  const control = target?.querySelector(`[aria-keyshortcuts="${CSS.escape(event.key)}"]`);
  if (control && !control.disabled) {
    event.preventDefault();
    act(target, control);
  } else if (isUndo && !control) {
    tell("No decision on this page to undo.", false);
  }
});

focus(cards().find((card) => !card.classList.contains("decided")));
