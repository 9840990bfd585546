// What every lesson's page does: a click enlarges a figure or a formula.
"use strict";

(() => {
  const PARTS = ".bd-article .cell_output img, .bd-article mjx-container[display] svg";

  const view = document.createElement("dialog");
  view.className = "ntk-large";
  view.setAttribute("aria-label", "Enlarged; Esc closes");
  view.addEventListener("click", () => view.close());
  // The theme takes the Escape key for its search: this comes before it.
  addEventListener("keydown", ({ key }) => key === "Escape" && view.close(), { capture: true });

  function enlarge(part) {
    const copy = part.cloneNode(true);
    copy.removeAttribute("id");
    view.replaceChildren(copy);
    view.showModal();
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.body.append(view);
    document.addEventListener("click", (event) => {
      const part = event.target.closest(PARTS);
      if (!part) return;
      event.preventDefault(); // a picture is also a link to its file, for who has no JavaScript
      enlarge(part);
    });
  });
})();
