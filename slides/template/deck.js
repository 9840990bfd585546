// What our decks do beyond reveal.js: light and dark, sliders, code on demand, a presenter's window.
(async () => {
  const printing = /print-pdf/.test(location.search);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // Light or dark: what the system prefers, until somebody presses D. Paper is white.
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (dark) => (document.documentElement.dataset.theme = dark ? "dark" : "light");
  setTheme(prefersDark.matches && !printing);
  prefersDark.addEventListener("change", (event) => setTheme(event.matches));

  // On paper all slides stand below each other, without reveal.js. Nothing here waits for anything,
  // so that the page is complete when a browser without a window prints it.
  if (printing) {
    document.documentElement.classList.add("print-pdf");
    return MathJax.typeset();
  }

  await MathJax.startup.promise;
  await MathJax.typesetPromise();
  await document.fonts.ready;

  // Sliders: the pictures were drawn when the deck was built; a slider chooses among them.
  for (const figure of all(".sweep")) {
    const frames = JSON.parse(figure.querySelector("script").textContent);
    const sliders = all("input", figure);
    frames.forEach((address) => (new Image().src = address)); // decoded before they are needed
    const show = () => {
      let index = 0;
      for (const slider of sliders) {
        const texts = JSON.parse(slider.dataset.texts);
        index = index * texts.length + slider.valueAsNumber;
        slider.nextElementSibling.value = texts[slider.valueAsNumber];
        slider.setAttribute("aria-valuetext", texts[slider.valueAsNumber]);
      }
      figure.querySelector("img").src = frames[index];
    };
    for (const slider of sliders) {
      slider.addEventListener("input", show);
      slider.addEventListener("pointerup", () => slider.blur()); // the next key turns the slide
      slider.addEventListener("keydown", (event) => {
        if (!["PageUp", "PageDown", " ", "Enter"].includes(event.key)) return;
        event.preventDefault(); // what a clicker sends must not end up in a slider
        slider.blur();
        event.key === "PageUp" ? Reveal.prev() : Reveal.next();
      });
    }
    show();
  }
  const nudge = (by) => {
    const slider = Reveal.getCurrentSlide().querySelector(".sweep input");
    if (!slider) return;
    slider.valueAsNumber += by;
    slider.dispatchEvent(new Event("input"));
  };

  // A break's countdown.
  const clock = (seconds) =>
    `${seconds < 0 ? "−" : ""}${Math.floor(Math.abs(seconds) / 60)}:${String(Math.abs(seconds) % 60).padStart(2, "0")}`;
  for (const button of all(".countdown")) {
    let left = 60 * button.closest("section").dataset.minutes, running = null;
    button.textContent = clock(left);
    button.addEventListener("click", () => {
      running = running ? clearInterval(running) : setInterval(() => (button.textContent = clock(--left)), 1000);
    });
  }

  // The presenter's window. It is filled from here, so it works for a file without a server; where
  // no window may be opened, a frame over the slides shows the same.
  const looks = `body{margin:0;padding:24px 32px;background:#12171c;color:#eef2f5;font:26px/1.45 "Source Sans 3",sans-serif}
    header{display:flex;gap:32px;align-items:baseline;flex-wrap:wrap;border-bottom:2px solid #36424d;padding-bottom:12px}
    #elapsed{font-size:64px;font-weight:700;font-variant-numeric:tabular-nums} #plan{font-size:26px;color:#a3afba}
    #plan.late{color:#ff9d57} h1{font-size:34px;margin:20px 0 8px} li{margin-bottom:8px} #next{color:#a3afba;margin-top:28px}
    button{font:inherit;padding:2px 16px;border-radius:8px;border:1px solid #36424d;background:#1d252d;color:inherit;cursor:pointer}
    svg{max-width:100%} a{color:#6cbcf0}`;
  const page = `<title>Presenter</title><style>${looks}</style><header><span id="elapsed">0:00</span>
    <button id="start">start</button><span id="plan"></span></header><h1 id="title"></h1><div id="notes"></div><div id="next"></div>`;
  const sections = all(".slides > section");
  const planned = sections.map((section) => 60 * section.dataset.minutes);
  let presenter = null, begun = null, ticking = null;
  const titleOf = (section) => section?.querySelector("h2")?.innerHTML ?? "the end";
  function fill() {
    const paper = presenter?.document ?? presenter?.contentDocument;
    if (!paper?.getElementById("elapsed")) return;
    const at = Reveal.getIndices().h;
    const from = planned.slice(0, at).reduce((a, b) => a + b, 0), to = from + planned[at];
    const now = begun ? Math.floor((Date.now() - begun) / 1000) : 0;
    paper.getElementById("elapsed").textContent = clock(now);
    const plan = paper.getElementById("plan");
    const state = now > to ? `${clock(now - to)} behind` : begun && now < from ? `${clock(from - now)} ahead` : "on time";
    plan.textContent = `slide ${at + 1} of ${sections.length}, planned ${clock(from)} to ${clock(to)}: ${state}`;
    plan.className = now > to ? "late" : "";
    if (paper.body.dataset.at === String(at)) return;
    paper.body.dataset.at = at;
    paper.getElementById("title").innerHTML = titleOf(sections[at]);
    paper.getElementById("notes").innerHTML = sections[at].querySelector(".notes").innerHTML;
    paper.getElementById("next").innerHTML = `next: ${titleOf(sections[at + 1])}`;
  }
  function openPresenter() {
    if (document.getElementById("presenter")) return closePresenter();
    presenter = window.open("", "presenter", "popup,width=1000,height=720");
    if (!presenter) {
      presenter = Object.assign(document.createElement("iframe"), { id: "presenter" });
      Object.assign(presenter.style, { width: "100%", height: "100%", border: 0 });
      document.body.append(presenter);
    }
    const paper = presenter.document ?? presenter.contentDocument;
    paper.open();
    paper.write(page);
    paper.close();
    paper.getElementById("start").onclick = () => { begun = Date.now(); fill(); };
    paper.addEventListener("keydown", (event) => {
      if (event.key === "Escape" || event.key === "s") closePresenter();
      else if (["ArrowRight", "PageDown", " "].includes(event.key)) Reveal.next();
      else if (["ArrowLeft", "PageUp"].includes(event.key)) Reveal.prev();
    });
    (presenter.contentWindow ?? presenter).focus();
    ticking = setInterval(fill, 500);
    fill();
  }
  function closePresenter() {
    clearInterval(ticking);
    presenter.close ? presenter.close() : presenter.remove();
    presenter = null;
  }

  await Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, hash: true, history: false, controls: false,
    slideNumber: "c/t", transition: "none", help: false,
    keyboard: {
      67: () => document.body.classList.toggle("show-code"), // C
      68: () => setTheme(document.documentElement.dataset.theme !== "dark"), // D
      83: openPresenter, // S
      84: () => Reveal.getCurrentSlide().querySelector(".countdown")?.click(), // T
      219: () => nudge(-1), // [
      221: () => nudge(+1), // ]
    },
  });
  Reveal.on("slidechanged", () => { document.body.classList.remove("show-code"); fill(); });
  document.addEventListener("keydown", (event) => {
    const help = document.getElementById("help");
    if (event.key === "?") help.hidden = !help.hidden;
    // Layouts without a bracket key of their own send another key code, but the same character.
    if ("[]".includes(event.key) && ![219, 221].includes(event.keyCode)) nudge(event.key === "]" ? 1 : -1);
  });
  document.documentElement.dataset.ready = "yes";
})();
