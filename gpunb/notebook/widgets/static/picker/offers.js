// The offers as rows to sort, to filter and to count. It needs no page.

import { clean, list, number } from "../common.js";
import { COLUMNS } from "./columns.js";

export const FACETS = ["gpu", "gpus", "vram_gb", "provider", "region", "trust", "spot"];

const countries = typeof Intl.DisplayNames === "function" ? new Intl.DisplayNames(["en"], { type: "region", fallback: "none" }) : null;

/** Where a machine is, in one form: "Oslo, NO", "mumbai-ind-1, IN"; a country alone by its name. */
export function placeOf(region, country) {
  const code = clean(country, 40);
  const city = clean(region, 40).replace(/^[\s,]+/, "");
  const alone = (/^[A-Z]{2}$/.test(city) && city) || (city === "" && /^[A-Z]{2}$/.test(code) && code);
  if (alone) return countries?.of(alone) ?? alone;
  if (!city || !/^[A-Z]{2}$/.test(code) || city.toUpperCase().split(/[^A-Z]+/).includes(code)) return city || code;
  return `${city}, ${code}`;
}

/** A row of what a cloud said: cleaned, and with the text that the filter looks in. */
function rowOf(offer, index, t) {
  const isSpot = Boolean(offer.spot);
  const row = {
    offer,
    index,
    gpu: clean(offer.gpu, 60) || t("no_gpu"),
    gpus: number(offer.gpus) ?? 0,
    vram_gb: number(offer.vram_gb) ?? 0,
    provider: clean(offer.provider, 40),
    region: placeOf(offer.region, offer.country),
    trust: clean(offer.trust, 20),
    spot: isSpot ? t("spot_yes") : t("spot_no"),
    isSpot,
    usd_h: number(offer.usd_h),
    total_usd: number(offer.total_usd),
    ready_s: number(offer.ready_s),
    why: clean(offer.why, 600),
  };
  for (const { key, form } of COLUMNS) row[key] ??= form === "text" ? clean(offer[key], 60) : number(offer[key]);
  row.name = row.gpus > 1 ? `${row.gpus}× ${row.gpu}` : row.gpu;
  const country = clean(offer.country, 40);
  const ident = clean(offer.offer_id, 60);
  const cpu = clean(offer.cpu, 60);
  row.text = `${row.name} ${row.provider} ${row.region} ${country} ${row.trust} ${row.spot} ${ident} ${cpu}`.toLowerCase();
  return row;
}

/** A facet's values in the order in which they are listed, and for each row the place of its value. */
function encode(rows, name, given) {
  const places = new Map();
  const codes = new Uint32Array(rows.length);
  for (let i = 0; i < rows.length; i += 1) {
    const value = rows[i][name];
    let place = places.get(value);
    if (place === undefined) places.set(value, (place = places.size));
    codes[i] = place;
  }
  const values = [...places.keys()];
  const sizes = new Uint32Array(values.length);
  for (const code of codes) sizes[code] += 1;
  const listed = values.map((value, place) => ({ value, place, size: sizes[place] }));
  const first = new Map((given ?? []).map((one, at) => [name === "spot" ? one.value : clean(one.value, 60), at]));
  const rank = (one) => first.get(one.value) ?? 1e9;
  if (typeof values[0] === "number") listed.sort((a, b) => a.value - b.value);
  else listed.sort((a, b) => rank(a) - rank(b) || b.size - a.size || (a.value < b.value ? -1 : 1));
  return { codes, listed, counts: new Uint32Array(values.length) };
}

export class Offers {
  rows = []; // in the order of the search: best first
  view = new Uint32Array(0); // those that pass, sorted: places in `rows`
  sort = { key: "", down: false };
  price = { from: null, to: null }; // US dollars an hour
  chosen = Object.fromEntries(FACETS.map((name) => [name, new Set()])); // facet -> the values that pass
  #order = new Uint32Array(0); // all of `rows`, sorted
  #coded = {}; // facet -> {codes, listed, counts}
  #t;

  constructor(t) {
    this.#t = t;
    this.load([]);
  }

  /** Other offers; `facets` says in which order values are listed. */
  load(given, facets) {
    this.rows = list(given)
      .filter((one) => one && typeof one === "object")
      .map((one, index) => rowOf(one, index, this.#t));
    for (const name of FACETS) {
      this.#coded[name] = encode(this.rows, name, facets?.[name]);
      const there = new Set(this.listed(name).map((one) => one.value));
      for (const value of [...this.chosen[name]]) if (!there.has(value)) this.chosen[name].delete(value);
    }
    this.#resort();
  }

  /** A facet's values: `{value, place, size}`. */
  listed(name) {
    return this.#coded[name].listed;
  }

  /** How many rows a click on the value at `place` would show. */
  count(name, place) {
    return this.#coded[name].counts[place];
  }

  /** Sort by `key`, then the other way; a third press brings back the order of the search. */
  sortBy(key) {
    const down = COLUMNS.some((one) => one.key === key && one.more);
    if (this.sort.key !== key) this.sort = { key, down };
    else if (this.sort.down === down) this.sort = { key, down: !down };
    else this.sort = { key: "", down: false };
    this.#resort();
  }

  #resort() {
    const { rows } = this;
    const { key, down } = this.sort;
    const places = Array.from({ length: rows.length }, (_, i) => i);
    if (key) {
      const sign = down ? -1 : 1;
      const values = rows.map((row) => row[key]);
      const texts = typeof values.find((one) => one !== null) === "string";
      places.sort((a, b) => {
        const x = values[a];
        const y = values[b];
        // what is not known comes last, whichever way
        if (x === null || y === null) return x === y ? a - b : x === null ? 1 : -1;
        if (x === y) return (key === "gpu" ? sign * (rows[a].gpus - rows[b].gpus) : 0) || a - b;
        return texts ? (x < y ? -sign : sign) : sign * (x - y);
      });
    }
    this.#order = Uint32Array.from(places);
  }

  clearFilters() {
    for (const name of FACETS) this.chosen[name].clear();
    this.price.from = this.price.to = null;
  }

  /** Make `view` anew; returns where the row is now that was at `active`, else the first place, or -1. */
  filter(words, active) {
    const needles = words.toLowerCase().split(/\s+/).filter(Boolean);
    const coded = this.#coded;
    const order = this.#order;
    const { rows, price, chosen } = this;
    const sieves = FACETS.filter((name) => chosen[name].size).map((name) => {
      const { codes, listed } = coded[name];
      const pass = new Uint8Array(listed.length);
      for (const { value, place } of listed) pass[place] = chosen[name].has(value) ? 1 : 0;
      return { name, codes, pass };
    });
    for (const name of FACETS) coded[name].counts.fill(0);
    const keep = new Uint32Array(order.length);
    const current = active >= 0 ? this.view[active] : -1;
    let kept = 0;
    let found = -1;
    each: for (let i = 0; i < order.length; i += 1) {
      const at = order[i];
      const row = rows[at];
      for (const needle of needles) if (!row.text.includes(needle)) continue each;
      if (price.from !== null && !(row.usd_h >= price.from)) continue;
      if (price.to !== null && !(row.usd_h !== null && row.usd_h <= price.to)) continue;
      // a value's count is what a click on it would show: all sieves but its own
      let failed = "";
      for (const { name, codes, pass } of sieves) {
        if (pass[codes[at]]) continue;
        if (failed) continue each;
        failed = name;
      }
      if (failed) {
        coded[failed].counts[coded[failed].codes[at]] += 1;
        continue;
      }
      for (const name of FACETS) coded[name].counts[coded[name].codes[at]] += 1;
      if (at === current) found = kept;
      keep[kept] = at;
      kept += 1;
    }
    this.view = keep.subarray(0, kept);
    return found >= 0 ? found : kept && current >= 0 ? 0 : -1;
  }
}
