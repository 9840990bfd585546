// What every lesson's page does: a figure or a formula is enlarged by a click, or by the Enter key.
"use strict";

(() => {
  const PARTS = ".bd-article .cell_output img, .bd-article mjx-container[display] svg";

  const view = document.createElement("dialog");
  view.className = "ntk-large";
  view.setAttribute("aria-label", "Enlarged; Esc closes");
  view.addEventListener("click", () => view.close());

  function enlarge(part) {
    const copy = part.cloneNode(true);
    copy.removeAttribute("id");
    view.replaceChildren(copy);
    view.showModal();
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.body.append(view);
    document.addEventListener("click", ({ target }) => {
      const part = target.closest(PARTS);
      if (part && !part.closest("a")) enlarge(part);
    });
  });
})();
