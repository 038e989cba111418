// For how long and for how much at most, and what that makes of an offer's price.

import { node, number, price } from "../common.js";
import { amount, checked, decimalInput } from "./fields.js";

const HOURS_MAX = 8760;
const BUDGET_MAX = 1e6;
const PAUSE_MS = 700; // nobody has typed for so long: the hours are those that were meant

function labelled(text, className, input) {
  const label = node("label", `gpunb-label ${className}`);
  label.append(node("span", "", text), input);
  return label;
}

export class Terms {
  asked; // what the search was for: {hours, disk_gb}
  elements;
  #hours;
  #budget;
  #timer = 0;

  /** `onHours` hears each key in the hours, `onPause` of good ones that seem to be meant. */
  constructor({ t, options, onHours, onPause }) {
    this.asked = { hours: options.hours ?? 1, disk_gb: options.disk_gb ?? 0 };
    this.#hours = decimalInput(String(this.asked.hours));
    this.#budget = decimalInput(options.budget ? String(options.budget) : "");
    this.#budget.placeholder = t("budget_none");
    this.elements = [
      labelled(t("hours"), "gpunb-hours", this.#hours),
      labelled(t("budget"), "gpunb-budget", this.#budget),
    ];
    this.#hours.addEventListener("input", () => {
      this.stop();
      if (this.checkHours()) this.#timer = setTimeout(onPause, PAUSE_MS);
      onHours();
    });
    this.#budget.addEventListener("input", () => this.checkBudget());
  }

  /** No more waiting for a pause. */
  stop() {
    clearTimeout(this.#timer);
  }

  /** NaN if what stands there is no number of hours. */
  get hours() {
    return amount(this.#hours, HOURS_MAX, NaN);
  }

  /** US dollars; null is no limit, NaN no amount. */
  get budget() {
    return amount(this.#budget, BUDGET_MAX, null);
  }

  checkHours() {
    return checked(this.#hours, this.hours);
  }

  checkBudget() {
    return checked(this.#budget, this.budget);
  }

  /** The total for the hours in the field; near enough until the search has answered anew. */
  total(row) {
    const now = this.hours;
    if (row.total_usd === null) return "?";
    if (Number.isNaN(now) || now === this.asked.hours) return price(row.total_usd);
    const usd = (row.total_usd * now) / this.asked.hours;
    return usd === 0 ? price(0) : `≈ ${price(usd)}`;
  }

  /** What the offers are for that have come. */
  answered({ hours, disk_gb }) {
    const now = this.hours;
    this.asked = {
      hours: number(hours) ?? (Number.isNaN(now) ? this.asked.hours : now),
      disk_gb: number(disk_gb) ?? this.asked.disk_gb,
    };
  }

  /** What the fields hold, unless somebody types there. */
  set({ hours, budget, disk_gb }) {
    const free = (input) => document.activeElement !== input;
    if (number(hours) !== null && free(this.#hours)) this.#hours.value = String(+hours.toFixed(4));
    if (number(budget) !== null && free(this.#budget)) this.#budget.value = String(budget);
    this.asked = { hours: number(hours) ?? this.asked.hours, disk_gb: number(disk_gb) ?? this.asked.disk_gb };
  }
}
