// The virtual table: of any number of offers as many elements as can be seen.

import { bareButton, duration, node, price, put } from "../common.js";
import { COLUMNS } from "./columns.js";

const ROW = 30; // pixels
const ROW_NARROW = 50;
const HEIGHT = 320; // where the page has not said one yet
const OVERSCAN = 6;

const CARD = "minmax(0, 1fr) minmax(0, 1fr) 88px"; // where a row has two lines

/** How a value is written, by a column's `form`. */
const FORMS = {
  text: (value) => value,
  number: (value) => (value ? String(+value.toFixed(1)) : ""),
  whole: (value) => (value ? String(Math.round(value)) : ""),
  percent: (value) => (value === null ? "" : `${+(value * 100).toFixed(1)}%`),
  duration: (value) => (value === null ? "" : duration(value)),
  price: (value) => price(value),
  money: (_, row, terms) => terms.total(row),
  gpu: (_, row) => row.name,
  cloud: (value, row) => (row.isSpot ? `${value} (${row.spot})` : value),
  place: (value) => value,
};

/** The columns for which there is room: those that are to go first are left out, and come back if they fit after all. */
export function fitting(width) {
  const shown = new Set(COLUMNS);
  const least = (more = 0) => [...shown].reduce((sum, one) => sum + one.px, more);
  const droppable = COLUMNS.filter((one) => one.drop).sort((a, b) => a.drop - b.drop);
  for (const one of [...droppable].reverse()) if (least() > width) shown.delete(one);
  for (const one of droppable) if (!shown.has(one) && least(one.px) <= width) shown.add(one);
  return COLUMNS.filter((one) => shown.has(one));
}

function withRole(role, className) {
  const made = node("div", className);
  made.setAttribute("role", role);
  return made;
}

const cellOf = ({ key, right, tone }, role) =>
  withRole(role, `gpunb-cell gpunb-c-${key}${right ? " gpunb-num" : ""}${tone ? ` gpunb-${tone}` : ""}`);

export class Table {
  element = node("div", "gpunb-table");
  rowHeight = ROW;
  active = -1; // places in the offers' view
  hover = -1;
  #grid = withRole("grid", "gpunb-grid");
  #head = withRole("row", "gpunb-head");
  #headGroup = withRole("rowgroup", "gpunb-headgroup");
  #space = withRole("rowgroup", "gpunb-space");
  #empty;
  #heads;
  #pool = []; // {line, cells, place}
  #shown = new Set(COLUMNS.map((one) => one.key));
  #isNarrow = false;
  #id;
  #offers;
  #terms;
  #onLook;
  #onChoose;

  /** `onLook`: another row is looked at; `onChoose`: the active one is meant. */
  constructor({ t, id, offers, terms, onSort, onLook, onChoose }) {
    this.#id = id;
    this.#offers = offers;
    this.#terms = terms;
    this.#onLook = onLook;
    this.#onChoose = onChoose;
    this.#empty = node("div", "gpunb-empty", t("waiting"));
    this.#grid.setAttribute("aria-label", t("title"));
    this.#grid.setAttribute("aria-describedby", `${id}-why`);
    this.#grid.tabIndex = 0;
    this.#head.setAttribute("aria-rowindex", "1");
    this.#heads = COLUMNS.map((column) => this.#headOf(column, t, onSort));
    this.#headGroup.append(this.#head);
    this.#grid.append(this.#headGroup, this.#space);
    this.element.append(this.#grid, this.#empty);
    this.#head.addEventListener("keydown", (event) => this.#headKey(event));
    this.#grid.addEventListener("keydown", (event) => this.#gridKey(event));
    this.#grid.addEventListener("scroll", () => this.paint(), { passive: true });
    this.#grid.addEventListener("mouseleave", () => this.#look(-1));
  }

  // -- what the picker asks for

  /** The row that is meant, or null. */
  get chosen() {
    return this.active >= 0 ? this.#row(this.active) : null;
  }

  /** The row that is looked at: under the mouse, else the one that is meant. */
  get looked() {
    return this.hover >= 0 && this.hover < this.#offers.view.length ? this.#row(this.hover) : this.chosen;
  }

  focus(how) {
    this.#grid.focus(how);
  }

  isFocused(target) {
    return target === this.#grid;
  }

  /** What stands there where no row is. */
  say(text) {
    this.#empty.textContent = text;
  }

  setBusy(busy) {
    this.#grid.setAttribute("aria-busy", String(busy));
  }

  /** Which columns there are, and how wide: what CSS would need a second list for. */
  layOut(narrow) {
    this.rowHeight = narrow ? ROW_NARROW : ROW;
    const columns = narrow ? COLUMNS.filter((one) => one.card) : fitting(this.#grid.clientWidth || Infinity);
    const tracks = columns.map(({ px, grow = 1 }) => `minmax(${px}px, ${grow}fr)`).join(" ");
    this.#grid.style.setProperty("--gp-columns", narrow ? CARD : tracks);
    this.#grid.style.setProperty("--gp-least", narrow ? "0" : `${columns.reduce((sum, { px }) => sum + px, 0)}px`);
    this.#shown = new Set(columns.map((one) => one.key));
    this.#isNarrow = narrow;
    this.#place(this.#heads.map((one) => one.cell));
    for (const { cells } of this.#pool) this.#place(cells);
  }

  #place(cells) {
    COLUMNS.forEach(({ key, card = "" }, at) => {
      cells[at].hidden = !this.#shown.has(key);
      cells[at].style.gridArea = this.#isNarrow ? card : "";
    });
  }

  /** The view has changed: `active` is the place in the new one. */
  counted(active) {
    this.active = active;
    this.hover = -1;
    const shown = this.#offers.view.length;
    this.#empty.hidden = shown > 0;
    this.#grid.setAttribute("aria-rowcount", String(shown + 1));
  }

  showSort() {
    const { key, down } = this.#offers.sort;
    for (const head of this.#heads) {
      head.cell.setAttribute("aria-sort", head.key !== key ? "none" : down ? "descending" : "ascending");
    }
  }

  toTop() {
    this.#grid.scrollTop = 0;
  }

  activate(place) {
    if (place < 0 || place >= this.#offers.view.length) return;
    this.active = place;
    this.hover = -1;
    this.reveal();
    this.paint();
    this.#onLook();
  }

  /** Scroll until the active row is seen. */
  reveal() {
    const grid = this.#grid;
    const top = this.active * this.rowHeight;
    const room = grid.clientHeight - this.#headHeight;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + this.rowHeight > grid.scrollTop + room) grid.scrollTop = top + this.rowHeight - room;
  }

  paint() {
    const { view, sort } = this.#offers;
    const { rowHeight, active } = this;
    const grid = this.#grid;
    const pool = this.#pool;
    const height = grid.clientHeight || HEIGHT;
    const headed = this.#headHeight;
    this.#space.style.height = `${view.length * rowHeight}px`;
    const first = Math.max(0, Math.floor(grid.scrollTop / rowHeight) - OVERSCAN);
    const last = Math.min(view.length, Math.ceil((grid.scrollTop + height - headed) / rowHeight) + OVERSCAN);
    for (let slot = 0; slot < Math.max(pool.length, last - first); slot += 1) {
      if (slot >= pool.length) {
        pool.push(this.#line());
        this.#space.append(pool[slot].line);
      }
      const { line } = pool[slot];
      const place = first + slot;
      pool[slot].place = place;
      line.hidden = place >= last;
      if (!line.hidden) this.#fill(pool[slot], this.#row(place));
    }
    grid.classList.toggle("gpunb-sorted", Boolean(sort.key));
    if (active >= first && active < last) grid.setAttribute("aria-activedescendant", this.#lineId(this.#row(active)));
    else grid.removeAttribute("aria-activedescendant");
  }

  // -- its parts

  get #headHeight() {
    return this.#headGroup.offsetHeight || this.rowHeight;
  }

  #row(place) {
    return this.#offers.rows[this.#offers.view[place]];
  }

  #lineId(row) {
    return `${this.#id}-r${row.index}`;
  }

  #look(place) {
    this.hover = place;
    this.#onLook();
  }

  #headOf(column, t, onSort) {
    const { key } = column;
    const cell = cellOf(column, "columnheader");
    const press = bareButton("gpunb-sort", t(key), () => onSort(key));
    press.tabIndex = key === "gpu" ? 0 : -1;
    press.title = t("sort", { name: t(key) });
    cell.append(press);
    this.#head.append(cell);
    return { key, cell, press };
  }

  #line() {
    const line = withRole("row", "gpunb-row");
    const cells = COLUMNS.map((column) => cellOf(column, "gridcell"));
    this.#place(cells);
    line.append(...cells);
    const made = { line, cells, place: -1 };
    line.addEventListener("click", () => {
      this.activate(made.place);
      this.focus({ preventScroll: true });
    });
    line.addEventListener("dblclick", () => this.#onChoose());
    line.addEventListener("mouseenter", () => this.#look(made.place));
    return made;
  }

  #fill({ line, cells, place }, row) {
    const active = place === this.active;
    line.id = this.#lineId(row);
    line.style.transform = `translateY(${place * this.rowHeight}px)`;
    line.setAttribute("aria-rowindex", String(place + 2));
    line.setAttribute("aria-selected", String(active));
    line.classList.toggle("gpunb-active", active);
    line.classList.toggle("gpunb-spot", row.isSpot);
    for (let at = 0; at < COLUMNS.length; at += 1) put(cells[at], FORMS[COLUMNS[at].form](row[COLUMNS[at].key], row, this.#terms));
  }

  // -- keys

  #headKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const heads = this.#heads.filter(({ cell }) => !cell.hidden);
    const at = heads.findIndex(({ press }) => press === press.getRootNode().activeElement);
    const next = heads[at + step];
    if (!step || at < 0 || !next) return;
    heads[at].press.tabIndex = -1;
    next.press.tabIndex = 0;
    next.press.focus();
    event.preventDefault();
    event.stopPropagation();
  }

  #gridKey(event) {
    if (!this.isFocused(event.target)) return;
    const last = this.#offers.view.length - 1;
    const page = Math.max(1, Math.floor((this.#grid.clientHeight - this.#headGroup.offsetHeight) / this.rowHeight) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      const to = this.active < 0 ? (event.key === "End" ? last : 0) : this.active + moves[event.key];
      this.activate(Math.min(Math.max(to, 0), last));
    } else if (event.key === "Enter") {
      if (!event.repeat) this.#onChoose();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
