// The ledger's search field, and a choice of claims; without this script all of them are there.
"use strict";

(() => {
  const kinds = {
    "every claim": "inside outside failed same waiting",
    "what changes with the random numbers": "inside outside failed",
    "what failed in some draw": "failed",
    "where the notebook lies outside": "outside",
    "what is the same in every draw": "same",
    "what waits for its draws": "waiting",
  };

  const plain = (text) => text.toLowerCase().replaceAll("’", "'"); // a reader may type either

  const rows = [...document.querySelectorAll(".ntk-ledger th[scope='row']")].map((cell) => {
    const row = cell.parentNode;
    const parts = [row, row.parentNode.rows[0], row.closest("section").querySelector("h2")];
    const text = plain(parts.map((part) => part.textContent).join(" "));
    return { row, text, kind: row.className.replace("ntk-", "") };
  });

  function make(tag, properties, ...inside) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...inside);
    return element;
  }

  function option([text, value]) {
    const count = rows.filter((row) => value.split(" ").includes(row.kind)).length;
    return make("option", { value, disabled: !count }, `${text} (${count})`);
  }

  const field = make("input", { type: "search", autocomplete: "off" });
  const choice = make("select", {}, ...Object.entries(kinds).map(option));
  const told = make("p", {});
  const labels = [make("label", {}, "With the words", field), make("label", {}, "Show", choice)];
  const bar = make("div", { className: "ntk-sieve" }, ...labels, told);
  bar.setAttribute("role", "search");
  told.setAttribute("role", "status"); // what it says is read aloud

  function sift() {
    const words = plain(field.value).split(/\s+/);
    let left = 0;
    for (const { row, text, kind } of rows) {
      const shown = choice.value.split(" ").includes(kind) && words.every((w) => text.includes(w));
      row.hidden = !shown;
      left += shown;
    }
    for (const part of document.querySelectorAll(".ntk-ledger tbody, section:has(> .ntk-ledger)"))
      part.hidden = !part.querySelector("th[scope='row']:not([hidden] > *)");
    told.textContent = `${left} of ${rows.length} claims`;
  }

  field.addEventListener("input", sift);
  choice.addEventListener("change", sift);
  document.querySelector("section:has(> .ntk-ledger)").before(bar);
  sift();
})();
