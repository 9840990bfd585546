// What our decks do beyond reveal.js: light and dark, sliders, code on demand, a presenter's window.
(async () => {
  const printing = /print-pdf/.test(location.search);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // Light or dark: what the system prefers, until somebody presses D. Paper is white.
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (dark) => (document.documentElement.dataset.theme = dark ? "dark" : "light");
  setTheme(prefersDark.matches && !printing);
  prefersDark.addEventListener("change", (event) => setTheme(event.matches));

  // Explorers: explorer.js draws them, from numbers that were made when the deck was built.
  const PICTURE = ".ntk-stage svg, img";
  const secondOf = (figure) => JSON.parse(figure.dataset.second);
  const moving = (figure, second) =>
    ntkExplorer(figure, JSON.parse(figure.querySelector("script").textContent), { second, stacks: false });

  // On paper all slides stand below each other, without reveal.js, and a picture that moves is there
  // in two states, on two pages. Nothing here waits for anything, so that the page is complete when
  // a browser without a window prints it.
  if (printing) {
    document.documentElement.classList.add("print-pdf");
    for (const figure of all(".sweep")) {
      const section = figure.closest("section"), second = section.cloneNode(true), state = secondOf(figure);
      moving(figure);
      if (!Object.keys(state).length) continue;
      second.classList.add("again");
      section.after(second);
      moving(second.querySelector(".sweep"), state);
    }
    return MathJax.typeset();
  }

  await MathJax.startup.promise;
  await MathJax.typesetPromise();
  await document.fonts.ready;

  for (const figure of all(".sweep")) {
    for (const slider of moving(figure)) {
      slider.addEventListener("pointerup", () => slider.blur()); // the next key turns the slide
      slider.addEventListener("keydown", (event) => {
        if (!["PageUp", "PageDown", " ", "Enter"].includes(event.key)) return;
        event.preventDefault(); // what a clicker sends must not end up in a slider,
        event.stopPropagation(); // and must not turn a second slide, by reveal.js
        slider.blur();
        event.key === "PageUp" ? Reveal.prev() : Reveal.next();
      });
    }
    for (const button of all("button", figure)) button.addEventListener("click", () => button.blur());
  }
  // Brackets move the first slider, braces the second: by character, or, where a layout has letters
  // in their place, by key.
  const STEPS = { "[": [0, -1], "]": [0, 1], "{": [1, -1], "}": [1, 1] };
  const BY_KEY = { 219: ["[", "{"], 221: ["]", "}"] };
  function nudge(event) {
    const [which, by] = STEPS[event.key] ?? STEPS[BY_KEY[event.keyCode]?.[+event.shiftKey]] ?? [];
    const slider = all(".sweep input", Reveal.getCurrentSlide())[which];
    if (!slider) return;
    slider.valueAsNumber += by;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }

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
  const looks = `*{box-sizing:border-box} body{margin:0;padding:16px 28px;height:100vh;display:flex;flex-direction:column;
      background:#12171c;color:#eef2f5;font:24px/1.4 "Source Sans 3",sans-serif}
    header{display:flex;gap:24px;align-items:baseline;border-bottom:2px solid #36424d;padding-bottom:8px}
    #elapsed,#clock{font-weight:700;font-variant-numeric:tabular-nums} #elapsed{font-size:54px;line-height:1.2} #clock{margin-left:auto;white-space:nowrap}
    #plan,#next,figcaption{font-size:20px;color:#a3afba} #plan.late{color:#ff9d57} h1{font-size:30px;line-height:1.2;margin:14px 0 8px}
    main{flex:1;min-height:0;display:flex;gap:28px} #notes{flex:1;min-width:0;overflow:auto;outline:none} #next{padding-top:10px} #notes>:first-child{margin-top:0}
    li{margin-bottom:8px} figure{width:44%;margin:0} #picture{display:contents} #picture>*{width:100%;max-height:85%;object-fit:contain;background:#fff;border-radius:8px}
    button{font:inherit;padding:2px 16px;border-radius:8px;border:1px solid #36424d;background:#1d252d;color:inherit;cursor:pointer}
    svg{max-width:100%} a{color:#6cbcf0}`;
  const page = `<!doctype html><title>Presenter</title><style>${looks}</style><header><span id="elapsed">0:00</span>
    <button id="start">start</button><span id="plan"></span><time id="clock"></time></header><h1 id="title"></h1>
    <main><div id="notes" tabindex="0"></div><figure><div id="picture"></div><figcaption></figcaption></figure></main><div id="next"></div>`;
  const sections = all(".slides > section");
  const planned = sections.map((section) => 60 * section.dataset.minutes);
  let presenter = null, begun = null, ticking = null;
  const positionOf = (label) => `${label.firstChild.textContent.trim()} ${label.querySelector("output").value}`;
  function showPicture(paper, section) {
    const picture = section.querySelector(PICTURE)?.outerHTML ?? "", copy = paper.getElementById("picture");
    copy.parentNode.hidden = !picture;
    if (copy.dataset.shown !== picture) copy.innerHTML = copy.dataset.shown = picture;
    paper.querySelector("figcaption").textContent = all(".sweep label", section).map(positionOf).join(", ");
  }
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
    paper.getElementById("clock").textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    showPicture(paper, sections[at]);
    if (paper.body.dataset.at === String(at)) return;
    paper.body.dataset.at = at;
    paper.getElementById("title").innerHTML = titleOf(sections[at]);
    const notes = paper.getElementById("notes");
    notes.innerHTML = sections[at].querySelector(".notes").innerHTML;
    notes.scrollTop = 0;
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
      else nudge(event);
    });
    (presenter.contentWindow ?? presenter).focus();
    paper.getElementById("notes").focus(); // ↓ scrolls them
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
    },
  });
  Reveal.on("slidechanged", () => { document.body.classList.remove("show-code"); fill(); });
  document.addEventListener("input", fill); // the presenter sees the slider's new picture at once
  document.addEventListener("keydown", nudge);
  const help = document.getElementById("help");
  document.addEventListener("keydown", (event) => {
    if (event.key !== "?" && (event.key !== "Escape" || help.hidden)) return;
    help.hidden = !help.hidden;
    event.stopImmediatePropagation(); // reveal.js would black out the slide, or open the overview
  }, { capture: true });
  document.documentElement.dataset.ready = "yes";
})();
