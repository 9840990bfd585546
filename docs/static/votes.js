// Predictions are votes: what lies behind one is hidden until the reader has voted.
// Only pages with predictions load this file; without it, and in print, everything is open.
"use strict";

(() => {
  const page = document.documentElement;
  const key = `ntk-votes ${location.pathname}`;
  let kept = { all: false, votes: {} }; // votes: question → letter
  try {
    kept = { ...kept, ...JSON.parse(localStorage.getItem(key)) };
  } catch {} // The browser keeps nothing for this page: then the page itself remembers.

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(kept));
    } catch {}
  }

  function make(tag, properties) {
    return Object.assign(document.createElement(tag), properties);
  }

  // Turns a question into buttons. Returns a function that shows what may be seen by now.
  function prepare(section, index) {
    const title = section.querySelector("p");
    const question = title.textContent;
    const because = section.querySelector(".ntk-because").textContent.replace(") ", "): ");
    const answer = `The answer is ${because}`;
    const said = make("p", { className: "ntk-said" });
    const told = make("p", { className: "ntk-told" });
    const line = make("p", { className: "ntk-wait", textContent: "Vote to see what happens." });
    const next = section.closest(".cell").nextElementSibling;
    const behind = next?.matches(".ntk-behind") ? next : make("div");
    const buttons = new Map();
    let found = false; // by a link, or by the browser's search

    for (const choice of section.querySelectorAll(".ntk-choice")) {
      const letter = choice.textContent.match(/^\((.+?)\)/)[1];
      const text = choice.textContent;
      const button = make("button", { type: "button", className: "ntk-choice", textContent: text });
      button.addEventListener("click", () => {
        kept.votes[question] = letter;
        keep();
        show();
      });
      buttons.set(letter, button);
      choice.replaceWith(button);
    }
    title.id = `ntk-question-${index + 1}`;
    section.setAttribute("role", "group");
    section.setAttribute("aria-labelledby", title.id);
    said.setAttribute("role", "status");
    section.querySelector("details").replaceWith(said, told);
    if (behind === next) behind.before(line);
    behind.addEventListener("beforematch", () => {
      found = true;
      show();
    });

    function show() {
      const vote = buttons.has(kept.votes[question]) ? kept.votes[question] : null;
      const open = Boolean(vote) || kept.all;
      for (const [letter, button] of buttons) {
        button.setAttribute("aria-pressed", letter === vote);
        button.classList.toggle("ntk-right", open && letter === section.dataset.answer);
      }
      said.textContent = vote ? `You voted (${vote}). ${answer}` : "";
      told.textContent = vote ? "" : answer;
      told.hidden = !open;
      line.hidden = open || found;
      behind.hidden = line.hidden ? false : "until-found"; // where unknown, this is plain hidden
    }
    show();
    return show;
  }

  // Opens what a link leads into.
  function follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const behind = target?.closest(".ntk-behind");
    behind?.dispatchEvent(new Event("beforematch"));
    if (behind) target.scrollIntoView();
  }

  page.classList.add("ntk-loading"); // nothing flashes up before the page is complete
  document.addEventListener("DOMContentLoaded", () => {
    page.classList.remove("ntk-loading");
    const shows = [...document.querySelectorAll(".ntk-predict")].map(prepare);
    const bar = make("p", {
      className: "ntk-bar",
      textContent: "Each question waits for your vote, then shows what happens.",
    });
    const all = make("button", { type: "button", textContent: "Show all answers" });
    all.setAttribute("aria-pressed", kept.all);
    all.addEventListener("click", () => {
      kept.all = !kept.all;
      keep();
      all.setAttribute("aria-pressed", kept.all);
      for (const show of shows) show();
    });
    bar.append(" ", all);
    document.querySelector("article h1").after(bar);
    addEventListener("hashchange", follow);
    follow();
  });
})();
