// The limits of a lease: how much of each is used, and a button that gives more.

import { button, duration, money, node, number, put } from "../common.js";

const NEAR = 0.9; // from here on a limit is shown to be near
const MORE_HOURS = 1;
const MORE_IDLE_S = 1800;

class LeaseBar {
  element = node("div", "gpunb-lease");
  #extend;
  #track = node("div", "gpunb-track");
  #fill = node("div", "gpunb-fill");
  #text = node("span", "gpunb-lease-text");
  #press;

  constructor(name, t, onExtend) {
    const track = this.#track;
    this.#extend = t("extend");
    track.setAttribute("role", "meter");
    track.setAttribute("aria-label", t(name));
    track.setAttribute("aria-valuemin", "0");
    track.setAttribute("aria-valuemax", "100");
    track.append(this.#fill);
    this.#press = button("gpunb-extend", this.#extend, onExtend);
    this.element.append(node("span", "gpunb-lease-name", t(name)), track, this.#text, this.#press);
  }

  /** `used` is a share, null if there is no limit; `more` is what a press would give. */
  update({ used, says, more, can }) {
    const track = this.#track;
    const press = this.#press;
    const share = used === null ? 0 : Math.min(1, Math.max(0, used));
    this.#fill.style.width = `${(100 * share).toFixed(1)}%`;
    track.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    track.setAttribute("aria-valuetext", says);
    track.classList.toggle("gpunb-near", share > NEAR);
    put(this.#text, says);
    press.hidden = !can;
    const what = `${this.#extend}: ${more}`;
    if (press.title !== what) {
      press.title = what;
      press.setAttribute("aria-label", what);
    }
  }
}

export class Leases {
  element = node("div", "gpunb-leases");
  session = null; // whose
  #t;
  #time;
  #idle;
  #money;

  /** `onExtend(args, words)`: somebody wants more of it. */
  constructor(t, onExtend) {
    this.#t = t;
    this.#time = new LeaseBar("time", t, () => onExtend({ hours: MORE_HOURS }, t("extend_time")));
    this.#idle = new LeaseBar("idle", t, () => {
      onExtend({ idle_s: (this.session?.lease?.idle_s ?? 0) + MORE_IDLE_S }, t("extend_idle"));
    });
    this.#money = new LeaseBar("money", t, () => onExtend({ add_usd: this.#more }, this.#moreMoney));
    this.element.append(this.#time.element, this.#idle.element, this.#money.element);
  }

  /** As they are `now` (Unix seconds); `can` is whether they may be extended at all. */
  update(now, can) {
    const { session } = this;
    const lease = session.lease ?? {};
    const extensible = can && !["gone", "failed", "ending"].includes(session.state);
    this.#showTime(number(lease.deadline), now, extensible);
    this.#showIdle(number(lease.idle_s), number(lease.idle_ends), now, extensible);
    this.#showMoney(number(lease.budget_usd), number(session.cost?.total), extensible);
  }

  #showTime(deadline, now, extensible) {
    const t = this.#t;
    const begun = number(this.session.ready) ?? number(this.session.created) ?? now;
    this.#time.update({
      used: deadline === null ? null : (now - begun) / Math.max(1, deadline - begun),
      says: deadline === null ? t("never") : this.#left(deadline - now),
      more: t("extend_time"),
      can: extensible && deadline !== null,
    });
  }

  #showIdle(idle, ends, now, extensible) {
    const t = this.#t;
    const working = (number(this.session.runs_active) ?? 0) > 0;
    let says = t("never");
    if (idle !== null) says = working ? t("busy") : ends === null ? duration(idle) : this.#left(ends - now);
    this.#idle.update({
      used: idle === null || ends === null || working ? null : 1 - (ends - now) / Math.max(1, idle),
      says,
      more: t("extend_idle"),
      can: extensible && idle !== null,
    });
  }

  #showMoney(budget, spent, extensible) {
    const t = this.#t;
    this.#money.update({
      used: budget === null || spent === null ? null : spent / Math.max(1e-9, budget),
      says: budget === null ? t("never") : t("of", { spent: money(spent), budget: money(budget) }),
      more: this.#moreMoney,
      can: extensible && budget !== null,
    });
  }

  #left(seconds) {
    return seconds > 0 ? this.#t("left", { left: duration(seconds) }) : this.#t("over");
  }

  /** US dollars that a press adds: about an hour's. */
  get #more() {
    return Math.max(1, Math.ceil(number(this.session?.usd_h) ?? 1));
  }

  get #moreMoney() {
    return this.#t("extend_money", { usd: money(this.#more) });
  }
}
