// What is around the map: colours and filters, search, and the network that is chosen.

const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(properties)) if (name.includes("-")) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
const OTHERS = "#98a3ae";
const RAMP = ["#3f6fc0", "#4aa39a", "#d9a441", "#c0453f"];
const LISTED = 200;
const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
const hue = (degrees) => [0, 8, 4].map((at) => {
  const turned = (at + degrees / 30) % 12;
  return Math.round(255 * (0.52 - 0.2 * Math.max(-1, Math.min(turned - 3, 9 - turned, 1))));
});
const count = (number) => number.toLocaleString("en");
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
const brief = (number) => (number >= 1e5 ? number.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 }) : number >= 100 ? count(Math.round(number)) : number.toFixed(3));
const told = () => {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
};
const media = (query) => matchMedia(query).matches;

const begin = (data) => {
  const chart = new Chart($("points"), $("marks"), data.places);
  const grid = new Grid(data.places);
  const shown = new Uint8Array(data.count).fill(1);
  const pixels = new Uint32Array(chart.colors.buffer);
  const all = [...data.facets.filter(({ names }) => names.length > 1), ...data.numbers.filter(({ low, high }) => high > low)];
  const filters = new Map();
  let by = all[0];
  let chosen = -1;
  let hovered = -1;
  let labels = [];
  window.atlas = { data, chart };

  // Colours and filters

  const dark = matchMedia("(prefers-color-scheme: dark)");
  // The most frequent names have the colours of the reports, the next ones hues as far apart as can be.
  const colorOf = (facet, code) => {
    if (facet.names[code] === "not said" || code >= LISTED) return channels(OTHERS);
    return code < data.palette.length ? channels(data.palette[code]) : hue(code * 137.508);
  };
  const lit = (color) => (dark.matches ? color.map((value) => value + (255 - value) * 0.28) : color);
  const share = (number, value) => (number.log ? Math.log(value / number.low) / Math.log(number.high / number.low) : (value - number.low) / (number.high - number.low));
  const valueAt = (number, part) => (number.log ? number.low * (number.high / number.low) ** part : number.low + part * (number.high - number.low));
  const ramp = Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (RAMP.length - 1);
    const [a, b] = [channels(RAMP[Math.floor(at)]), channels(RAMP[Math.min(Math.floor(at) + 1, RAMP.length - 1)])];
    return a.map((value, c) => value + (b[c] - value) * (at % 1));
  });

  const recolor = () => {
    const pixel = (color) => lit(color).reduce((whole, value, at) => whole | (value << (8 * at)), 0);
    const others = pixel(channels(OTHERS));
    const table = (by?.names?.map((_, code) => colorOf(by, code)) ?? ramp).map(pixel);
    for (let i = 0; i < data.count; i++) {
      let color = others;
      if (by?.names) color = table[by.codes[i]];
      else if (by && Number.isFinite(by.values[i])) color = table[Math.round(255 * share(by, by.values[i]))];
      pixels[i] = color | (shown[i] ? 0xff000000 : 0);
    }
    chart.filtered = filters.size > 0;
    chart.recolor();
  };

  const filter = () => {
    const tests = [...filters].map(([facet, wanted]) =>
      facet.names ? (i) => wanted.has(facet.codes[i]) : (i) => facet.values[i] >= wanted[0] && facet.values[i] <= wanted[1]);
    let left = 0;
    for (let i = 0; i < data.count; i++) left += shown[i] = tests.every((test) => test(i)) ? 1 : 0;
    $("state").textContent = filters.size ? `${count(left)} of ${plural(data.count, "network")}` : plural(data.count, "network");
    $("filters").replaceChildren(...[...filters].map(([facet, wanted]) => {
      const words = facet.names ? [...wanted].map((code) => facet.names[code]).join(", ") : wanted.map(brief).join(" to ");
      const chip = make("button", { className: "chip", "aria-label": `Remove the filter ${facet.title}: ${words}` }, `${facet.title}: ${words} ✕`);
      chip.onclick = () => { filters.delete(facet); filter(); legend(); };
      return chip;
    }));
    labels = by?.names ? placeLabels() : [];
    recolor();
  };

  const toggle = (facet, code) => {
    const wanted = filters.get(facet) ?? new Set();
    if (!wanted.delete(code)) wanted.add(code);
    if (wanted.size) filters.set(facet, wanted);
    else filters.delete(facet);
    filter();
  };

  const legend = () => {
    const parts = by?.names ? nameLegend(by) : by ? rangeLegend(by) : [];
    $("legend").replaceChildren(...parts);
  };

  const nameLegend = (facet) => {
    const list = make("ul", { "aria-label": `${facet.title}: colours, press to filter` });
    facet.names.slice(0, LISTED).forEach((name, code) => {
      const pressed = () => Boolean(filters.get(facet)?.has(code));
      const swatch = make("i", { "aria-hidden": "true" });
      swatch.style.background = `rgb(${lit(colorOf(facet, code))})`;
      const button = make("button", { "aria-pressed": String(pressed()) }, swatch, make("span", {}, name), make("b", {}, count(facet.counts[code])));
      button.onclick = () => { toggle(facet, code); button.setAttribute("aria-pressed", String(pressed())); };
      list.append(make("li", {}, button));
    });
    const more = facet.names.length - LISTED;
    return more > 0 ? [list, make("p", { className: "note" }, `and ${count(more)} more, in grey`)] : [list];
  };

  const rangeLegend = (number) => {
    const bar = make("div", { className: "ramp", "aria-hidden": "true" });
    bar.style.background = `linear-gradient(90deg, ${RAMP.join(", ")})`;
    const ends = make("output", {});
    const sliders = ["from", "to"].map((end, at) => {
      const slider = make("input", { type: "range", min: 0, max: 1000, value: 1000 * at, "aria-label": `${number.title} ${end}` });
      const range = filters.get(number);
      if (range) slider.value = 1000 * share(number, range[at]);
      return slider;
    });
    const read = () => sliders.map((slider) => valueAt(number, slider.value / 1000));
    const say = () => {
      const [from, to] = read();
      ends.textContent = `${brief(from)} to ${brief(to)}`;
      sliders.forEach((slider, at) => slider.setAttribute("aria-valuetext", brief([from, to][at])));
    };
    for (const slider of sliders) slider.oninput = () => {
      if (sliders[0].valueAsNumber <= 0 && sliders[1].valueAsNumber >= 1000) filters.delete(number);
      else filters.set(number, read());
      say();
      filter();
    };
    say();
    const missing = data.count - number.known;
    const note = missing ? [make("p", { className: "note" }, `${plural(missing, "network")} without, in grey`)] : [];
    return [bar, ...sliders, ends, ...note];
  };

  // Labels: each frequent name where most of its networks are

  const placeLabels = () => {
    const cells = 32;
    const most = Math.min(by.names.length, 14);
    const counts = new Uint32Array(most * cells * cells);
    const tops = new Uint16Array(most * cells * cells);
    for (let i = 0; i < data.count; i++) {
      const code = by.codes[i];
      if (code >= most || !shown[i]) continue;
      const cell = (code * cells + (data.places[2 * i + 1] >> 11)) * cells + (data.places[2 * i] >> 11);
      counts[cell]++;
      tops[cell] = Math.max(tops[cell], data.places[2 * i + 1]);
    }
    return by.names.slice(0, most).flatMap((name, code) => {
      const first = code * cells * cells;
      const own = counts.subarray(first, first + cells * cells);
      const peak = own.reduce((best, value, cell) => (value > own[best] ? cell : best), 0);
      if (!own[peak] || name === "not said") return [];
      let above = peak;
      while (above + cells < own.length && own[above + cells] > own[peak] / 6) above += cells;
      return [{ name, color: colorOf(by, code), x: ((peak % cells) + 0.5) * 2048, y: tops[first + above] }];
    });
  };

  chart.paint = (context) => {
    const style = getComputedStyle(document.documentElement);
    const [ink, ground, accent] = ["--ink", "--map", "--accent"].map((name) => style.getPropertyValue(name).trim());
    const ring = (i, radius, color, width) => {
      const [left, top] = chart.screen(i);
      context.beginPath();
      context.arc(left, top, radius, 0, 2 * Math.PI);
      Object.assign(context, { strokeStyle: color, lineWidth: width });
      context.stroke();
    };
    const radius = chart.size / 2 + 3;
    if (chosen >= 0) {
      const [left, top] = chart.screen(chosen);
      for (const { place } of nearestOf(data, chosen)) {
        context.beginPath();
        context.moveTo(left, top);
        context.lineTo(...chart.screen(place));
        Object.assign(context, { strokeStyle: accent, lineWidth: 1.2, globalAlpha: 0.6 });
        context.stroke();
        context.globalAlpha = 1;
        ring(place, radius, accent, 1.6);
      }
      ring(chosen, radius + 2, ink, 3);
    }
    if (hovered >= 0) ring(hovered, radius, ink, 2);
    context.font = `600 13px ${style.getPropertyValue("--font")}`;
    Object.assign(context, { textAlign: "center", textBaseline: "middle", lineJoin: "round" });
    const taken = [];
    for (const { name, color, x, y } of labels) {
      const text = name.length > 34 ? `${name.slice(0, 33)}…` : name;
      const half = context.measureText(text).width / 2 + 4;
      const left = Math.min(Math.max(chart.width / 2 + (x - chart.view.x) * chart.view.scale, half), chart.width - half);
      const top = chart.height / 2 - (y - chart.view.y) * chart.view.scale - chart.size / 2 - 11;
      if (top < 8 || top > chart.height - 8 || taken.some(([l, t, h]) => Math.abs(t - top) < 17 && Math.abs(l - left) < h + half)) continue;
      taken.push([left, top, half]);
      Object.assign(context, { strokeStyle: ground, lineWidth: 4, fillStyle: `color-mix(in srgb, rgb(${color}) 55%, ${ink})` });
      context.strokeText(text, left, top);
      context.fillText(text, left, top);
    }
  };

  // The card, and the network that is chosen

  const alike = (i) => data.alike[data.firsts[i]];
  const facts = (i) => [
    ...(alike(i) > 1 ? [["In this place", `${count(alike(i))} networks of the same vector, to 4 digits`]] : []),
    ...data.facets.map((facet) => [facet.title, facet.names[facet.codes[i]]]),
    ...data.numbers.map((number) => [number.title, Number.isFinite(number.values[i]) ? brief(number.values[i]) : "not said"]),
  ].filter(([, said]) => said !== "not said");
  const list = (i) => make("dl", {}, ...facts(i).flatMap(([name, said]) => [make("dt", {}, name), make("dd", {}, said)]));

  const near = (left, top, radius) => {
    const [x, y] = chart.world(left, top);
    return grid.nearest(x, y, Math.min(radius / chart.view.scale, 2 * FINEST), (i) => shown[i]);
  };

  const hover = (left, top) => {
    const found = left === undefined ? -1 : near(left, top, chart.size / 2 + 6);
    if (found !== hovered) { hovered = found; chart.draw(false); }
    const card = $("card");
    card.hidden = found < 0;
    if (found < 0) return;
    card.replaceChildren(make("strong", {}, data.ids[found]), list(found));
    card.style.left = `${Math.min(Math.max(left + 16, 8), chart.width - card.offsetWidth - 8)}px`;
    card.style.top = `${top + 16 + card.offsetHeight > chart.height ? Math.max(top - card.offsetHeight - 12, 8) : top + 16}px`;
  };

  const link = (name, ...children) => {
    const place = data.place.get(name);
    if (place === undefined) return make("span", { className: "away", title: "not on this map" }, ...children);
    const button = make("button", {}, ...children);
    button.onclick = () => choose(place, true);
    return button;
  };

  const choose = (i, fly = false) => {
    chosen = i;
    const panel = $("chosen");
    $("card").hidden = true;
    panel.hidden = i < 0;
    history.replaceState(null, "", i < 0 ? "#" : `#${encodeURIComponent(data.ids[i].toWellFormed())}`);
    chart.draw(false);
    if (i < 0) return panel.replaceChildren();
    const close = make("button", { className: "close", "aria-label": "Close" }, "✕");
    close.onclick = () => { choose(-1); chart.points.focus(); };
    const title = make("h2", { tabIndex: -1 }, data.ids[i]);
    const nearest = make("ol", {}, ...nearestOf(data, i).map(({ place, cosine }) => {
      const bar = make("i", { "aria-hidden": "true" });
      bar.style.width = `${100 * Math.max(cosine, 0)}%`;
      return make("li", {}, link(data.ids[place], make("span", {}, data.ids[place]), make("b", {}, cosine.toFixed(3)), bar));
    }));
    const lineage = lineageOf(data, i);
    const said = lineage.slice(0, 30).map(({ text, name }) => make("li", {}, make("small", {}, text), link(name, make("span", {}, name))));
    if (lineage.length > 30) said.push(make("li", {}, `and ${count(lineage.length - 30)} more`));
    panel.replaceChildren(close, title, list(i), make("h3", {}, "Nearest networks"), nearest,
      ...(said.length ? [make("h3", {}, "Lineage"), make("ul", {}, ...said)] : []));
    panel.scrollTop = 0;
    if (!fly) return;
    const [x, y] = [data.places[2 * i], data.places[2 * i + 1]];
    chart.fly({ x, y, scale: Math.max(chart.view.scale, 4 * chart.whole().scale) });
    title.focus({ preventScroll: true });
    if (media("(max-width: 760px)")) $("map").scrollIntoView({ block: "start" });
  };

  // Search

  const search = () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let at = 0; words.length && at < data.count && found.length < 40; at++) {
      const i = data.order[at];
      if (words.every((word) => data.lower[i].includes(word))) found.push(i);
    }
    const items = found.map((i, at) => {
      const item = make("li", { id: `found-${at}`, role: "option", "aria-selected": "false" }, data.ids[i]);
      item.onpointerdown = (event) => { event.preventDefault(); take(i); };
      item.take = () => take(i);
      return item;
    });
    if (words.length && !items.length) items.push(make("li", { className: "note" }, "nothing of that name on this map"));
    open(items);
  };
  const open = (items) => {
    $("found").replaceChildren(...items);
    $("found").hidden = !items.length;
    $("search").setAttribute("aria-expanded", String(items.length > 0));
    $("search").removeAttribute("aria-activedescendant");
  };
  const take = (i) => { $("search").value = data.ids[i]; open([]); choose(i, true); };
  $("search").oninput = search;
  $("search").onblur = () => open([]);
  $("search").onkeydown = (event) => {
    const items = [...$("found").querySelectorAll("[role=option]")];
    const at = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
    if (event.key === "Enter") return (items[at] ?? items[0])?.take();
    if (event.key === "Escape") return open([]);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !items.length) return;
    event.preventDefault();
    const next = (at + step + items.length) % items.length;
    items.forEach((item, place) => item.setAttribute("aria-selected", String(place === next)));
    items[next].scrollIntoView({ block: "nearest" });
    $("search").setAttribute("aria-activedescendant", items[next].id);
  };

  // Everything together

  steer(chart, { hover, pick: (left, top, radius = chart.size / 2 + 10) => choose(near(left, top, radius)) });
  $("in").onclick = () => chart.zoomAt(1.6);
  $("out").onclick = () => chart.zoomAt(1 / 1.6);
  $("all").onclick = () => chart.fly(chart.whole());
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen >= 0) choose(-1); });
  $("by").replaceChildren(...all.map((each) => make("option", { value: each.key }, each.title)));
  $("by").onchange = () => { by = all.find((each) => each.key === $("by").value); legend(); filter(); };
  dark.addEventListener("change", () => { legend(); filter(); });
  const part = data.total > data.count ? `${count(data.count)} of the ${plural(data.total, "network")}, drawn at random` : plural(data.count, "network");
  $("about").textContent = `${part}, near each other where the encoder finds them alike.`;
  $("method").textContent =
    `Each point is a network of the index, laid out by UMAP (cosine, seed ${data.seed}) of its vector by the encoder ${data.encoder}. ` +
    `The map keeps neighbourhoods, not distances. The nearest networks and their cosines are those of the vectors themselves, compared with every network on the map. ` +
    `Made by: peace atlas --write`;
  legend();
  filter();
  const named = data.place.get(told());
  if (named !== undefined) choose(named);
};

readData().then(begin).catch((error) => { $("state").textContent = `The map can't be shown: ${error.message}`; throw error; });
