// What a run printed, under its session's runs.

import { button, clean, cleanLines, node, put } from "../common.js";

const LOG_MAX = 200000; // characters
const AT_END = 8; // so many pixels from it, the log follows

export class RunLog {
  element = node("div", "gpunb-logbox");
  #t;
  #on;
  #run = null; // whose log it is

  /** `on` has read(run), which may answer with the text, closed() and failed(error). */
  constructor(t, on) {
    this.#t = t;
    this.#on = on;
    this.element.hidden = true;
  }

  get isOpen() {
    return !this.element.hidden;
  }

  open(run) {
    this.#run = run.id;
    this.element.textContent = "";
    const name = clean(run.name, 80) || clean(run.id, 40);
    const line = node("div", "gpunb-log-head");
    line.append(node("span", "gpunb-title", this.#t("log_of", { name })), button("gpunb-small", this.#t("close"), () => this.close()));
    const text = node("pre", "gpunb-log", "…");
    text.tabIndex = 0;
    this.element.append(line, text);
    this.element.hidden = false;
    Promise.resolve(this.#on.read(run.id)).then(
      (answer) => {
        if (typeof answer === "string") this.set(run.id, answer);
      },
      (err) => {
        this.close();
        this.#on.failed(err);
      },
    );
  }

  /** All that `run` has printed so far. */
  set(run, text) {
    const pre = this.element.querySelector("pre");
    if (!pre || this.#run !== run) return;
    const follow = pre.scrollHeight - pre.scrollTop - pre.clientHeight < AT_END;
    put(pre, cleanLines(text, LOG_MAX));
    if (follow) pre.scrollTop = pre.scrollHeight;
  }

  close() {
    this.#run = null;
    this.element.hidden = true;
    this.element.textContent = "";
    this.#on.closed();
  }
}
