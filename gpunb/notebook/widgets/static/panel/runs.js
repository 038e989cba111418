// A session's last runs, with their logs and a Cancel, and its transfers.

import { button, clean, duration, list, money, node, number } from "../common.js";

const LINES_MAX = 8;
const STEP_S = 5; // a run's time is shown anew so often

const joined = (parts) => parts.filter(Boolean).join(" · ");

export class Runs {
  element = node("div", "gpunb-runs");
  #t;
  #can;
  #onLog;
  #onCancel;
  #shown = "";

  /** `can` names what is offered: "log", "cancel". */
  constructor({ t, can, onLog, onCancel }) {
    this.#t = t;
    this.#can = can;
    this.#onLog = onLog;
    this.#onCancel = onCancel;
  }

  show(given) {
    const { element } = this;
    const kept = list(given).slice(0, LINES_MAX);
    const step = (one) => Math.round((number(one.seconds) ?? 0) / STEP_S);
    const key = JSON.stringify(kept.map((one) => [one.id, one.state, one.name, step(one)]));
    if (key === this.#shown) return; // what has the focus stays as it is
    this.#shown = key;
    const focused = element.contains(document.activeElement) ? document.activeElement?.dataset?.key : null;
    element.textContent = "";
    element.append(node("div", "gpunb-title", this.#t("runs")));
    if (!kept.length) element.append(node("span", "gpunb-hint", this.#t("no_runs")));
    element.append(...kept.map((one) => this.#line(one)));
    if (!focused) return;
    const same = [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused);
    same?.focus({ preventScroll: true });
  }

  #line(run) {
    const line = node("div", "gpunb-run");
    const state = clean(run.state, 20);
    const ident = clean(run.id, 40);
    const label = clean(run.name, 120) || ident;
    line.dataset.state = state;
    const text = node("span", "gpunb-run-name", label);
    text.title = `${ident} ${label}`;
    const seconds = number(run.seconds);
    const usd = number(run.usd);
    const info = [state, seconds === null ? "" : duration(seconds), usd === null ? "" : money(usd)];
    line.append(text, node("span", "gpunb-run-state", joined(info)));
    if (this.#can.includes("log")) line.append(keyed(this.#t("log"), `log/${ident}`, label, () => this.#onLog(run)));
    if (this.#can.includes("cancel") && ["running", "queued", "waiting for input"].includes(run.state)) {
      line.append(keyed(this.#t("cancel_run"), `cancel/${ident}`, label, () => this.#onCancel(run, label)));
    }
    return line;
  }
}

/** A button that gets the focus back when the runs are drawn anew. */
function keyed(text, key, label, onClick) {
  const press = button("gpunb-small", text, onClick);
  press.dataset.key = key;
  press.setAttribute("aria-label", `${text}: ${label}`);
  return press;
}

export class Transfers {
  element = node("div", "gpunb-transfers");
  #t;

  constructor(t) {
    this.#t = t;
  }

  show(given) {
    const kept = list(given).slice(0, LINES_MAX);
    this.element.textContent = "";
    if (!kept.length) return;
    this.element.append(node("div", "gpunb-title", this.#t("transfers")), ...kept.map((one) => this.#line(one)));
  }

  #line(one) {
    const line = node("div", "gpunb-run");
    const done = number(one.done);
    const all = number(one.total);
    const share = done !== null && all ? `${Math.round(100 * Math.min(1, done / all))}%` : "";
    const text = node("span", "gpunb-run-name", clean(one.title, 120) || clean(one.id, 40));
    text.title = text.textContent;
    line.append(text, node("span", "gpunb-run-state", joined([clean(one.says || one.state, 80), share])));
    return line;
  }
}
