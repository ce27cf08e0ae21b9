// The packed blocks of the page, unpacked: names, places, facets, numbers, nearest networks and lineage.
"use strict";

const unpack = async (name) => {
  const block = document.getElementById(`block-${name}`);
  const text = atob(block.textContent);
  block.remove();
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
};

const readData = async () => {
  const names = ["document", "ids", "places", "codes", "values", "neighbours", "cosines", "groups", "order"];
  const found = await Promise.all(names.map(unpack));
  const [told, ids, places, codes, values, neighbours, cosines, groups, order] = found;
  const text = (buffer) => JSON.parse(new TextDecoder().decode(buffer));
  const data = text(told);
  const part = (whole, place) => whole.subarray(place * data.count, (place + 1) * data.count);
  const [allCodes, allValues, allGroups] = [new Uint16Array(codes), new Float32Array(values), new Uint32Array(groups)];
  data.ids = text(ids);
  data.lower = data.ids.map((name) => name.toLowerCase());
  data.place = new Map(data.ids.map((name, i) => [name, i]));
  data.places = new Uint16Array(places);
  data.neighbours = new Uint32Array(neighbours);
  data.cosines = new Uint16Array(cosines);
  data.facets.forEach((facet, i) => {
    facet.codes = part(allCodes, i);
    facet.counts = new Uint32Array(facet.names.length);
    for (const code of facet.codes) facet.counts[code]++;
  });
  data.numbers.forEach((number, i) => {
    number.values = part(allValues, i);
    const known = number.values.filter(Number.isFinite).sort();
    [number.known, number.low, number.high] = [known.length, known[0], known[known.length - 1]];
    number.log = number.low > 0 && number.high / number.low > 100;
  });
  [data.runs, data.contents, data.firsts] = [0, 1, 2].map((place) => part(allGroups, place));
  data.alike = new Uint32Array(data.count);
  for (const first of data.firsts) data.alike[first]++;
  data.order = new Uint32Array(order);
  return data;
};

// The nearest networks of one, in the space of the embeddings.
const nearestOf = (data, i) =>
  Array.from({ length: data.k }, (_, rank) => ({
    place: data.neighbours[i * data.k + rank],
    cosine: (data.cosines[i * data.k + rank] / 65535) * 2 - 1,
  }));

// What is known of where a network comes from, and what came from it.
const lineageOf = (data, i) => {
  const own = data.ids[i];
  const said = [];
  for (const [place, base, relation] of data.derived) {
    if (place === i) said.push({ text: `${relation} of`, name: base });
    else if (base === own) said.push({ text: `${relation} from this`, name: data.ids[place] });
  }
  for (const [groups, text] of [[data.contents, "equal tensors"], [data.runs, "same training run"]]) {
    if (!groups[i]) continue;
    groups.forEach((group, j) => group === groups[i] && j !== i && said.push({ text, name: data.ids[j] }));
  }
  return said;
};

// Places in a grid of cells, so that what is near a point is found without looking at all.
class Grid {
  constructor(places, cells = 256) {
    Object.assign(this, { places, cells, shift: 16 - Math.log2(cells) });
    const count = places.length / 2;
    const own = new Uint32Array(count);
    this.starts = new Uint32Array(cells * cells + 1);
    for (let i = 0; i < count; i++) {
      own[i] = (places[2 * i + 1] >> this.shift) * cells + (places[2 * i] >> this.shift);
      this.starts[own[i] + 1]++;
    }
    for (let c = 0; c < cells * cells; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice();
    this.order = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.order[next[own[i]]++] = i;
  }

  // The nearest place within a radius (in units of places) for which `wanted` holds, or -1.
  nearest(x, y, radius, wanted) {
    const cell = (value) => Math.min(Math.max(value >> this.shift, 0), this.cells - 1);
    let [best, least] = [-1, radius * radius];
    for (let row = cell(y - radius); row <= cell(y + radius); row++) {
      const [from, to] = [row * this.cells + cell(x - radius), row * this.cells + cell(x + radius)];
      for (let at = this.starts[from]; at < this.starts[to + 1]; at++) {
        const i = this.order[at];
        const distance = (this.places[2 * i] - x) ** 2 + (this.places[2 * i + 1] - y) ** 2;
        if (distance <= least && wanted(i)) [best, least] = [i, distance];
      }
    }
    return best;
  }
}
