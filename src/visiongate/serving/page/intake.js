// Ways for images to come in: drop, paste, choose, photograph.
const at = (id) => document.getElementById(id);

// `add` gets the files, `tell` a sentence about what brought none.
export function takeIn(add, tell) {
  connect("choose", "files", add);
  connect("photograph", "camera", add);
  document.addEventListener("paste", (event) => {
    if (event.target.closest("input")) return;
    if (event.clipboardData.files.length) add(event.clipboardData.files);
    else tell("The clipboard has no image. Copy an image, not its address.");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drag(false);
    if (event.dataTransfer.files.length) add(event.dataTransfer.files);
    else tell("Only files can be dropped. Save the image first, or copy and paste it.");
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drag(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || drag(false));
}

function connect(button, input, add) {
  at(button).addEventListener("click", () => at(input).click());
  at(input).addEventListener("change", (event) => {
    add(event.target.files);
    // So that the same file can be chosen again.
    event.target.value = "";
  });
}

function drag(active) {
  document.body.classList.toggle("dragging", active);
}
