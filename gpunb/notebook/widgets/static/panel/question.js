// The question before an action: nothing is done unasked.

import { button, clean, node, yesButton } from "../common.js";

export class ActionQuestion {
  element = node("div", "gpunb-dialog");
  #t;
  #id;
  #onClose;
  #asked = null; // what is asked about now

  constructor({ t, id, onClose }) {
    this.#t = t;
    this.#id = `${id}-says`;
    this.#onClose = onClose;
    this.element.hidden = true;
    this.element.setAttribute("role", "alertdialog");
    this.element.setAttribute("aria-labelledby", this.#id);
  }

  /** From the moment somebody asks until there is an answer. */
  get open() {
    return this.#asked !== null;
  }

  /**
   * Ask what `says`, or what `confirm` says, if there is one; a yes calls `onYes(token)`.
   *
   * What `confirm` throws is thrown.
   */
  async ask(action, says, confirm, onYes) {
    const mine = (this.#asked = { action });
    let said = { says };
    if (confirm) {
      this.#show(this.#t("asking"));
      try {
        const answer = await confirm();
        if (answer) said = { says: clean(answer.says, 600) || says, token: answer.token };
      } catch (err) {
        if (this.#asked === mine) this.close();
        throw err;
      }
      if (this.#asked !== mine) return; // destroyed, or put aside
    }
    const words = this.#t("sure", { action: this.#t(action).toLowerCase() });
    const yes = yesButton(action === "down" ? "gpunb-danger gpunb-yes" : "gpunb-primary gpunb-yes", words, () => {
      this.close();
      onYes(said.token);
    });
    this.#show(said.says, yes);
  }

  close() {
    const action = this.#asked?.action;
    this.drop();
    this.element.hidden = true;
    this.#onClose(action);
  }

  /** No answer is waited for any more. */
  drop() {
    this.#asked = null;
  }

  #show(says, ...yes) {
    this.element.textContent = "";
    const text = node("p", "gpunb-says", says);
    text.id = this.#id;
    const line = node("div", "gpunb-buttons");
    const no = button("gpunb-no", this.#t("no"), () => this.close());
    line.append(...yes, no);
    this.element.append(text, line);
    this.element.hidden = false;
    no.focus({ preventScroll: true });
  }
}
