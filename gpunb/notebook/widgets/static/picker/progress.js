// A rental on its way: the steps, how far it is, what it waits for, and Cancel.

import { button, clean, duration, list, node, number, put } from "../common.js";

const STEPS = ["requested", "creating", "booting", "reachable", "ready"];
const TICK_MS = 1000;
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
  #time = node("span", "gpunb-progress-time");
  #hint = node("div", "gpunb-hint gpunb-progress-hint");
  #next = node("div", "gpunb-buttons gpunb-progress-next");
  #began = 0;
  #expected = null; // seconds until it should be ready
  #timer = 0;
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

  /** `expected`: seconds until it should be ready, if that is known. */
  begin(title, expected) {
    this.#cancelling = false;
    this.#began = performance.now();
    this.#expected = number(expected);
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#stop.disabled = false;
    this.set({ title, state: "requested", says: "" });
  }

  /** How long it has taken, and how long it should. */
  #tick() {
    if (!this.#began) return put(this.#time, "");
    const elapsed = duration((performance.now() - this.#began) / 1000);
    const ready = this.#expected === null ? "" : duration(this.#expected);
    const words = this.#timer === 0 ? "took" : ready ? "elapsed_of" : "elapsed";
    put(this.#time, this.#t(words, { elapsed, ready }));
  }

  /** Nothing is on its way any more. */
  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
  }

  close() {
    this.stop();
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
    if (!over || this.#timer) {
      if (over) this.stop();
      this.#tick();
    }
    put(this.#hint, over ? "" : this.#t("goes_on"));
    this.#offer(list(given.actions));
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
    const head = node("div", "gpunb-progress-head");
    head.append(this.#title, this.#time);
    line.append(this.#next);
    this.element.append(head, this.#steps, this.#bar, this.#says, this.#hint, line);
  }

  /** What can be done now: buttons, the first of them the one to press. */
  #offer(actions) {
    if (this.#next.childElementCount === actions.length) return; // what has the focus stays
    this.#next.replaceChildren(
      ...actions.map(({ text, onClick }, at) => button(at ? "" : "gpunb-primary", clean(text, 80), onClick)),
    );
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
