// The question before a rental, with the money in it, in the words of who will rent.

import { button, clean, money, node, number, price, yesButton } from "../common.js";

export class RentalQuestion {
  element = node("div", "gpunb-dialog");
  #t;
  #id;
  #terms;
  #confirm;
  #on;
  #asked = null; // what is asked about now

  /** `confirm` knows what it will cost; `on` has show(), yes(row, given), no(), refused(error). */
  constructor({ t, id, terms, confirm, on }) {
    this.#t = t;
    this.#id = `${id}-says`;
    this.#terms = terms;
    this.#confirm = confirm;
    this.#on = on;
    this.element.hidden = true;
    this.element.setAttribute("role", "alertdialog");
    this.element.setAttribute("aria-labelledby", this.#id);
  }

  /** From the moment somebody asks until there is an answer. */
  get open() {
    return this.#asked !== null;
  }

  /** Ask about `row`, for the `given` hours and budget. */
  async ask(row, given) {
    const mine = (this.#asked = { row });
    const own = this.#own(row, given);
    if (!this.#confirm) {
      this.#show(row, given, own);
      return;
    }
    try {
      const said = await this.#confirm(row.offer, given);
      if (this.#asked !== mine) return; // destroyed, or put aside
      if (!said) throw new Error("");
      const usd = number(said.usd);
      this.#show(
        row,
        { ...given, token: said.token },
        { says: clean(said.says, 600) || own.says, total: usd === null ? own.total : price(usd) },
      );
    } catch (err) {
      if (this.#asked !== mine) return;
      this.#asked = null;
      this.#on.refused(err);
    }
  }

  close() {
    this.drop();
    this.element.hidden = true;
    this.#on.no();
  }

  /** No answer is waited for any more. */
  drop() {
    this.#asked = null;
  }

  /** The question in our own words, where nobody knows better. */
  #own(row, { hours, budget }) {
    const t = this.#t;
    const total = this.#terms.total(row);
    const says = t("confirm", {
      gpu: row.name,
      provider: row.provider,
      where: row.region ? ` (${row.region})` : "",
      hours,
      total,
      usd_h: price(row.usd_h),
      limit: budget === null ? "" : t("confirm_budget", { budget: money(budget) }),
    });
    return { says: row.isSpot ? says + t("confirm_spot") : says, total };
  }

  #show(row, given, { says, total }) {
    const { element } = this;
    element.textContent = "";
    const text = node("p", "gpunb-says", says);
    text.id = this.#id;
    const yes = yesButton("gpunb-primary gpunb-yes", this.#t("confirm_yes", { total }), () => {
      this.close();
      this.#on.yes(row, given);
    });
    const no = button("gpunb-no", this.#t("confirm_no"), () => this.close());
    const line = node("div", "gpunb-buttons");
    line.append(yes, no);
    element.append(text, line);
    element.hidden = false;
    this.#on.show();
    yes.focus();
  }
}
