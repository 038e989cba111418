// The panel of all sessions, a card each.
//
// Used by the notebook's widget (`%gpu panel`) and by JupyterLab's left panel; no framework.

import { clean, list, money, node, number, put, translator } from "./common.js";
import { createSessionCard } from "./panel/card.js";
import { CARD_WORDS } from "./panel/words.js";

const MANY = 3; // so many sessions are shown opened, more are closed
const TICK_MS = 1000;

/** All sessions, one card each; cards of many sessions are closed until they are clicked. */
export function createPanel(el, options = {}) {
  const t = translator(CARD_WORDS, options.strings);
  const root = node("section", "gpunb gpunb-panel");
  root.setAttribute("aria-label", t("title"));
  const sum = node("div", "gpunb-sum");
  sum.setAttribute("role", "status");
  const shelf = node("div", "gpunb-cards");
  const none = node("div", "gpunb-hint", t("none"));
  const trouble = node("div", "gpunb-note gpunb-bad");
  trouble.hidden = true;
  trouble.setAttribute("role", "alert");
  root.append(sum, trouble, none, shelf);
  el.append(root);
  const cards = new Map();
  const looked = new Set();

  function look() {
    options.onLook?.([...looked]);
  }

  function update(sessions, more = {}) {
    const given = list(sessions);
    none.hidden = given.length > 0;
    const seen = new Set();
    let changed = false;
    const open = options.open ?? given.length <= MANY;
    for (const one of given) {
      seen.add(one.id);
      let card = cards.get(one.id);
      if (!card) {
        card = createSessionCard(shelf, {
          ...options,
          open,
          onOpen(ident, opened) {
            if (ident === undefined) return;
            if (opened) looked.add(ident);
            else looked.delete(ident);
            look();
          },
        });
        cards.set(one.id, card);
        if (open) {
          looked.add(one.id);
          changed = true;
        }
      }
      card.update(one, more.telemetry?.[one.id], more.runs?.[one.id], more.transfers?.[one.id]);
    }
    for (const [ident, card] of cards) {
      if (seen.has(ident)) continue;
      card.destroy();
      cards.delete(ident);
      changed = looked.delete(ident) || changed;
    }
    const spent = given.reduce((all, one) => all + (number(one.cost?.total) ?? 0), 0);
    const hourly = given.reduce((all, one) => all + (number(one.usd_h) ?? 0), 0);
    const count = t(given.length === 1 ? "one" : "many", { n: given.length });
    put(sum, given.length ? `${count} · ${t("spent", { spent: money(spent) })} · ${t("hour", { usd: money(hourly) })}` : "");
    if (changed) look();
  }

  const timer = setInterval(() => {
    if (document.visibilityState !== "hidden") for (const card of cards.values()) card.tick();
  }, TICK_MS);

  return {
    update,
    card: (ident) => cards.get(ident),
    setError(error) {
      trouble.textContent = [clean(error?.message, 400), clean(error?.hint, 300)].filter(Boolean).join(" · ");
      trouble.hidden = !error;
    },
    destroy() {
      clearInterval(timer);
      for (const card of cards.values()) card.destroy();
      root.remove();
    },
  };
}
