// The facets beside the table: boxes that say which values pass, and how many rows each would show.

import { bareButton, node } from "../common.js";
import { amount, checked, decimalInput } from "./fields.js";
import { FACETS } from "./offers.js";

const SHOWN_VALUES = 6;
const PRICE_MAX = 1e9;

export class Facets {
  element = node("div", "gpunb-facets");
  #t;
  #offers;
  #onChange;
  #onClear;
  #boxes = {}; // facet -> what is shown of its values
  #opened = new Set(); // facets with all their values

  constructor({ t, id, offers, onChange, onClear }) {
    this.#t = t;
    this.#offers = offers;
    this.#onChange = onChange;
    this.#onClear = onClear;
    this.element.id = id;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", t("filters"));
  }

  /** Build it anew from the offers; `count` fills in the numbers. */
  build() {
    const { element } = this;
    element.textContent = "";
    this.#boxes = {};
    for (const name of FACETS) {
      const values = this.#offers.listed(name).length;
      if (values < 2 && !(values && this.#offers.chosen[name].size)) continue;
      element.append(this.#group(name));
      if (name === "vram_gb") element.append(this.#price());
    }
    if (!this.#offers.rows.length) return;
    if (!element.querySelector("[data-facet=price]")) element.prepend(this.#price());
    element.append(bareButton("gpunb-link gpunb-clear", this.#t("clear"), this.#onClear));
  }

  count() {
    for (const name of Object.keys(this.#boxes)) {
      // what would show nothing stands last, so that what matches is not among "more"
      if (this.#shown(name).some((one, at) => one.place !== this.#boxes[name][at]?.place)) this.#regroup(name);
    }
    for (const [name, boxes] of Object.entries(this.#boxes)) {
      for (const { place, size, label, box } of boxes) {
        const n = this.#offers.count(name, place);
        size.textContent = n.toLocaleString("en-US");
        label.classList.toggle("gpunb-zero", n === 0 && !box.checked);
      }
    }
  }

  #fieldset(name, title) {
    const group = node("fieldset", "gpunb-facet");
    group.dataset.facet = name;
    group.append(node("legend", "", title));
    return group;
  }

  /** Those that are listed of a facet's values; numbers stay in their order. */
  #shown(name) {
    const listed = this.#offers.listed(name);
    if (!this.#many(name)) return listed;
    const some = (one) => this.#offers.count(name, one.place) > 0;
    const ordered = typeof listed[0]?.value === "number" ? listed : [...listed.filter(some), ...listed.filter((one) => !some(one))];
    return ordered.filter((one, at) => this.#opened.has(name) || at < SHOWN_VALUES || this.#offers.chosen[name].has(one.value));
  }

  #many(name) {
    return this.#offers.listed(name).length > SHOWN_VALUES + 1;
  }

  #regroup(name) {
    const old = this.element.querySelector(`[data-facet="${name}"]`);
    const focused = old?.contains(document.activeElement) ? document.activeElement.closest("label")?.textContent : null;
    const made = this.#group(name);
    old?.replaceWith(made);
    if (!focused) return;
    const same = [...made.querySelectorAll("label")].find((one) => one.textContent === focused);
    same?.querySelector("input").focus({ preventScroll: true });
  }

  #group(name) {
    const group = this.#fieldset(name, this.#t(name));
    const listed = this.#offers.listed(name);
    const chosen = this.#offers.chosen[name];
    const many = this.#many(name);
    const short = many && !this.#opened.has(name);
    const shown = this.#shown(name);
    this.#boxes[name] = shown.map((one) => this.#value(one, chosen));
    group.append(...this.#boxes[name].map(({ label }) => label));
    if (many) {
      const text = short ? this.#t("more", { n: listed.length - shown.length }) : this.#t("fewer");
      group.append(bareButton("gpunb-link", text, () => this.#unfold(name, short)));
    }
    return group;
  }

  #value({ value, place }, chosen) {
    const label = node("label", "gpunb-value");
    const box = node("input");
    box.type = "checkbox";
    box.checked = chosen.has(value);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(value);
      else chosen.delete(value);
      this.#onChange();
    });
    const words = node("span", "gpunb-value-text", typeof value === "number" ? String(value) : value || "?");
    words.title = words.textContent;
    const size = node("span", "gpunb-value-count");
    label.append(box, words, size);
    return { place, size, label, box };
  }

  #unfold(name, open) {
    if (open) this.#opened.add(name);
    else this.#opened.delete(name);
    this.build();
    this.count();
    this.element.querySelector(`[data-facet="${name}"] .gpunb-link`)?.focus();
  }

  #price() {
    const { price } = this.#offers;
    const title = this.#t("price");
    const group = this.#fieldset("price", title);
    const line = node("div", "gpunb-range");
    for (const end of ["from", "to"]) {
      const input = decimalInput(price[end] ?? "");
      input.placeholder = this.#t(end);
      input.setAttribute("aria-label", `${title} ${this.#t(end)}`);
      input.addEventListener("input", () => {
        const value = amount(input, PRICE_MAX, null);
        if (!checked(input, value)) return;
        price[end] = value;
        this.#onChange();
      });
      line.append(input);
    }
    group.append(line);
    return group;
  }
}
