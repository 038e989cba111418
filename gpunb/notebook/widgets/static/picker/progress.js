// A rental on its way: the steps, how far it is, what it waits for, and Cancel.

import { button, clean, node, number, put } from "../common.js";

const STEPS = ["requested", "creating", "booting", "reachable", "ready"];
const ENDS = ["ready", "gone", "failed", "cancelled", "unknown"];

export class Progress {
  element = node("div", "gpunb-progress");
  open = false; // also when it is over, until somebody goes back
  #t;
  #cancel;
  #on;
  #cancelling = false;
  #title = node("div", "gpunb-progress-title");
  #steps = node("ol", "gpunb-steps");
  #bar = node("div", "gpunb-track");
  #fill = node("div", "gpunb-fill");
  #says = node("div", "gpunb-progress-says");
  #stop;
  #back;

  /** `cancel` may be left out; `on` has shown(), changed(), closed(), back(), failed(error). */
  constructor({ t, cancel, on }) {
    this.#t = t;
    this.#cancel = cancel;
    this.#on = on;
    this.element.hidden = true;
    this.#bar.setAttribute("role", "progressbar");
    this.#bar.append(this.#fill);
    this.#says.setAttribute("role", "status");
    this.#stop = button("gpunb-cancel", t("cancel"), () => this.#onCancel());
    this.#back = button("gpunb-back", t("back"), () => {
      this.close();
      on.back();
    });
  }

  begin(title) {
    this.#cancelling = false;
    this.#stop.disabled = false;
    this.set({ title, state: "requested", says: "" });
  }

  close() {
    this.open = false;
    this.#cancelling = false;
    this.element.hidden = true;
    this.#on.closed();
  }

  set(given) {
    if (!this.element.firstChild) this.#build();
    this.open = true;
    const state = clean(given.state, 20);
    const title = clean(given.title, 120);
    const over = Boolean(given.over) || ENDS.includes(state);
    put(this.#title, title);
    this.#showSteps(state);
    this.#showBar(given, title, over);
    const says = clean(given.says, 800);
    put(this.#says, this.#cancelling && !over ? `${this.#t("cancelling")} ${says}` : says);
    this.element.dataset.state = state;
    this.element.dataset.tone = state === "ready" ? "ok" : over && state !== "cancelled" ? "bad" : "";
    this.#stop.hidden = over || !this.#cancel;
    this.#back.hidden = !over;
    if (this.element.hidden) {
      this.element.hidden = false;
      this.#on.shown();
    } else this.#on.changed();
  }

  #build() {
    const line = node("div", "gpunb-buttons");
    line.append(this.#stop, this.#back);
    this.element.append(this.#title, this.#steps, this.#bar, this.#says, line);
  }

  #showSteps(state) {
    const now = STEPS.indexOf(state);
    this.#steps.textContent = "";
    for (const [at, name] of STEPS.entries()) {
      const done = now >= 0 && (at < now || state === "ready");
      const line = node("li", done ? "gpunb-did" : at === now ? "gpunb-now" : "", this.#t(name));
      if (at === now) line.setAttribute("aria-current", "step");
      this.#steps.append(line);
    }
    if (now < 0 && state) this.#steps.append(node("li", "gpunb-now gpunb-other", this.#t(state)));
  }

  #showBar(given, title, over) {
    const bar = this.#bar;
    const done = number(given.done);
    const all = number(given.total);
    const share = done !== null && all ? Math.min(1, Math.max(0, done / all)) : null;
    bar.hidden = over;
    bar.classList.toggle("gpunb-unsure", share === null);
    bar.setAttribute("aria-label", title);
    if (share === null) {
      this.#fill.style.width = "";
      bar.removeAttribute("aria-valuenow");
    } else {
      this.#fill.style.width = `${(100 * share).toFixed(1)}%`;
      bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    }
  }

  #onCancel() {
    if (!this.#cancel) return;
    this.#stop.disabled = true;
    this.#cancelling = true;
    this.#says.textContent = this.#t("cancelling");
    Promise.resolve(this.#cancel()).catch((err) => {
      this.#cancelling = false;
      this.#stop.disabled = false;
      this.#on.failed(err);
    });
  }
}
