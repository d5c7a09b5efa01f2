"use strict";
// The page is complete without this script, which links its parts: table, map and charts.
// Text only ever goes in as textContent: no name of a site can become markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const SVG = "http://www.w3.org/2000/svg";

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  // ---- what belongs to each site, by its number

  const rows = all(".sites tbody tr");
  const body = one(".sites tbody");
  const parts = data.sites.map(() => []);
  for (const part of all("[data-site]")) parts[part.dataset.site].push(part);
  const shown = data.sites.map(() => true);
  let chosen = null;

  // ---- map

  const map = one("#map");
  const view = { x: 0, y: 0, width: 1, height: 1 };

  function draw() {
    map.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    drawScale();
  }

  function frame([x, y, width, height], room = 1.06, covered = 0) {
    // The view takes the shape of the map, so that a pixel is the same everywhere in it.
    // What is framed stands above the part of the map that is covered.
    const shape = map.clientWidth / map.clientHeight || 1;
    const wide = Math.max(width * room, (height * room * shape) / (1 - covered), 8);
    view.x = x + width / 2 - wide / 2;
    view.y = y + height / 2 - ((wide / shape) * (1 - covered)) / 2;
    view.width = wide;
    view.height = wide / shape;
    draw();
  }

  function zoom(factor, clientX, clientY) {
    const box = map.getBoundingClientRect();
    const right = clientX === undefined ? 0.5 : (clientX - box.left) / box.width;
    const down = clientY === undefined ? 0.5 : (clientY - box.top) / box.height;
    const width = Math.min(Math.max(view.width * factor, 4), 8 * Math.max(...data.everything.slice(2), view.width / 8));
    const scale = width / view.width;
    view.x += view.width * (1 - scale) * right;
    view.y += view.height * (1 - scale) * down;
    view.width = width;
    view.height *= scale;
    draw();
  }

  function move(right, down) {
    view.x += right * view.width;
    view.y += down * view.height;
    draw();
  }

  function drawScale() {
    const scale = one(".scale");
    const metres = (view.width * data.unit_m) / map.clientWidth; // of a pixel
    const power = 10 ** Math.floor(Math.log10(metres * 110));
    const length = [5, 2, 1].map((n) => n * power).find((n) => n / metres <= 110) || power;
    one("span", scale).textContent = length >= 1000 ? `${length / 1000} km` : `${length} m`;
    one("i", scale).style.width = `${length / metres}px`;
    scale.hidden = false;
  }

  map.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => move(-0.15, 0),
      ArrowRight: () => move(0.15, 0),
      ArrowUp: () => move(0, -0.15),
      ArrowDown: () => move(0, 0.15),
      "+": () => zoom(1 / 1.4),
      "=": () => zoom(1 / 1.4),
      "-": () => zoom(1.4),
      0: () => frame(data.view),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  // The wheel scrolls the page until the map has been clicked or tabbed to.
  map.addEventListener(
    "wheel",
    (event) => {
      if (document.activeElement !== map && !event.ctrlKey) return;
      event.preventDefault();
      zoom(Math.exp(Math.sign(event.deltaY) * 0.18), event.clientX, event.clientY);
    },
    { passive: false },
  );
  let drag = null;
  map.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.pointerType === "mouse") {
      drag = { x: event.clientX, y: event.clientY, moved: false };
    }
  });
  window.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const right = event.clientX - drag.x;
    const down = event.clientY - drag.y;
    if (!drag.moved && Math.abs(right) + Math.abs(down) < 4) return;
    drag = { x: event.clientX, y: event.clientY, moved: true };
    map.classList.add("moving");
    move(-right / map.clientWidth, -down / map.clientHeight);
  });
  let dragged = false;
  window.addEventListener("pointerup", () => {
    dragged = Boolean(drag && drag.moved);
    drag = null;
    map.classList.remove("moving");
  });
  // One finger scrolls the page, two fingers move and zoom the map.
  let fingers = null;
  function between({ touches: [a, b] }) {
    return {
      x: (a.clientX + b.clientX) / 2,
      y: (a.clientY + b.clientY) / 2,
      apart: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1,
    };
  }
  map.addEventListener(
    "touchmove",
    (event) => {
      if (event.touches.length !== 2) return;
      event.preventDefault();
      const now = between(event);
      if (fingers) {
        move((fingers.x - now.x) / map.clientWidth, (fingers.y - now.y) / map.clientHeight);
        zoom(fingers.apart / now.apart, now.x, now.y);
      }
      fingers = now;
    },
    { passive: false },
  );
  for (const end of ["touchend", "touchcancel"]) {
    map.addEventListener(end, () => {
      fingers = null;
    });
  }
  one("#zoom-in").addEventListener("click", () => zoom(1 / 1.6));
  one("#zoom-out").addEventListener("click", () => zoom(1.6));
  one("#fit").addEventListener("click", () => frame(data.view));
  one("#fit-all").addEventListener("click", () => frame(data.everything));
  // Kept as it is when the page changes its size, but for the shape.
  new ResizeObserver(() => {
    if (map.clientWidth) frame([view.x, view.y, view.width, view.height], 1);
  }).observe(map);

  // ---- hovering

  const tip = one(".tip");
  const siteAt = (target) => target.closest && target.closest("[data-site]");

  function near(k, on) {
    for (const part of parts[k]) part.classList.toggle("near", on);
  }
  document.addEventListener("mouseover", (event) => {
    const part = siteAt(event.target);
    if (part) near(part.dataset.site, true);
  });
  document.addEventListener("mouseout", (event) => {
    const part = siteAt(event.target);
    if (part) near(part.dataset.site, false);
    tip.hidden = true;
  });
  map.addEventListener("mousemove", (event) => {
    const part = siteAt(event.target);
    if (!part || drag) {
      tip.hidden = true;
      return;
    }
    const site = data.sites[part.dataset.site];
    tip.textContent = `${site.id} – ${site.kind.replaceAll("_", " ")}`;
    tip.hidden = false;
    const box = map.getBoundingClientRect();
    const left = Math.min(event.clientX - box.left + 12, box.width - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, event.clientY - box.top - 32)}px`;
  });

  // ---- choosing

  const brief = one(".brief");
  const layer = one(".chosen", map);

  function path(name, d, transform) {
    const made = document.createElementNS(SVG, "path");
    made.setAttribute("class", name);
    made.setAttribute("d", d);
    if (transform) made.setAttribute("transform", transform);
    layer.append(made);
  }

  function mark(point, ...names) {
    if (point) for (const name of names) path(name, `M${point[0]} ${point[1]}h0`);
  }

  function drawChosen(k) {
    layer.replaceChildren();
    if (k === null) return;
    const { point, outlet, rival } = data.sites[k];
    const outline = parts[k].find((part) => part.closest(".catchments"));
    if (outline) {
      for (const name of ["casing", "edge"]) {
        path(name, outline.getAttribute("d"), `scale(${data.aspect} 1)`);
      }
    }
    if (point && outlet) path("snap", `M${point[0]} ${point[1]}L${outlet[0]} ${outlet[1]}`);
    mark(rival, "square", "inner");
    mark(outlet, "core-halo", "core");
    mark(point, "ring", "hole");
  }

  function written(value) {
    if (value === null) return "–";
    if (value === true) return "yes";
    if (value === false) return "no";
    return typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 10, useGrouping: false }) : value;
  }

  function fillBrief(k) {
    const site = data.sites[k];
    brief.replaceChildren();
    const close = element("button", "×", "close");
    close.type = "button";
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", () => choose(null));
    const row = rows.find((each) => Number(each.dataset.site) === k);
    brief.append(close, element("h3", site.id), one(".chip", row).cloneNode(true));
    const list = element("dl", undefined, "values");
    const told = [
      ["area", 2, " km²"],
      ["reported", 3, " km²"],
      ["ratio", 4, ""],
      ["snap", 5, " m"],
    ];
    for (const [name, n, unit] of told) {
      const cell = row.children[n];
      if (cell.dataset.value === "") continue;
      list.append(element("dt", name), element("dd", cell.textContent + unit));
    }
    brief.append(list);
    const flag = one(".flag", row).textContent;
    if (flag) brief.append(element("p", flag));
    if (!site.point) brief.append(element("p", "It has no place on this map."));
    const link = element("a", "All values");
    link.href = "#site";
    brief.append(link);
    brief.hidden = false;
  }

  function fillValues(k) {
    const site = data.sites[k];
    one("#site-title").textContent = site.id;
    one("#card").textContent = `snakemake 'results/${data.study}/cards/${site.file}.html'`;
    const list = one("#all-values");
    list.replaceChildren();
    data.columns.forEach(([name, description], n) => {
      if (site.values[n] === null) return;
      const entry = element("div");
      const term = element("dt");
      term.append(element("span", name, "name"), element("b", written(site.values[n])));
      entry.append(term, element("dd", description));
      list.append(entry);
    });
    one("#site").hidden = false;
  }

  function markDistributions(k) {
    for (const old of all(".where")) old.remove();
    if (k === null) return;
    for (const chart of all("svg[data-column]")) {
      const { column, low, high } = chart.dataset;
      const value = data.sites[k].values[column];
      if (value === null) continue;
      const x = (200 * (value - low)) / (high - low);
      const line = document.createElementNS(SVG, "path");
      line.setAttribute("class", "where");
      line.setAttribute("vector-effect", "non-scaling-stroke");
      line.setAttribute("d", `M${Math.min(Math.max(x, 0.5), 199.5)} 0v52`);
      chart.append(line);
    }
  }

  function choose(k, { show = true } = {}) {
    chosen = k;
    for (const row of rows) {
      row.setAttribute("aria-selected", String(Number(row.dataset.site) === k));
    }
    for (const point of all(".point")) {
      point.classList.toggle("chosen-one", Number(point.dataset.site) === k);
    }
    drawChosen(k);
    markDistributions(k);
    if (k === null) {
      brief.hidden = true;
      one("#site").hidden = true;
      return;
    }
    fillBrief(k);
    fillValues(k);
    const row = rows.find((each) => Number(each.dataset.site) === k);
    makeReachable(row);
    scrollWithin(row);
    const { box } = data.sites[k];
    if (show && box) frame(box, 1.2, Math.min(0.6, brief.offsetHeight / map.clientHeight));
  }

  function makeReachable(row) {
    // One site of the table is a stop of the Tab key; arrows lead to the others.
    for (const each of all(".pick[tabindex='0']")) each.tabIndex = -1;
    one(".pick", row).tabIndex = 0;
  }

  function scrollWithin(row) {
    const table = one(".sites");
    const head = one(".sites thead").offsetHeight;
    const top = row.offsetTop - head;
    if (top < table.scrollTop) table.scrollTop = top;
    const bottom = row.offsetTop + row.offsetHeight - table.clientHeight;
    if (bottom > table.scrollTop) table.scrollTop = bottom;
  }

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) choose(Number(row.dataset.site));
  });
  for (const place of [map, one("#areas")]) {
    if (!place) continue;
    place.addEventListener("click", (event) => {
      const part = siteAt(event.target);
      if (!part || dragged) return;
      choose(Number(part.dataset.site), { show: place !== map });
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen !== null) choose(null);
  });

  // ---- table

  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const visible = all("tr", body).filter((each) => !each.hidden);
    const at = visible.indexOf(row);
    const to = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: Math.min(at + 10, visible.length - 1),
      PageUp: Math.max(at - 10, 0),
      Home: 0,
      End: visible.length - 1,
    }[event.key];
    if (to === undefined || !visible[to]) return;
    event.preventDefault();
    choose(Number(visible[to].dataset.site));
    one(".pick", visible[to]).focus({ preventScroll: true });
  });

  const compareText = new Intl.Collator("en", { numeric: true }).compare;
  all(".sites thead th").forEach((head, n) => {
    const numeric = head.classList.contains("n") || n === 1; // confidence sorts by its rank
    one("button", head).addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const each of all(".sites thead th")) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.children[n].dataset.value;
      const compare = numeric ? (a, b) => a - b : compareText;
      // Sites without a value stay at the end, whatever the direction.
      const sorted = [...rows].sort((a, b) => {
        const [left, right] = [value(a), value(b)];
        if (left === "" || right === "") return (left === "") - (right === "");
        return down ? compare(right, left) : compare(left, right);
      });
      body.append(...sorted);
      const first = sorted.find((row) => !row.hidden);
      if (chosen === null && first) makeReachable(first);
    });
  });

  const search = one("#search");
  const kinds = all(".kind");

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    const pressed = kinds.filter((each) => each.getAttribute("aria-pressed") === "true").map((each) => each.dataset.kind);
    let count = 0;
    for (const row of rows) {
      const k = Number(row.dataset.site);
      const text = `${data.sites[k].id}\n${one(".flag", row).textContent}`.toLowerCase();
      const fits = text.includes(wanted) && (!pressed.length || pressed.includes(row.dataset.kind));
      shown[k] = fits;
      count += fits;
      for (const part of parts[k]) {
        // An SVG element has no property "hidden".
        if (part === row) part.hidden = !fits;
        else part.setAttribute("display", fits ? "inline" : "none");
      }
    }
    one("#count").textContent = `${count === rows.length ? "" : `${count} of `}${rows.length} site${rows.length === 1 ? "" : "s"}`;
    one(".none").hidden = count > 0;
    const first = all("tr", body).find((row) => !row.hidden);
    if (first && (chosen === null || !shown[chosen])) makeReachable(first);
    if (chosen !== null && !shown[chosen]) choose(null);
  }
  search.addEventListener("input", filter);
  for (const button of kinds) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }

  one("#no-scripts").remove();
  frame(data.view);
  filter();
})();
