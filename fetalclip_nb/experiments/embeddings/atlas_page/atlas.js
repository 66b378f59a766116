// A scatter of images: hover, click and keys. It is put inside each fragment by atlas.py.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 16; // pixels between the outermost points and the plot's edge
const REACH = 28; // pixels from the pointer within which a point is meant
// Shapes beside colours, about one unit wide: no class is told by its colour alone.
const SHAPES = [
  "M-1,0a1,1 0 1,0 2,0a1,1 0 1,0 -2,0z",
  "M-.9,-.9h1.8v1.8h-1.8z",
  "M0,-1.15L1.1,.85H-1.1z",
  "M0,-1.3L1.15,0L0,1.3L-1.15,0z",
  "M-.4,-1.15h.8v.75h.75v.8h-.75v.75h-.8v-.75h-.75v-.8h.75z",
  "M0,1.15L1.1,-.85H-1.1z",
  "M-1.1,0L-.55,-.95H.55L1.1,0L.55,.95H-.55z",
];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// A notebook may run the script before it has put the output into its page.
function showAtlas(name, tries = 100) {
  const hosts = document.querySelectorAll(`#${name}`);
  hosts.forEach((host) => host.shadowRoot || build(host));
  if (!hosts.length && tries) setTimeout(showAtlas, 50, name, tries - 1);
}

function build(host) {
  const data = JSON.parse(host.querySelector("script[type='application/json']").textContent);
  const root = host.attachShadow({ mode: "open" });
  root.append(host.querySelector("template").content.cloneNode(true));
  const part = (name) => root.querySelector(name);
  const [stage, canvas, ring, card] = [".stage", "canvas", ".ring", ".card"].map(part);
  const picture = part(".picture");
  const size = data.x.length;
  const state = { kept: null, current: null, width: 0, height: 0, touch: false };

  const shown = (i) => state.kept === null || data.label[i] === state.kept;
  const at = (i) => [
    MARGIN + (data.x[i] / 9999) * (state.width - 2 * MARGIN),
    // Larger values lie higher, as in a printed figure.
    MARGIN + (1 - data.y[i] / 9999) * (state.height - 2 * MARGIN),
  ];
  const colour = (label) => data.colours[label % data.colours.length];
  const shape = (label) => SHAPES[label % SHAPES.length];

  function nearest(x, y, reach) {
    let [best, least] = [null, reach * reach];
    for (let i = 0; i < size; i++) {
      if (!shown(i)) continue;
      const [px, py] = at(i);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      // Of points in one place, the one drawn last is seen.
      if (distance <= least) [best, least] = [i, distance];
    }
    return best;
  }

  // The nearest point within 45 degrees of an arrow; where there is none, the nearest ahead.
  function ahead(from, [dx, dy]) {
    const [x, y] = at(from);
    let [best, least] = [null, Infinity];
    for (let i = 0; i < size; i++) {
      if (i === from || !shown(i)) continue;
      const [px, py] = at(i);
      const along = (px - x) * dx + (py - y) * dy;
      const across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      let cost = Math.hypot(along, across);
      if (cost === 0) {
        // In one place: right and down go up the list, left and up go down.
        if ((i - from) * (dx + dy) < 0) continue;
        cost = -1 / Math.abs(i - from);
      } else if (along <= 0) continue;
      else if (across > along) cost += 1e6;
      if (cost < least) [best, least] = [i, cost];
    }
    return best;
  }

  function draw() {
    const scale = window.devicePixelRatio || 1;
    [state.width, state.height] = [stage.clientWidth, stage.clientHeight];
    canvas.width = Math.round(state.width * scale);
    canvas.height = Math.round(state.height * scale);
    const context = canvas.getContext("2d");
    const radius = state.width < 520 ? 3 : 3.6;
    const paths = SHAPES.map((text) => new Path2D(text));
    for (const pass of [false, true]) {
      for (let i = 0; i < size; i++) {
        if (shown(i) !== pass) continue;
        const [x, y] = at(i);
        const label = data.label[i];
        context.setTransform(scale * radius, 0, 0, scale * radius, scale * x, scale * y);
        context.globalAlpha = pass ? 0.85 : 0.35;
        context.fillStyle = pass ? colour(label) : "#d5dce0";
        context.fill(paths[label % SHAPES.length]);
        if (!pass) continue;
        context.lineWidth = 0.5 / radius;
        context.strokeStyle = "#fff";
        context.stroke(paths[label % SHAPES.length]);
      }
    }
    if (state.current !== null) place();
  }

  function marker(label) {
    const svg = document.createElementNS(SVG, "svg");
    const path = document.createElementNS(SVG, "path");
    svg.setAttribute("viewBox", "-1.4 -1.4 2.8 2.8");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", shape(label));
    path.setAttribute("fill", colour(label));
    svg.append(path);
    return svg;
  }

  function facts(i) {
    const rows = [["label", data.labels[data.label[i]]], ["prediction", data.prediction[i]]];
    data.others.forEach(([name, values]) => rows.push([name, values[i]]));
    rows.push(["image", data.id[i]]);
    return rows.filter(([, value]) => value !== "");
  }

  function show(i, { aloud = false } = {}) {
    if (i === state.current && !aloud) return;
    state.current = i;
    ring.hidden = i === null;
    card.classList.toggle("on", i !== null);
    if (i === null) return;
    const list = part("dl");
    list.replaceChildren();
    facts(i).forEach(([name, value], row) => {
      const [term, entry] = ["dt", "dd"].map((kind) => document.createElement(kind));
      term.textContent = name;
      entry.textContent = value;
      if (row === 0) {
        entry.className = "strong";
        entry.prepend(marker(data.label[i]));
      } else if (name === "image") term.className = entry.className = "wide";
      list.append(term, entry);
    });
    place();
    if (aloud) say(facts(i).map(([name, value]) => `${name} ${value}`).join(", "));
  }

  // Ring and card follow the current point; the card stays inside the atlas.
  function place() {
    const [x, y] = at(state.current);
    ring.style.left = `${x}px`;
    ring.style.top = `${y}px`;
    const side = picture.clientWidth;
    const [column, row] = [state.current % data.columns, Math.floor(state.current / data.columns)];
    picture.style.backgroundSize = `${side * data.columns}px auto`;
    picture.style.backgroundPosition = `${-side * column}px ${-side * row}px`;
    const [left, top] = [stage.offsetLeft + x, stage.offsetTop + y];
    const room = stage.offsetLeft + state.width - left;
    const beside = room > card.offsetWidth + 18 ? left + 16 : left - card.offsetWidth - 16;
    const lowest = stage.offsetTop + state.height - card.offsetHeight;
    const height = Math.min(Math.max(top - card.offsetHeight / 2, stage.offsetTop), lowest);
    card.style.transform = getComputedStyle(card).position === "static"
      ? "none" : `translate(${Math.max(0, beside)}px, ${Math.max(0, height)}px)`;
  }

  const say = (text) => { part(".live").textContent = text; };
  const count = (label) => data.label.filter((value) => value === label).length;
  const plural = (n) => `${n.toLocaleString("en")} image${n === 1 ? "" : "s"}`;
  const drawn = `${size.toLocaleString("en")} of ${data.total.toLocaleString("en")}`;
  const thinned = size < data.total;
  const all = thinned ? `${drawn} images; classes with many images are thinned out` : plural(size);

  function keep(label) {
    state.kept = state.kept === label ? null : label;
    if (state.current !== null && !shown(state.current)) show(null);
    root.querySelectorAll("button").forEach((button, i) => {
      button.setAttribute("aria-pressed", String(state.kept === (i ? i - 1 : null)));
    });
    const of = thinned ? ` (${drawn} are drawn)` : ` of ${size.toLocaleString("en")}`;
    const kept = state.kept === null ? all
      : `only ${data.labels[state.kept]}: ${plural(count(state.kept))}${of}`;
    part(".count").textContent = kept;
    say(kept);
    draw();
  }

  function button(label, name, n) {
    const made = document.createElement("button");
    made.type = "button";
    made.setAttribute("aria-pressed", String(label === null));
    if (label !== null) made.append(marker(label));
    const number = document.createElement("small");
    number.textContent = n.toLocaleString("en");
    made.append(name, " ", number);
    made.addEventListener("click", () => keep(label));
    return made;
  }

  function pointer(event) {
    const box = stage.getBoundingClientRect();
    return nearest(event.clientX - box.left, event.clientY - box.top, REACH);
  }

  stage.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") show(pointer(event));
  });
  stage.addEventListener("pointerdown", (event) => { state.touch = event.pointerType === "touch"; });
  stage.addEventListener("pointerleave", () => {
    if (!state.touch && !stage.matches(":focus-visible")) show(null);
  });
  stage.addEventListener("click", (event) => {
    const i = pointer(event);
    const seen = !state.touch || i === state.current;
    show(i, { aloud: i !== null });
    if (i !== null && seen) keep(data.label[i]);
  });
  stage.addEventListener("focus", () => {
    if (stage.matches(":focus-visible") && state.current === null) {
      show(nearest(state.width / 2, state.height / 2, Infinity), { aloud: true });
    }
  });
  stage.addEventListener("blur", () => show(null));
  stage.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Enter") {
      if (state.current !== null) keep(data.label[state.current]);
      return;
    }
    const start = state.current ?? nearest(state.width / 2, state.height / 2, Infinity);
    const next = state.current === null ? start : ahead(start, arrow);
    if (next !== null) show(next, { aloud: true });
  });
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || (state.kept === null && state.current === null)) return;
    event.stopPropagation();
    if (state.kept === null) show(null);
    else keep(null);
  });

  part(".title").textContent = data.title;
  part(".count").textContent = all;
  stage.setAttribute("aria-label", `${data.title}: ${plural(size)}`);
  picture.style.backgroundImage = `url(${data.sheet})`;
  part(".legend").append(button(null, "all", size));
  data.labels.forEach((name, label) => part(".legend").append(button(label, name, count(label))));
  host.querySelector("p").remove();
  new ResizeObserver(draw).observe(stage);
}
