// What went wrong: an error, the clouds that did not answer, and a field for the key that one lacks.

import { button, clean, errorParts, list, node } from "../common.js";

const FAILURES_MAX = 50;
const KEY_MAX = 4096;

export class Notes {
  element = node("div", "gpunb-notes");
  #t;
  #login;
  #askKey;
  #onChange;
  #trouble = null;
  #failures = [];

  /** `login(provider, key)` may be left out; without `askKey` it asks for the key itself. */
  constructor({ t, login, askKey, onChange }) {
    this.#t = t;
    this.#login = login;
    this.#askKey = askKey;
    this.#onChange = onChange;
  }

  /** `{message, bill, hint}`, or null. */
  setError(error) {
    this.#trouble = error && error.message ? error : null;
    this.#draw();
  }

  setFailures(failures) {
    this.#failures = list(failures)
      .filter((one) => one && typeof one === "object")
      .slice(0, FAILURES_MAX);
    this.#draw();
  }

  #draw() {
    this.element.textContent = "";
    if (this.#trouble) {
      const line = node("div", "gpunb-note gpunb-bad");
      line.setAttribute("role", "alert");
      line.append(...errorParts(this.#trouble, 800));
      this.element.append(line);
    }
    this.element.append(...this.#failures.map((one) => this.#failure(one)));
    this.#onChange();
  }

  #failure(one) {
    const line = node("div", "gpunb-note gpunb-warn");
    const words = { provider: clean(one.provider, 40), message: clean(one.message, 400) };
    line.append(node("span", "", this.#t("no_answer", words)));
    const needsKey = one.login ?? /\blogin\b/.test(String(one.hint ?? ""));
    if (needsKey && this.#login) {
      line.append(button("gpunb-login", this.#t("login"), () => this.#ask(one.provider, line)));
    } else if (one.hint) line.append(node("span", "gpunb-hint", clean(one.hint, 400)));
    return line;
  }

  #ask(provider, line) {
    if (!this.#askKey) this.#login(provider);
    else if (!line.querySelector("form")) this.#askHere(provider, line);
  }

  #askHere(provider, line) {
    const form = node("form", "gpunb-key");
    const input = node("input", "gpunb-input");
    input.type = "password";
    input.autocomplete = "off";
    input.maxLength = KEY_MAX;
    input.placeholder = this.#t("key", { provider: clean(provider, 40) });
    input.setAttribute("aria-label", input.placeholder);
    const keep = node("button", "gpunb-button", this.#t("keep"));
    keep.type = "submit";
    form.append(input, keep);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = input.value;
      if (!key.trim()) return;
      input.value = ""; // it stays nowhere on the page
      keep.disabled = true;
      Promise.resolve(this.#login(provider, key)).catch((err) => this.setError(thrown(err)));
    });
    line.append(form);
    input.focus();
  }
}

/** What was thrown, as an error to show. */
export const thrown = (err) => ({ message: err?.message ?? String(err), bill: err?.bill, hint: err?.hint });
