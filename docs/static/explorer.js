// Explorers without a kernel: tools/scenes.py wrote what they draw as numbers, this file draws it.
// ntkExplorer(figure, data) puts sliders, the picture and its sentence into a <figure>. On the site,
// a <figure class="ntk-explorer" data-from="NAME.js"> is filled when the reader gets near it.
"use strict";

const ntkExplorer = (() => {
  const INK = "#000000", GRID = "#e4e4e4";
  const NARROW = 560; // pixels, below which the panels stand below each other
  const PHONE = 430; // the width for which they are then drawn
  const DASHES = { "--": [3.7, 1.6], ":": [1, 1.65], "-.": [6.4, 1.6, 1, 1.6] };
  const ANCHORS = { left: "start", center: "middle", right: "end" };
  const DROPS = { top: 0.8, center: 0.35, baseline: 0, bottom: -0.25 }; // of the letters' size
  const PLAY = 900; // milliseconds for each position of what is played
  const measure = document.createElement("canvas").getContext("2d");
  let clips = 0;

  const escaped = (text) =>
    String(text).replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
  const widthOf = (text, size) => ((measure.font = `${size}px sans-serif`), measure.measureText(text).width);
  const tag = (name, attributes, inside = "") =>
    `<${name} ${Object.entries(attributes).map(([key, value]) => `${key}="${escaped(value)}"`).join(" ")}>${inside}</${name}>`;
  const word = (text, x, y, size, more = {}) => tag("text", { x, y, "font-size": size, ...more }, escaped(text));

  // Where the axes of each panel lie: as in the notebook, or below each other on a phone.
  function layout(data, panels, narrow) {
    const frames = panels.map(([frame]) => data.pool[frame]);
    const [width, height] = data.size;
    const boxes = frames.map(({ box }) => box.map((part, i) => (part / 1000) * (i % 2 ? height : width)));
    if (!narrow) return { width, height, boxes };
    // Texts that stand left of a panel without a frame, as the names of rows do.
    const looks = panels.flatMap(([, items]) => items.map(([look]) => data.pool[look]));
    const rows = looks.filter(({ place }) => place?.[0] === "right");
    const beside = rows.flatMap(({ text, size }) => text.split("\n").map((row) => widthOf(row, size)));
    let top = 0;
    const stacked = boxes.map(([, , w, h], i) => {
      const texts = frames[i].framed ? [] : beside;
      const left = frames[i].labels[1] ? 70 : frames[i].ticks[1][0].length ? 46 : 12 + Math.max(0, ...texts);
      const scale = Math.min((PHONE - left - 16) / w, frames[i].framed ? 2 : 1.3);
      const tall = frames[i].framed ? Math.min(Math.max(h * scale, 210), 300) : h * scale;
      const box = [left, top + (frames[i].title ? 36 : 12), w * scale, tall];
      top = box[1] + tall + (frames[i].ticks[0][0].length ? 30 : 0) + (frames[i].labels[0] ? 28 : 0) + 8;
      return box;
    });
    return { width: PHONE, height: top, boxes: stacked };
  }

  // One marker of matplotlib's: o, point, dash or triangle.
  function marker(look, x, y) {
    const half = look.size / 2;
    const paint = { fill: look.fill, stroke: look.edge, "stroke-width": look.rim };
    if (look.mark === "_") return tag("path", { ...paint, d: `M${x - half} ${y}h${look.size}` });
    if (look.mark === "^") return tag("path", { ...paint, d: `M${x} ${y - half}l${half} ${look.size}h${-look.size}z` });
    return tag("circle", { ...paint, cx: x, cy: y, r: look.mark === "." ? half / 2 : half });
  }

  // A line with its markers; points holds [x, y], and null between parts.
  function line(look, points) {
    let path = "", pen = "M";
    for (const point of points) {
      path += point ? `${pen}${point.map((at) => at.toFixed(1)).join(" ")}` : "";
      pen = point ? "L" : "M";
    }
    const dash = DASHES[look.dash]?.map((part) => part * look.width).join(" ");
    const drawn = look.dash === "None" ? "" : tag("path", {
      d: path, fill: "none", stroke: look.line, "stroke-width": look.width, "stroke-linejoin": "round",
      "stroke-linecap": dash ? "butt" : "round", ...(dash && { "stroke-dasharray": dash }),
    });
    return drawn + (look.mark ? points.filter(Boolean).map(([x, y]) => marker(look, x, y)).join("") : "");
  }

  // A small picture, one square for each of its grey values; squares overlap, so that no seam shows.
  function image(look, [[left, bottom], [right, top]]) {
    const rows = look.image, w = (right - left) / rows[0].length, h = (bottom - top) / rows.length;
    return rows.map((row, i) => row.map((shade, j) => shade === 255 ? "" : tag("rect", {
      x: (left + j * w).toFixed(1), y: (top + i * h).toFixed(1), width: w + 0.4, height: h + 0.4,
      fill: `rgb(${shade},${shade},${shade})`,
    })).join("")).join("");
  }

  function item(look, points) {
    if (look.bar) {
      const [[x, low], [end, high]] = points;
      return tag("rect", { x: Math.min(x, end), y: Math.min(low, high), width: Math.abs(end - x), height: Math.abs(high - low), fill: look.bar });
    }
    if (look.image) return image(look, points);
    if (!look.text) return line(look, points);
    const [[x, y]] = points, [across, up, turn] = look.place, rows = look.text.split("\n");
    // Turned by a quarter, "bottom" is where a text begins.
    const [anchor, drop] = turn ? [up === "bottom" ? "start" : "end", 0.35] : [ANCHORS[across], DROPS[up]];
    const first = drop - (up === "center" ? 0.6 * (rows.length - 1) : 0);
    const text = rows.map((row, i) => word(row, 0, (first + 1.2 * i) * look.size, look.size, { "text-anchor": anchor, fill: look.color }));
    return tag("g", { transform: `translate(${x} ${y}) rotate(${-turn})` }, text.join(""));
  }

  // The legend, in a corner or at an edge of its panel.
  function legend([place, columns, size, entries], looks, [left, top, width, height]) {
    const rows = Math.ceil(entries.length / columns), high = 1.45 * size;
    const wide = Math.max(...entries.map((text) => widthOf(text, size))) + 3.6 * size;
    const total = Math.min(columns, entries.length) * wide - 0.8 * size;
    const x = place.includes("w") ? left + 8 : place.includes("e") ? left + width - total - 8 : left + (width - total) / 2;
    const y = place.includes("s") ? top + height - rows * high - 6 : top + 6;
    return entries.map((text, i) => {
      const at = [x + Math.floor(i / rows) * wide, y + ((i % rows) + 0.5) * high];
      const look = looks.find(({ entry }) => entry === i) ?? {};
      const ends = [[at[0], at[1]], [at[0] + 1.8 * size, at[1]]];
      const sample = look.bar
        ? item(look, [[at[0], at[1] + 0.35 * size], [at[0] + 1.8 * size, at[1] - 0.35 * size]])
        : line({ ...look, mark: null }, ends) + (look.mark ? marker(look, at[0] + 0.9 * size, at[1]) : "");
      return sample + word(text, at[0] + 2.4 * size, at[1] + 0.35 * size, size);
    }).join("");
  }

  // The frame of a panel: grid, edges, ticks, title and names of its axes.
  function frameOf(frame, [left, top, width, height]) {
    const [titleSize, size] = frame.sizes, [across, up] = frame.ticks;
    const right = left + width, bottom = top + height;
    const title = Math.min(titleSize, (titleSize * width) / (widthOf(frame.title, titleSize) || 1));
    const fits = widthOf(across[1].join("0"), size) < width ? 1 : 2; // every tick, or every second
    const xs = across[0].map((at) => left + (at / 1000) * width), ys = up[0].map((at) => bottom - (at / 1000) * height);
    const grid = [...xs.map((x) => `M${x} ${top}V${bottom}`), ...ys.map((y) => `M${left} ${y}H${right}`)].join("");
    const edge = [`M${left} ${top}V${bottom}H${right}`, ...xs.map((x) => `M${x} ${bottom}v4`), ...ys.map((y) => `M${left} ${y}h-4`)].join("");
    const under = frame.grid ? tag("path", { d: grid, stroke: GRID, fill: "none" }) : "";
    const over = [
      frame.framed ? tag("path", { d: edge, stroke: INK, fill: "none" }) : "",
      word(frame.title, left, top - 9, title),
      ...xs.map((x, i) => (i % fits ? "" : word(across[1][i], x, bottom + 6 + size, size, { "text-anchor": "middle" }))),
      ...ys.map((y, i) => word(up[1][i], left - 8, y + 0.35 * size, size, { "text-anchor": "end" })),
      word(frame.labels[0], left + width / 2, bottom + 10 + 2.3 * size, size, { "text-anchor": "middle" }),
    ];
    if (frame.labels[1]) {
      const beside = Math.max(left - 14 - Math.max(0, ...up[1].map((text) => widthOf(text, size))), 0.9 * size);
      over.push(tag("g", { transform: `translate(${beside} ${top + height / 2}) rotate(-90)` }, word(frame.labels[1], 0, 0, size, { "text-anchor": "middle" })));
    }
    return [under, over.join("")];
  }

  // A number in the pool for places is the way from the place before; null parts lines.
  function places(ways) {
    let last = 0;
    return ways.map((way) => (way === null ? null : (last += way)));
  }

  // Returns the picture of one frame as SVG.
  function picture(data, index, narrow) {
    const { pool } = data, [said, panels] = data.frames[index];
    const { width, height, boxes } = layout(data, panels, narrow);
    const drawn = panels.map(([number, items], i) => {
      const frame = pool[number], box = boxes[i], [left, top, w, h] = box;
      const looks = items.map(([look]) => pool[look]), clip = `ntk-clip-${(clips += 1)}`;
      const inside = items.map(([, across, up], j) => {
        const ys = places(pool[up]);
        const points = places(pool[across]).map((x, k) => x === null ? null : [left + (x / 1000) * w, top + h - (ys[k] / 1000) * h]);
        return [looks[j].text ? "text" : "shape", item(looks[j], points)];
      });
      const only = (kind) => inside.filter(([which]) => which === kind).map(([, svg]) => svg).join("");
      const [under, over] = frameOf(frame, box);
      const shapes = tag("g", { "clip-path": `url(#${clip})` }, only("shape"));
      const edge = tag("clipPath", { id: clip }, tag("rect", { x: left, y: top, width: w, height: h }));
      return edge + under + shapes + over + only("text") + (frame.legend ? legend(frame.legend, looks, box) : "");
    });
    const shown = { viewBox: `0 0 ${Math.round(width)} ${Math.round(height)}`, role: "img", "aria-label": pool[said], fill: INK };
    return tag("svg", { xmlns: "http://www.w3.org/2000/svg", ...shown }, drawn.join(""));
  }

  function make(name, properties, ...children) {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  }

  // Puts an explorer into a figure and returns its sliders. `second` says where some of them stand:
  // name → position; `stacks`, whether panels may stand below each other where there is little room.
  function explorer(figure, data, { second = {}, stacks = true } = {}) {
    const stage = make("div", { className: "ntk-stage" });
    const said = make("figcaption", { className: "ntk-said" });
    const sliders = data.controls.map((control) => make("input", {
      type: "range", min: 0, max: control.texts.length - 1, value: second[control.name] ?? control.start,
    }));
    const rows = data.controls.map((control, i) => {
      const row = make("label", { title: control.hint }, control.label, sliders[i], make("output"));
      return control.plays ? make("div", { className: "ntk-row" }, row, player(sliders[i], control)) : row;
    });
    const reset = make("button", { type: "button", className: "ntk-reset", textContent: "Reset" });
    reset.addEventListener("click", () => {
      sliders.forEach((slider, i) => (slider.value = data.controls[i].start));
      show();
    });
    said.setAttribute("aria-live", "polite");
    const bar = make("div", { className: "sliders" }, ...rows, reset);
    bar.dataset.preventSwipe = ""; // else a finger on a slider would turn the slide
    figure.setAttribute("aria-label", data.about);
    figure.replaceChildren(bar, stage, said);

    function narrow() {
      return stacks && figure.clientWidth > 0 && figure.clientWidth < NARROW;
    }

    function show() {
      let index = 0;
      data.controls.forEach(({ texts }, i) => {
        const at = sliders[i].valueAsNumber;
        index = index * texts.length + at;
        sliders[i].setAttribute("aria-valuetext", texts[at]);
        sliders[i].nextElementSibling.value = texts[at];
      });
      stage.innerHTML = picture(data, index, narrow());
      said.textContent = data.pool[data.frames[index][0]];
    }
    for (const slider of sliders) slider.addEventListener("input", show);
    let before = narrow();
    new ResizeObserver(() => {
      if (before !== (before = narrow())) show();
    }).observe(figure);
    show();
    return sliders;
  }

  // A button that moves a slider on from where it stands, or from its start at its end.
  function player(slider, control) {
    const button = make("button", { type: "button", className: "ntk-play", textContent: "▶" });
    let running = null;
    const go = (value) => {
      slider.value = value;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    };
    const name = () => {
      button.textContent = running ? "❚❚" : "▶";
      button.setAttribute("aria-label", `${running ? "Pause" : "Play"}: ${control.label}`);
    };
    const stop = () => {
      running = clearInterval(running) ?? null;
      name();
    };
    button.addEventListener("click", () => {
      if (running) return stop();
      if (slider.value === slider.max) go(0);
      running = setInterval(() => {
        go(slider.valueAsNumber + 1);
        if (slider.value === slider.max) stop();
      }, PLAY);
      name();
    });
    name();
    return button;
  }

  // On the site: a script beside this one brings the numbers when the reader gets near the figure. A
  // script, since a page from a disk may not fetch anything else.
  const waiting = new Map();
  explorer.deliver = (name, data) => {
    explorer(waiting.get(name), data);
    waiting.delete(name);
  };
  const here = document.currentScript?.src;
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      waiting.set(target.dataset.from, target);
      document.head.append(make("script", { src: new URL(`explorers/${target.dataset.from}.js`, here).href }));
    }
  }, { rootMargin: "800px" });
  document.addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll(".ntk-explorer[data-from]")) near.observe(figure);
  });
  return explorer;
})();
