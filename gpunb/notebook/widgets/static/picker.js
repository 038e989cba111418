// The offer picker: facets, a virtual table, a confirmation, progress. No framework, no imports.
//
// Used by the notebook's widget and by JupyterLab's Rent dialog. Every text that a cloud or a host
// has written is cleaned, cut, and set by textContent.

const ROW = 30;
const ROW_NARROW = 50;
const NARROW = 560;
const MEDIUM = 980;
const OVERSCAN = 6;
const TEXT_MAX = 160;
const SHOWN_VALUES = 6;
const SETTLE_MS = 500; // a second click so soon after the first is not an answer to the question
const STEPS = ["requested", "creating", "booting", "reachable", "ready"];

const STRINGS = {
  title: "Offers",
  search: "Filter: H100, eu, datacenter …",
  hours: "Hours",
  budget: "Budget, $",
  budget_none: "none",
  again: "Search again",
  filters: "Filters",
  clear: "Clear filters",
  more: "{n} more",
  fewer: "fewer",
  shown: "{shown} of {all} offers",
  waiting: "Asking the clouds …",
  none: "No offer passes these filters.",
  nothing: "No offers.",
  gpu: "GPU",
  gpus: "Count",
  vram_gb: "VRAM, GB",
  vram: "VRAM",
  provider: "Cloud",
  region: "Region",
  trust: "Host",
  spot: "Rental",
  spot_yes: "spot",
  spot_no: "on demand",
  no_gpu: "no GPU",
  price: "Price, $/h",
  from: "from",
  to: "to",
  usd_h: "$/h",
  total_usd: "Total",
  ready_s: "Ready in",
  reliability: "Reliable",
  details: "Why",
  choose: "Choose an offer: arrow keys and Enter, or a click.",
  rent: "Rent …",
  rent_for: "Rent {gpu}: {total}",
  confirm: "Rent {gpu} on {provider}{where} for {hours} h: {total} in all ({usd_h} an hour){limit}.",
  confirm_budget: ", and never more than {budget}",
  confirm_spot: " It is a spot machine and may be taken back.",
  confirm_yes: "Rent for {total}",
  confirm_no: "Not now",
  asking: "Asking what it will cost …",
  cancel: "Cancel",
  cancelling: "Cancelling: waiting until the cloud confirms the end …",
  back: "Back to the offers",
  no_answer: "{provider}: {message}",
  login: "Log in",
  key: "Key for {provider}",
  keep: "Check and keep",
  bad_hours: "Hours: a number above 0 and at most 8760",
  bad_budget: "Budget: an amount above 0, or empty for none",
  loading: "rendering",
  requested: "requested",
  creating: "creating",
  booting: "booting",
  reachable: "reachable",
  ready: "ready",
  sort: "Sort by {name}",
};

const FACETS = ["gpu", "gpus", "vram_gb", "provider", "region", "trust", "spot"];
const COLUMNS = [
  { key: "gpu", kind: "text" },
  { key: "vram_gb", kind: "number" },
  { key: "provider", kind: "text" },
  { key: "region", kind: "text" },
  { key: "trust", kind: "text" },
  { key: "reliability", kind: "number" },
  { key: "ready_s", kind: "number" },
  { key: "usd_h", kind: "number" },
  { key: "total_usd", kind: "number" },
];

const HEADS = { vram_gb: "vram" };

// control characters, and the marks that hide or reorder text
// eslint-disable-next-line no-control-regex
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Text of a stranger as it may be shown: one line, no hidden marks, not longer than `max`. */
export function clean(value, max = TEXT_MAX) {
  if (value === null || value === undefined) return "";
  const raw = String(value);
  const cut = raw.length > max * 4 ? raw.slice(0, max * 4) : raw;
  const text = cut.replace(HIDDEN, " ").replace(/\s+/g, " ").trim();
  return text.length > max || raw.length > cut.length ? `${text.slice(0, max - 1)}…` : text;
}

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

export function money(value) {
  const usd = number(value);
  if (usd === null) return "?";
  if (usd === 0) return "free";
  const digits = Math.abs(usd) < 1 ? 3 : 2;
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function duration(seconds) {
  const s = number(seconds);
  if (s === null) return "?";
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${+(s / 3600).toFixed(1)} h`;
  return `${+(s / 86400).toFixed(1)} d`;
}

function node(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(className, text, onClick) {
  const made = node("button", className, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

let pickers = 0;

export function createPicker(el, options = {}) {
  const words = { ...STRINGS, ...(options.strings || {}) };
  const t = (key, values = {}) =>
    String(words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
  const id = `gpunb-picker-${(pickers += 1)}`;
  const off = new AbortController();
  const on = (target, type, handler, more = {}) => target.addEventListener(type, handler, { signal: off.signal, ...more });

  // -- what is known

  let rows = []; // cleaned copies, in the order of the search: best first
  let order = new Uint32Array(0); // of all rows, sorted
  let view = new Uint32Array(0); // of those that pass, sorted
  let coded = {}; // facet -> {values, codes}
  let asked = { hours: options.hours ?? 1, disk_gb: options.disk_gb ?? 0 };
  let sort = { key: "", down: false };
  let active = -1; // place in `view`
  let hover = -1;
  let question = null;
  let rented = null; // while progress is shown
  let rowHeight = ROW;
  const chosen = Object.fromEntries(FACETS.map((name) => [name, new Set()]));
  const opened = new Set();

  // -- what is seen

  const root = node("section", "gpunb gpunb-picker");
  root.setAttribute("aria-label", t("title"));
  // JupyterLab's one-key commands must not run while somebody picks
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  const bar = node("div", "gpunb-bar");
  const find = node("input", "gpunb-input gpunb-find");
  find.type = "search";
  find.placeholder = t("search");
  find.setAttribute("aria-label", t("search"));
  find.setAttribute("aria-keyshortcuts", "/");
  find.maxLength = 200;
  const hours = field("hours", String(asked.hours), "gpunb-hours");
  const budget = field("budget", options.budget ? String(options.budget) : "", "gpunb-budget");
  budget.input.placeholder = t("budget_none");
  const toggle = button("gpunb-button gpunb-toggle", t("filters"), () => showFacets(!root.classList.contains("gpunb-open")));
  toggle.setAttribute("aria-expanded", "false");
  toggle.setAttribute("aria-controls", `${id}-facets`);
  const again = button("gpunb-button gpunb-again", t("again"), () => search());
  again.hidden = !options.onSearch;
  again.title = t("again");
  bar.append(find, toggle, hours.label, budget.label, again);
  const notes = node("div", "gpunb-notes");
  const body = node("div", "gpunb-body");
  const facets = node("div", "gpunb-facets");
  facets.id = `${id}-facets`;
  facets.setAttribute("role", "group");
  facets.setAttribute("aria-label", t("filters"));
  const table = node("div", "gpunb-table");
  const grid = node("div", "gpunb-grid");
  grid.setAttribute("role", "grid");
  grid.setAttribute("aria-label", t("title"));
  grid.setAttribute("aria-describedby", `${id}-why`);
  grid.tabIndex = 0;
  const head = node("div", "gpunb-head");
  head.setAttribute("role", "row");
  head.setAttribute("aria-rowindex", "1");
  const space = node("div", "gpunb-space");
  space.setAttribute("role", "rowgroup");
  const headGroup = node("div", "gpunb-headgroup");
  headGroup.setAttribute("role", "rowgroup");
  headGroup.append(head);
  const empty = node("div", "gpunb-empty", t("waiting"));
  grid.append(headGroup, space);
  table.append(grid, empty);
  body.append(facets, table);
  const why = node("div", "gpunb-why");
  why.id = `${id}-why`;
  const foot = node("div", "gpunb-foot");
  const count = node("div", "gpunb-count");
  count.setAttribute("role", "status");
  const rent = button("gpunb-button gpunb-primary gpunb-rent", t("rent"), () => ask());
  rent.disabled = true;
  foot.append(count, rent);
  const dialog = node("div", "gpunb-dialog");
  dialog.hidden = true;
  dialog.setAttribute("role", "alertdialog");
  dialog.setAttribute("aria-labelledby", `${id}-says`);
  const progress = node("div", "gpunb-progress");
  progress.hidden = true;
  root.append(bar, notes, body, why, foot, dialog, progress);
  el.append(root);

  const heads = COLUMNS.map(({ key, kind }) => {
    const cell = node("div", `gpunb-cell gpunb-c-${key}${kind === "number" ? " gpunb-num" : ""}`);
    cell.setAttribute("role", "columnheader");
    const press = button("gpunb-sort", t(key in HEADS ? HEADS[key] : key), () => sortBy(key));
    press.tabIndex = key === "gpu" ? 0 : -1;
    press.title = t("sort", { name: t(key) });
    cell.append(press);
    head.append(cell);
    return { key, cell, press };
  });

  function field(name, value, className) {
    const label = node("label", `gpunb-label ${className}`);
    const input = node("input", "gpunb-input gpunb-short");
    input.type = "text";
    input.inputMode = "decimal";
    input.maxLength = 12;
    input.value = value;
    label.append(node("span", "", t(name)), input);
    return { label, input };
  }

  // -- numbers that people type

  function amount(input, most, fallback) {
    const text = input.value.trim().replace(",", ".");
    if (text === "") return fallback;
    const value = Number(text);
    return Number.isFinite(value) && value > 0 && value <= most ? value : NaN;
  }
  const hoursAsked = () => amount(hours.input, 8760, NaN);
  const budgetAsked = () => amount(budget.input, 1e6, null);

  function checked(input, value) {
    input.setAttribute("aria-invalid", Number.isNaN(value) ? "true" : "false");
    return !Number.isNaN(value);
  }

  /** The total for the hours in the field; near enough until the search has answered anew. */
  function total(row) {
    const now = hoursAsked();
    if (row.total_usd === null) return { text: "?", usd: null };
    if (Number.isNaN(now) || now === asked.hours) return { text: money(row.total_usd), usd: row.total_usd };
    const usd = (row.total_usd * now) / asked.hours;
    return { text: usd === 0 ? money(0) : `≈ ${money(usd)}`, usd };
  }

  // -- rows in

  function tidy(offer, index) {
    const spot = Boolean(offer.spot);
    const row = {
      offer,
      index,
      gpu: clean(offer.gpu, 60) || t("no_gpu"),
      gpus: number(offer.gpus) ?? 0,
      vram_gb: number(offer.vram_gb) ?? 0,
      provider: clean(offer.provider, 40),
      region: clean(offer.region || offer.country, 40),
      trust: clean(offer.trust, 20),
      spot: spot ? t("spot_yes") : t("spot_no"),
      isSpot: spot,
      usd_h: number(offer.usd_h),
      total_usd: number(offer.total_usd),
      reliability: number(offer.reliability),
      ready_s: number(offer.ready_s),
      why: clean(offer.why, 600),
    };
    row.name = row.gpus > 1 ? `${row.gpus}× ${row.gpu}` : row.gpu;
    row.text = `${row.name} ${row.provider} ${row.region} ${clean(offer.country, 40)} ${row.trust} ${row.spot} ${clean(
      offer.offer_id, 60)} ${clean(offer.cpu, 60)}`.toLowerCase();
    return row;
  }

  /** For each facet its values, and for each row the place of its value there. */
  function encode(given) {
    coded = {};
    for (const name of FACETS) {
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
      const first = new Map((given?.[name] ?? []).map((one, at) => [name === "spot" ? one.value : clean(one.value, 60), at]));
      if (typeof values[0] === "number") listed.sort((a, b) => a.value - b.value);
      else listed.sort((a, b) => (first.get(a.value) ?? 1e9) - (first.get(b.value) ?? 1e9) || b.size - a.size || (a.value < b.value ? -1 : 1));
      coded[name] = { codes, listed, counts: new Uint32Array(values.length) };
      for (const value of [...chosen[name]]) if (!places.has(value)) chosen[name].delete(value);
    }
  }

  // -- sorting and filtering

  function sortBy(key) {
    // a third press brings back the order of the search
    if (sort.key !== key) sort = { key, down: key === "vram_gb" || key === "reliability" };
    else if (sort.down === (key === "vram_gb" || key === "reliability")) sort = { key, down: !sort.down };
    else sort = { key: "", down: false };
    resort();
    refilter();
    paint();
    grid.scrollTop = 0;
  }

  function resort() {
    for (const { key, cell } of heads) {
      cell.setAttribute("aria-sort", sort.key !== key ? "none" : sort.down ? "descending" : "ascending");
    }
    const places = Array.from({ length: rows.length }, (_, i) => i);
    const { key, down } = sort;
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
    order = Uint32Array.from(places);
  }

  const price = { from: null, to: null };

  function refilter() {
    const needles = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const sieves = FACETS.filter((name) => chosen[name].size).map((name) => {
      const pass = new Uint8Array(coded[name]?.listed.length ?? 0);
      for (const { value, place } of coded[name]?.listed ?? []) pass[place] = chosen[name].has(value) ? 1 : 0;
      return { name, codes: coded[name]?.codes, pass };
    });
    for (const name of FACETS) coded[name]?.counts.fill(0);
    const keep = new Uint32Array(order.length);
    const { from, to } = price;
    const current = active >= 0 ? view[active] : -1;
    let kept = 0;
    let place = -1;
    rows: for (let i = 0; i < order.length; i += 1) {
      const at = order[i];
      const row = rows[at];
      for (const needle of needles) if (!row.text.includes(needle)) continue rows;
      if (from !== null && !(row.usd_h >= from)) continue;
      if (to !== null && !(row.usd_h !== null && row.usd_h <= to)) continue;
      // a value's count is what a click on it would show: all sieves but its own
      let failed = "";
      let fails = 0;
      for (const { name, codes, pass } of sieves) {
        if (!pass[codes[at]]) {
          failed = name;
          if ((fails += 1) > 1) continue rows;
        }
      }
      if (fails) {
        coded[failed].counts[coded[failed].codes[at]] += 1;
        continue;
      }
      for (const name of FACETS) coded[name].counts[coded[name].codes[at]] += 1;
      if (at === current) place = kept;
      keep[kept] = at;
      kept += 1;
    }
    view = keep.subarray(0, kept);
    active = place >= 0 ? place : kept && current >= 0 ? 0 : -1;
    hover = -1;
    count.textContent = t("shown", { shown: kept.toLocaleString("en-US"), all: rows.length.toLocaleString("en-US") });
    empty.hidden = kept > 0;
    if (!kept && !root.classList.contains("gpunb-busy")) empty.textContent = t(rows.length ? "none" : "nothing");
    grid.setAttribute("aria-rowcount", String(kept + 1));
    countFacets();
    tell();
  }

  // -- facets

  const boxes = {};

  function buildFacets() {
    facets.textContent = "";
    for (const name of FACETS) {
      const listed = coded[name]?.listed ?? [];
      delete boxes[name];
      if (listed.length < 2 && !(listed.length && chosen[name].size)) continue;
      const group = node("fieldset", "gpunb-facet");
      group.append(node("legend", "", t(name)));
      const long = listed.length > SHOWN_VALUES + 1 && !opened.has(name);
      const made = [];
      for (const [at, one] of listed.entries()) {
        if (long && at >= SHOWN_VALUES && !chosen[name].has(one.value)) continue;
        const label = node("label", "gpunb-value");
        const box = node("input");
        box.type = "checkbox";
        box.checked = chosen[name].has(one.value);
        box.addEventListener("change", () => {
          if (box.checked) chosen[name].add(one.value);
          else chosen[name].delete(one.value);
          changed();
        });
        const text = typeof one.value === "number" ? String(one.value) : one.value || "?";
        const words_ = node("span", "gpunb-value-text", text);
        words_.title = text;
        const size = node("span", "gpunb-value-count");
        label.append(box, words_, size);
        group.append(label);
        made.push({ place: one.place, size, label, box });
      }
      if (listed.length > SHOWN_VALUES + 1) {
        const text = long ? t("more", { n: listed.length - made.length }) : t("fewer");
        group.append(button("gpunb-link", text, () => {
          if (opened.has(name)) opened.delete(name);
          else opened.add(name);
          buildFacets();
          countFacets();
          facets.querySelector(`[data-facet="${name}"] .gpunb-link`)?.focus();
        }));
      }
      group.dataset.facet = name;
      boxes[name] = made;
      facets.append(group);
      if (name === "vram_gb") facets.append(priceFacet());
    }
    if (!facets.querySelector("[data-facet=price]") && rows.length) facets.prepend(priceFacet());
    if (rows.length) facets.append(button("gpunb-link gpunb-clear", t("clear"), clearFilters));
  }

  function priceFacet() {
    const group = node("fieldset", "gpunb-facet");
    group.dataset.facet = "price";
    group.append(node("legend", "", t("price")));
    const line = node("div", "gpunb-range");
    for (const end of ["from", "to"]) {
      const input = node("input", "gpunb-input gpunb-short");
      input.type = "text";
      input.inputMode = "decimal";
      input.maxLength = 12;
      input.placeholder = t(end);
      input.setAttribute("aria-label", `${t("price")} ${t(end)}`);
      input.value = price[end] ?? "";
      on(input, "input", () => {
        const value = amount(input, 1e9, null);
        if (checked(input, value)) {
          price[end] = value;
          changed();
        }
      });
      line.append(input);
    }
    group.append(line);
    return group;
  }

  function countFacets() {
    for (const [name, made] of Object.entries(boxes)) {
      for (const { place, size, label, box } of made) {
        const n = coded[name].counts[place];
        size.textContent = n.toLocaleString("en-US");
        label.classList.toggle("gpunb-zero", n === 0 && !box.checked);
      }
    }
  }

  function clearFilters() {
    for (const name of FACETS) chosen[name].clear();
    price.from = price.to = null;
    find.value = "";
    buildFacets();
    changed();
    grid.focus();
  }

  function showFacets(open) {
    root.classList.toggle("gpunb-open", open);
    toggle.setAttribute("aria-expanded", String(open));
    measure();
  }

  function changed() {
    refilter();
    grid.scrollTop = 0;
    if (active > 0) reveal();
    paint();
  }

  // -- the virtual table: as many elements as can be seen

  const pool = [];

  function rowElement() {
    const line = node("div", "gpunb-row");
    line.setAttribute("role", "row");
    const cells = {};
    for (const { key, kind } of COLUMNS) {
      const cell = node("div", `gpunb-cell gpunb-c-${key}${kind === "number" ? " gpunb-num" : ""}`);
      cell.setAttribute("role", "gridcell");
      cells[key] = cell;
      line.append(cell);
    }
    const made = { line, cells, place: -1 };
    line.addEventListener("click", () => {
      activate(made.place);
      grid.focus({ preventScroll: true });
    });
    line.addEventListener("dblclick", () => ask());
    line.addEventListener("mouseenter", () => {
      hover = made.place;
      tell();
    });
    return made;
  }

  function paint() {
    const height = grid.clientHeight || 320;
    const headed = headGroup.offsetHeight || rowHeight;
    space.style.height = `${view.length * rowHeight}px`;
    const first = Math.max(0, Math.floor(grid.scrollTop / rowHeight) - OVERSCAN);
    const last = Math.min(view.length, Math.ceil((grid.scrollTop + height - headed) / rowHeight) + OVERSCAN);
    for (let slot = 0; slot < Math.max(pool.length, last - first); slot += 1) {
      if (slot >= pool.length) {
        pool.push(rowElement());
        space.append(pool[slot].line);
      }
      const { line } = pool[slot];
      const place = first + slot;
      pool[slot].place = place;
      line.hidden = place >= last;
      if (!line.hidden) fill(pool[slot], rows[view[place]], place);
    }
    grid.classList.toggle("gpunb-sorted", Boolean(sort.key));
    if (active >= first && active < last) grid.setAttribute("aria-activedescendant", `${id}-r${view[active]}`);
    else grid.removeAttribute("aria-activedescendant");
  }

  function put(cell, text) {
    if (cell.textContent !== text) cell.textContent = text;
  }

  function fill({ line, cells }, row, place) {
    line.id = `${id}-r${row.index}`;
    line.style.transform = `translateY(${place * rowHeight}px)`;
    line.setAttribute("aria-rowindex", String(place + 2));
    line.setAttribute("aria-selected", String(place === active));
    line.classList.toggle("gpunb-active", place === active);
    line.classList.toggle("gpunb-spot", row.isSpot);
    put(cells.gpu, row.name);
    put(cells.vram_gb, row.vram_gb ? `${+row.vram_gb.toFixed(1)}` : "");
    put(cells.provider, row.isSpot ? `${row.provider} (${row.spot})` : row.provider);
    put(cells.region, row.region);
    put(cells.trust, row.trust);
    put(cells.reliability, row.reliability === null ? "" : `${+(row.reliability * 100).toFixed(1)} %`);
    put(cells.ready_s, row.ready_s === null ? "" : duration(row.ready_s));
    put(cells.usd_h, money(row.usd_h));
    put(cells.total_usd, total(row).text);
  }

  function activate(place) {
    if (place < 0 || place >= view.length) return;
    active = place;
    hover = -1;
    reveal();
    paint();
    tell();
  }

  function reveal() {
    const headed = headGroup.offsetHeight || rowHeight;
    const top = active * rowHeight;
    const room = grid.clientHeight - headed;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + rowHeight > grid.scrollTop + room) grid.scrollTop = top + rowHeight - room;
  }

  /** The line under the table: why the row that is looked at stands where it does. */
  function tell() {
    const seen = hover >= 0 && hover < view.length ? hover : active;
    const row = seen >= 0 ? rows[view[seen]] : null;
    why.textContent = "";
    if (row) {
      why.append(node("strong", "", `${row.name} · ${row.provider}${row.region ? ` · ${row.region}` : ""}`));
      why.append(node("span", "", row.why ? ` ${row.why}` : ""));
    } else why.textContent = rows.length ? t("choose") : "";
    const mine = active >= 0 ? rows[view[active]] : null;
    rent.disabled = !mine || rented !== null || root.classList.contains("gpunb-busy");
    rent.textContent = mine ? t("rent_for", { gpu: mine.name, total: total(mine).text }) : t("rent");
  }

  // -- renting: a question first

  async function ask() {
    const row = active >= 0 ? rows[view[active]] : null;
    if (!row || rented || question || rent.disabled) return;
    const given = { hours: hoursAsked(), budget: budgetAsked() };
    if (!checked(hours.input, given.hours)) return setError({ message: t("bad_hours") });
    if (!checked(budget.input, given.budget)) return setError({ message: t("bad_budget") });
    const sum = total(row);
    const own = {
      says:
        t("confirm", {
          gpu: row.name,
          provider: row.provider,
          where: row.region ? ` (${row.region})` : "",
          hours: given.hours,
          total: sum.text,
          usd_h: money(row.usd_h),
          limit: given.budget === null ? "" : t("confirm_budget", { budget: money(given.budget) }),
        }) + (row.isSpot ? t("confirm_spot") : ""),
      total: sum.text,
    };
    const mine = (question = { row });
    setError(null);
    if (!options.onConfirm) return confirm(row, given, own);
    rent.disabled = true;
    rent.textContent = t("asking");
    try {
      const said = await options.onConfirm(row.offer, given);
      if (question !== mine) return undefined; // destroyed, or put aside
      if (!said) throw new Error("");
      const usd = number(said.usd);
      confirm(row, { ...given, token: said.token }, { says: clean(said.says, 600) || own.says, total: usd === null ? own.total : money(usd) });
    } catch (err) {
      if (question !== mine) return undefined;
      question = null;
      if (err?.message) setError({ message: err.message, hint: err.hint });
      tell();
    }
    return undefined;
  }

  function confirm(row, given, said) {
    const shownAt = performance.now();
    dialog.textContent = "";
    const says = node("p", "gpunb-says", said.says);
    says.id = `${id}-says`;
    const yes = button("gpunb-button gpunb-primary gpunb-yes", t("confirm_yes", { total: said.total }), (event) => {
      // neither a held key nor the second half of a double click is an answer
      if (event.detail > 1 || performance.now() - shownAt < SETTLE_MS) return;
      close();
      begin(row);
      Promise.resolve(options.onRent?.(row.offer, given)).catch((err) => {
        rented = null;
        showProgress(false);
        setError({ message: err?.message ?? String(err), hint: err?.hint });
      });
    });
    on(yes, "keydown", (event) => event.repeat && event.preventDefault());
    const no = button("gpunb-button gpunb-no", t("confirm_no"), () => close());
    const line = node("div", "gpunb-buttons");
    line.append(yes, no);
    dialog.append(says, line);
    dialog.hidden = false;
    foot.hidden = true;
    measure();
    yes.focus();
  }

  function close() {
    question = null;
    dialog.hidden = true;
    foot.hidden = rented !== null;
    measure();
    tell();
    grid.focus({ preventScroll: true });
  }

  // -- live progress

  const shown = {};

  function begin(row) {
    rented = { row, over: false };
    setProgress({ title: row.name, state: "requested", says: "" });
  }

  function showProgress(open) {
    progress.hidden = !open;
    foot.hidden = open;
    root.classList.toggle("gpunb-renting", open);
    measure();
    if (!open) tell();
  }

  function buildProgress() {
    progress.textContent = "";
    shown.title = node("div", "gpunb-progress-title");
    shown.steps = node("ol", "gpunb-steps");
    shown.bar = node("div", "gpunb-track");
    shown.bar.setAttribute("role", "progressbar");
    shown.fill = node("div", "gpunb-fill");
    shown.bar.append(shown.fill);
    shown.says = node("div", "gpunb-progress-says");
    shown.says.setAttribute("role", "status");
    shown.cancel = button("gpunb-button gpunb-cancel", t("cancel"), () => {
      if (!options.onCancel) return;
      shown.cancel.disabled = true;
      rented = { ...rented, cancelling: true };
      shown.says.textContent = t("cancelling");
      Promise.resolve(options.onCancel()).catch((err) => {
        shown.cancel.disabled = false;
        setError({ message: err?.message ?? String(err) });
      });
    });
    shown.back = button("gpunb-button gpunb-back", t("back"), () => {
      rented = null;
      showProgress(false);
      setError(null);
      grid.focus();
    });
    const line = node("div", "gpunb-buttons");
    line.append(shown.cancel, shown.back);
    progress.append(shown.title, shown.steps, shown.bar, shown.says, line);
  }

  function setProgress(given) {
    if (off.signal.aborted) return;
    if (given === null) {
      rented = null;
      showProgress(false);
      return;
    }
    if (!shown.title) buildProgress();
    const state = clean(given.state, 20);
    const over = Boolean(given.over) || ["ready", "gone", "failed", "cancelled", "unknown"].includes(state);
    rented = { ...(rented ?? {}), over, state };
    const step = STEPS.indexOf(state);
    put(shown.title, clean(given.title, 120));
    shown.steps.textContent = "";
    for (const [at, name] of STEPS.entries()) {
      const line = node("li", step >= 0 && (at < step || state === "ready") ? "gpunb-did" : at === step ? "gpunb-now" : "", t(name));
      if (at === step) line.setAttribute("aria-current", "step");
      shown.steps.append(line);
    }
    if (step < 0 && state) shown.steps.append(node("li", "gpunb-now gpunb-other", t(state)));
    const done = number(given.done);
    const all = number(given.total);
    const share = done !== null && all ? Math.min(1, Math.max(0, done / all)) : null;
    shown.bar.hidden = over;
    shown.bar.classList.toggle("gpunb-unsure", share === null);
    shown.fill.style.width = share === null ? "" : `${(100 * share).toFixed(1)}%`;
    if (share === null) shown.bar.removeAttribute("aria-valuenow");
    else shown.bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    shown.bar.setAttribute("aria-label", clean(given.title, 120));
    const says = clean(given.says, 800);
    put(shown.says, rented.cancelling && !over ? `${t("cancelling")} ${says}` : says);
    progress.dataset.state = state;
    progress.dataset.tone = state === "ready" ? "ok" : over && state !== "cancelled" ? "bad" : "";
    shown.cancel.hidden = over || !options.onCancel;
    shown.back.hidden = !over;
    if (progress.hidden) showProgress(true);
    else measure();
  }

  // -- notes: clouds that failed, errors

  let failures = [];
  let trouble = null;

  function showNotes() {
    notes.textContent = "";
    if (trouble) {
      const line = node("div", "gpunb-note gpunb-bad");
      line.setAttribute("role", "alert");
      line.append(node("span", "", clean(trouble.message, 800)));
      if (trouble.bill) line.append(node("span", "gpunb-bill", clean(trouble.bill, 400)));
      if (trouble.hint) line.append(node("span", "gpunb-hint", clean(trouble.hint, 400)));
      notes.append(line);
    }
    for (const one of failures) {
      const provider = clean(one.provider, 40);
      const line = node("div", "gpunb-note gpunb-warn");
      line.append(node("span", "", t("no_answer", { provider, message: clean(one.message, 400) })));
      const needsKey = one.login ?? /\blogin\b/.test(String(one.hint ?? ""));
      if (needsKey && options.onLogin) line.append(button("gpunb-button gpunb-login", t("login"), () => login(one.provider, line)));
      else if (one.hint) line.append(node("span", "gpunb-hint", clean(one.hint, 400)));
      notes.append(line);
    }
    measure();
  }

  function login(provider, line) {
    if (!options.askKey) {
      options.onLogin(provider);
      return;
    }
    if (line.querySelector("form")) return;
    const form = node("form", "gpunb-key");
    const input = node("input", "gpunb-input");
    input.type = "password";
    input.autocomplete = "off";
    input.maxLength = 4096;
    input.placeholder = t("key", { provider: clean(provider, 40) });
    input.setAttribute("aria-label", input.placeholder);
    const keep = node("button", "gpunb-button", t("keep"));
    keep.type = "submit";
    form.append(input, keep);
    on(form, "submit", (event) => {
      event.preventDefault();
      const key = input.value;
      if (!key.trim()) return;
      input.value = ""; // it stays nowhere on the page
      keep.disabled = true;
      Promise.resolve(options.onLogin(provider, key)).catch((err) => setError({ message: err?.message ?? String(err), hint: err?.hint }));
    });
    line.append(form);
    input.focus();
  }

  // -- searching anew

  let timer = 0;

  function search() {
    clearTimeout(timer);
    const value = hoursAsked();
    if (!options.onSearch || rented || !checked(hours.input, value)) return;
    options.onSearch({ hours: value, disk_gb: asked.disk_gb });
  }

  on(hours.input, "input", () => {
    clearTimeout(timer);
    if (checked(hours.input, hoursAsked())) timer = setTimeout(search, 700);
    paint();
    tell();
  });
  on(budget.input, "input", () => checked(budget.input, budgetAsked()));
  on(find, "input", changed);
  on(grid, "scroll", paint, { passive: true });
  on(grid, "mouseleave", () => {
    hover = -1;
    tell();
  });
  on(head, "keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const at = heads.findIndex(({ press }) => press === document.activeElement || press.getRootNode().activeElement === press);
    const next = heads[at + step];
    if (!step || at < 0 || !next) return;
    heads[at].press.tabIndex = -1;
    next.press.tabIndex = 0;
    next.press.focus();
    event.preventDefault();
    event.stopPropagation();
  });
  on(root, "keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) find.focus();
    else if (event.key === "Escape") {
      if (question) close();
      else if (event.target === find && find.value) {
        find.value = "";
        changed();
      } else if (root.classList.contains("gpunb-open")) {
        showFacets(false);
        toggle.focus();
      } else if (event.target !== grid) grid.focus();
      else return;
    } else if (event.key === "ArrowDown" && event.target === find) {
      activate(Math.max(active, 0));
      grid.focus();
    } else if (event.key === "Enter" && event.target === find) {
      if (view.length) activate(Math.max(active, 0));
      grid.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  on(grid, "keydown", (event) => {
    if (event.target !== grid) return;
    const page = Math.max(1, Math.floor((grid.clientHeight - headGroup.offsetHeight) / rowHeight) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      const to = active < 0 ? (event.key === "End" ? view.length - 1 : 0) : active + moves[event.key];
      activate(Math.min(Math.max(to, 0), view.length - 1));
    } else if (event.key === "Enter") {
      if (!event.repeat) ask();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  function measure() {
    const width = root.clientWidth || el.clientWidth;
    const narrow = width > 0 && width < NARROW;
    root.classList.toggle("gpunb-narrow", narrow);
    root.classList.toggle("gpunb-medium", !narrow && width > 0 && width < MEDIUM);
    rowHeight = narrow ? ROW_NARROW : ROW;
    root.style.setProperty("--gp-row", `${rowHeight}px`);
    paint();
  }
  const watcher = typeof ResizeObserver === "undefined" ? null : new ResizeObserver(() => measure());
  watcher?.observe(root);

  // -- the handle

  function setBusy(text) {
    root.classList.toggle("gpunb-busy", Boolean(text));
    grid.setAttribute("aria-busy", String(Boolean(text)));
    if (text) {
      count.textContent = clean(text, 200);
      if (!rows.length) empty.textContent = clean(text, 200);
    } else refilter();
    again.disabled = Boolean(text);
    tell();
  }

  function setError(error) {
    trouble = error && error.message ? error : null;
    showNotes();
  }

  function setOffers(given, facetsGiven, failed, terms = {}) {
    const before = active >= 0 && view.length ? rows[view[active]]?.offer.key : null;
    asked = { hours: number(terms.hours) ?? (Number.isNaN(hoursAsked()) ? asked.hours : hoursAsked()), disk_gb: number(terms.disk_gb) ?? asked.disk_gb };
    rows = Array.isArray(given) ? given.filter((one) => one && typeof one === "object").map(tidy) : [];
    failures = Array.isArray(failed) ? failed.filter((one) => one && typeof one === "object").slice(0, 50) : [];
    active = -1;
    encode(facetsGiven);
    resort();
    root.classList.remove("gpunb-busy");
    grid.setAttribute("aria-busy", "false");
    again.disabled = false;
    buildFacets();
    refilter();
    if (before) active = view.findIndex((at) => rows[at].offer.key === before);
    tell();
    showNotes();
  }

  /** What the fields hold, unless somebody has typed there. */
  function setTerms(terms) {
    if (number(terms.hours) !== null && document.activeElement !== hours.input) hours.input.value = String(+terms.hours.toFixed(4));
    if (number(terms.budget) !== null && document.activeElement !== budget.input) budget.input.value = String(terms.budget);
    asked = { hours: number(terms.hours) ?? asked.hours, disk_gb: number(terms.disk_gb) ?? asked.disk_gb };
    paint();
    tell();
  }

  buildFacets();
  resort();
  measure();
  tell();

  return {
    setOffers,
    setTerms,
    setBusy,
    setProgress,
    setError,
    focus: () => grid.focus(),
    destroy() {
      clearTimeout(timer);
      off.abort();
      watcher?.disconnect();
      question = null;
      root.remove();
    },
  };
}
