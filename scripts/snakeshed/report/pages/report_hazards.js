"use strict";
// Hazards on the map and in the table of sites. It adds its columns before the page's own script
// links the table, and follows the choice of a site by the attributes that this script sets.
// Text only ever goes in as textContent: no name of a site can become markup.
(() => {
  const block = document.getElementById("hazard-data");
  if (!block) return; // An archive may have the page without what is in the site table.
  const hazards = JSON.parse(block.textContent);
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const SVG = "http://www.w3.org/2000/svg";
  const NO_VALUE = "no value";

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  // ---- values in words

  function likelihood(value) {
    if (value > 0 && value < 0.01) return "< 0.01";
    if (value > 0.99 && value < 1) return "> 0.99";
    return value.toFixed(2);
  }

  const volume = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });

  function written(quantity, run, k) {
    const value = run.values[quantity][k];
    if (value === null) return NO_VALUE;
    if (quantity === "likelihood") return likelihood(value);
    if (quantity === "hazard_class") return hazards.scales.hazard_class.labels[value - 1];
    const [low, high] = ["volume_low_m3", "volume_high_m3"].map((name) => run.values[name][k]);
    return `${volume(value)} (${volume(low)} to ${volume(high)})`;
  }

  function reason(run, k) {
    const n = run.reasons[k];
    return n === null ? "" : hazards.reasons[n];
  }

  function swatch(quantity, run, k) {
    return element("i", undefined, `swatch ${color(quantity, run.values[quantity][k])}`);
  }

  function color(quantity, value) {
    if (value === null) return "step-none";
    const { breaks, colors } = hazards.scales[quantity];
    return `step-${colors[breaks.filter((each) => each < value).length]}`;
  }

  // ---- the table gets its columns

  const rows = all(".sites tbody tr");
  const heads = one(".sites thead tr");
  const OUTLET_COLUMNS = [2, 3, 4, 5, 6];
  const HEADS = {
    likelihood: "Likelihood",
    volume_m3: "Volume (95 % interval), m³",
    hazard_class: "Class",
  };
  const quantities = Object.keys(HEADS).filter((name) => hazards.runs.some((run) => name in run.values));
  const columns = [...quantities, "reason"];

  function addColumns() {
    for (const row of [heads, ...rows]) for (const n of OUTLET_COLUMNS) row.children[n].classList.add("of-outlet");
    for (const name of columns) {
      const head = element("th", undefined, name === "reason" ? "of-hazard" : "of-hazard n");
      head.scope = "col";
      head.dataset.quantity = name;
      const button = element("button", HEADS[name] || "No value because");
      button.type = "button";
      head.append(button);
      heads.append(head);
    }
    for (const row of rows) {
      for (const name of columns) row.append(element("td", undefined, name === "reason" ? "of-hazard flag" : "of-hazard n"));
    }
  }

  function fillTable(run) {
    const given = (name) => name === "reason" || name in run.values;
    for (const head of all("th.of-hazard", heads)) head.classList.toggle("absent", !given(head.dataset.quantity));
    for (const row of rows) {
      const k = Number(row.dataset.site);
      columns.forEach((name, n) => {
        const cell = row.children[row.children.length - columns.length + n];
        cell.classList.toggle("absent", !given(name));
        cell.replaceChildren();
        cell.dataset.value = "";
        if (!given(name)) return;
        if (name === "reason") {
          cell.textContent = cell.dataset.value = reason(run, k);
          return;
        }
        const value = run.values[name][k];
        if (value !== null) cell.dataset.value = value;
        cell.append(swatch(name, run, k), written(name, run, k));
        cell.classList.toggle("soft", value === null);
      });
    }
  }

  function sortAgain(want) {
    // As before, or by a quantity, the largest first.
    const sorted = one("th.of-hazard[aria-sort]", heads);
    if (sorted && sorted.classList.contains("absent")) want = show;
    const head = want ? one(`th[data-quantity="${want}"]`, heads) : sorted;
    if (!head) return;
    const down = want ? "descending" : head.getAttribute("aria-sort");
    head.setAttribute("aria-sort", down === "descending" ? "ascending" : "descending");
    one("button", head).click();
  }

  // ---- the map gets its colors

  const map = one("#map");
  const painted = [];
  for (const part of all("[data-site]", map)) painted.push([part, Number(part.dataset.site)]);

  function paint(run, quantity) {
    map.classList.toggle("by-hazard", Boolean(quantity));
    for (const [part, k] of painted) {
      for (const name of [...part.classList]) if (name.startsWith("step-")) part.classList.remove(name);
      if (quantity) part.classList.add(color(quantity, run.values[quantity][k]));
    }
  }

  const key = one("#hazard-key");

  function fillKey(run, quantity) {
    for (const chip of all(".key .chip")) chip.hidden = Boolean(quantity);
    key.hidden = !quantity;
    if (!quantity) return;
    const { name, labels, colors } = hazards.scales[quantity];
    key.replaceChildren(element("span", `${name} by ${run.model}, storm ${run.storm} (${run.in_words}):`));
    const values = run.values[quantity];
    labels.forEach((label, n) => key.append(entry(`step-${colors[n]}`, label)));
    const missing = values.filter((value) => value === null).length;
    key.append(entry("step-none", `${NO_VALUE}: ${missing} site${missing === 1 ? "" : "s"}`));
  }

  function entry(name, text) {
    const made = element("span");
    made.append(element("i", undefined, `swatch ${name}`), text);
    return made;
  }

  const tip = one(".tip");
  document.addEventListener("mousemove", (event) => {
    const part = event.target.closest && event.target.closest("#map [data-site]");
    if (!part || tip.hidden || !show) return;
    const { name, unit } = hazards.scales[show];
    const value = written(show, hazards.runs[chosenRun], part.dataset.site);
    tip.textContent += `; ${name.toLowerCase()}: ${value}${unit && value !== NO_VALUE ? ` ${unit}` : ""}`;
  });

  // ---- the chosen site

  let site = null;

  function in_words(run, k) {
    const parts = quantities.filter((name) => name in run.values && run.values[name][k] !== null).map((name) => {
      const { name: title, unit } = hazards.scales[name];
      return `${title.toLowerCase()} ${written(name, run, k)}${unit ? ` ${unit}` : ""}`;
    });
    const missing = reason(run, k);
    if (missing) parts.push(`${NO_VALUE} because: ${missing}`);
    return `${run.model}, ${run.storm}: ${parts.join("; ")}`;
  }

  function fillBrief() {
    for (const old of all(".brief .hazard")) old.remove();
    const link = one(".brief a");
    if (site === null || !show || !link) return;
    link.before(element("p", in_words(hazards.runs[chosenRun], site), "hazard"));
  }

  function fillSite() {
    const part = one("#site-hazards");
    part.hidden = site === null || !hazards.runs.length;
    const body = one("tbody", part);
    body.replaceChildren();
    if (part.hidden) return;
    for (const run of hazards.runs) {
      const row = element("tr");
      row.append(element("td", run.model, "name"), element("td", run.storm, "name"), element("td", run.in_words));
      for (const name of Object.keys(HEADS)) {
        const cell = element("td", undefined, "n");
        if (name in run.values) cell.append(swatch(name, run, site), written(name, run, site));
        else cell.textContent = "–";
        row.append(cell);
      }
      row.append(element("td", reason(run, site), "flag"));
      body.append(row);
    }
  }

  function drawSite() {
    for (const old of all(".lines .own")) old.remove();
    if (site === null) return;
    for (const chart of all("svg[data-model]")) {
      const { model, xLow, xHigh, yLow, yHigh } = chart.dataset;
      const of = hazards.thresholds.filter((each) => each.model === model && each.values[site] !== null);
      for (const level of new Set(of.map((each) => each.likelihood))) {
        const points = of
          .filter((each) => each.likelihood === level)
          .sort((a, b) => a.duration - b.duration)
          .map((each) => [
            60 + (390 * (each.duration - xLow)) / (xHigh - xLow),
            350 - (340 * (each.values[site] - yLow)) / (yHigh - yLow),
          ]);
        const made = document.createElementNS(SVG, "path");
        made.setAttribute("class", "own");
        // A lone point is a short bar.
        made.setAttribute("d", points.length === 1 ? `M${points[0][0] - 8} ${points[0][1]}h16` : `M${points.map((point) => point.map((at) => at.toFixed(1)).join(" ")).join("L")}`);
        one(".inside", chart).append(made);
      }
    }
  }

  new MutationObserver(() => {
    const row = one(".sites tbody tr[aria-selected='true']");
    site = row ? Number(row.dataset.site) : null;
    fillBrief();
    fillSite();
    drawSite();
  }).observe(one(".sites tbody"), { subtree: true, attributes: true, attributeFilter: ["aria-selected"] });

  // ---- controls

  if (!hazards.runs.length) return;
  const models = one("#hazard-model");
  const storms = one("#hazard-storm");
  let chosenRun = hazards.first;
  let show = "";

  function options(select, texts, chosen) {
    select.replaceChildren(
      ...texts.map(([value, text]) => {
        const made = element("option", text);
        made.value = value;
        return made;
      }),
    );
    select.value = chosen;
  }

  function offerStorms() {
    const { model, storm } = hazards.runs[chosenRun];
    const own = hazards.runs.filter((run) => run.model === model);
    options(storms, own.map((run) => [run.storm, `${run.storm}: ${run.in_words}`]), storm);
  }

  function choose(run, quantity) {
    chosenRun = run;
    const of = hazards.runs[run];
    show = !quantity || quantity in of.values ? quantity : quantities.find((name) => name in of.values);
    for (const button of all("#hazard-controls .show")) {
      button.setAttribute("aria-pressed", String(button.dataset.show === show));
      // Of what this model does not give there is nothing to show.
      button.disabled = Boolean(button.dataset.show) && !(button.dataset.show in of.values);
    }
    models.disabled = storms.disabled = !show;
    offerStorms();
    one(".sites").classList.toggle("by-hazard", Boolean(show));
    fillTable(of);
    paint(of, show);
    fillKey(of, show);
    fillBrief();
  }

  addColumns();
  options(models, [...new Set(hazards.runs.map((run) => run.model))].map((name) => [name, name]), hazards.runs[chosenRun].model);
  models.addEventListener("change", () => {
    const own = hazards.runs.filter((run) => run.model === models.value);
    const same = own.find((run) => run.storm === hazards.runs[chosenRun].storm) || own[0];
    choose(hazards.runs.indexOf(same), show);
    sortAgain();
  });
  storms.addEventListener("change", () => {
    choose(hazards.runs.findIndex((run) => run.model === models.value && run.storm === storms.value), show);
    sortAgain();
  });
  for (const button of all("#hazard-controls .show")) {
    button.addEventListener("click", () => {
      choose(chosenRun, button.dataset.show);
      if (show) sortAgain(show);
    });
  }
  one("#hazard-controls").hidden = false;
  document.addEventListener("DOMContentLoaded", () => {
    const first = hazards.runs[chosenRun];
    const quantity = "hazard_class" in first.values ? "hazard_class" : quantities.find((name) => name in first.values);
    choose(chosenRun, quantity);
    sortAgain(quantity);
  });
})();
