// Where the picker's parts stand: the bar above, facets and table, the line that says why, the foot.

import { button, node } from "../common.js";

const FIND_MAX = 200;

function findField(t) {
  const find = node("input", "gpunb-input gpunb-find");
  find.type = "search";
  find.placeholder = t("search");
  find.setAttribute("aria-label", t("search"));
  find.setAttribute("aria-keyshortcuts", "/");
  find.maxLength = FIND_MAX;
  return find;
}

/** The elements that `createPicker` writes into; `on` has toggle(), search() (or none) and rent(). */
export function buildFrame({ t, id, on, terms, notes, facets, table, question, progress }) {
  const root = node("section", "gpunb gpunb-picker");
  root.setAttribute("aria-label", t("title"));
  // JupyterLab's one-key commands must not run while somebody picks
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  const find = findField(t);
  const toggle = button("gpunb-toggle", t("filters"), on.toggle);
  toggle.setAttribute("aria-expanded", "false");
  toggle.setAttribute("aria-controls", facets.id);
  const again = button("gpunb-again", t("again"), on.search);
  again.hidden = !on.search;
  again.title = t("again");
  const bar = node("div", "gpunb-bar");
  bar.append(find, toggle, ...terms, again);
  const body = node("div", "gpunb-body");
  body.append(facets, table);
  const why = node("div", "gpunb-why");
  why.id = `${id}-why`;
  const count = node("div", "gpunb-count");
  count.setAttribute("role", "status");
  const rent = button("gpunb-primary gpunb-rent", t("rent"), on.rent);
  rent.disabled = true;
  const foot = node("div", "gpunb-foot");
  foot.append(count, rent);
  root.append(bar, notes, body, why, foot, question, progress);
  return { root, find, toggle, again, why, count, rent, foot };
}
