// The offer picker: facets, a virtual table, a question, progress.
//
// Used by the notebook's widget and by JupyterLab's Rent dialog; no framework.

import { clean, node, translator } from "./common.js";
import { Facets } from "./picker/facets.js";
import { buildFrame } from "./picker/frame.js";
import { Notes, thrown } from "./picker/notes.js";
import { Offers } from "./picker/offers.js";
import { Progress } from "./picker/progress.js";
import { RentalQuestion } from "./picker/question.js";
import { Table } from "./picker/table.js";
import { Terms } from "./picker/terms.js";
import { PICKER_WORDS } from "./picker/words.js";

const NARROW = 560; // pixels
const MEDIUM = 980;

let pickers = 0;

export function createPicker(el, options = {}) {
  const t = translator(PICKER_WORDS, options.strings);
  const id = `gpunb-picker-${(pickers += 1)}`;
  let gone = false;

  // -- what is seen

  const offers = new Offers(t);
  const terms = new Terms({ t, options, onHours: repaint, onPause: search });
  const facets = new Facets({ t, id: `${id}-facets`, offers, onChange: changed, onClear: clearFilters });
  const table = new Table({ t, id, offers, terms, onSort: sortBy, onLook: tell, onChoose: ask });
  const notes = new Notes({ t, login: options.onLogin, askKey: options.askKey, onChange: measure });
  const question = new RentalQuestion({
    t,
    id,
    terms,
    confirm: options.onConfirm,
    on: { show: onQuestion, yes: begin, no: onAnswered, refused: onRefused },
  });
  const progress = new Progress({
    t,
    cancel: options.onCancel,
    on: { shown: onProgress, changed: measure, closed: onProgress, back: onBack, failed: (err) => setError(thrown(err)) },
  });

  const { root, find, toggle, again, why, count, rent, foot } = buildFrame({
    t,
    id,
    on: { toggle: () => showFacets(!root.classList.contains("gpunb-open")), search: options.onSearch && search, rent: ask },
    terms: terms.elements,
    notes: notes.element,
    facets: facets.element,
    table: table.element,
    question: question.element,
    progress: progress.element,
  });
  el.append(root);

  const busy = () => root.classList.contains("gpunb-busy");

  // -- which offers, and which of them

  function refilter() {
    table.counted(offers.filter(find.value, table.active));
    const [shown, all] = [offers.view.length, offers.rows.length];
    count.textContent = t("shown", { shown: shown.toLocaleString("en-US"), all: all.toLocaleString("en-US") });
    if (!shown && !busy()) table.say(t(all ? "none" : "nothing"));
    facets.count();
    tell();
  }

  function changed() {
    refilter();
    table.toTop();
    if (table.active > 0) table.reveal();
    table.paint();
  }

  function sortBy(key) {
    offers.sortBy(key);
    table.showSort();
    refilter();
    table.paint();
    table.toTop();
  }

  function clearFilters() {
    offers.clearFilters();
    find.value = "";
    facets.build();
    changed();
    table.focus();
  }

  function showFacets(open) {
    root.classList.toggle("gpunb-open", open);
    toggle.setAttribute("aria-expanded", String(open));
    measure();
  }

  function search() {
    terms.stop();
    if (options.onSearch && !progress.open && terms.checkHours()) options.onSearch({ hours: terms.hours, disk_gb: terms.asked.disk_gb });
  }

  /** The line under the table: why the row that is looked at stands where it does; and what Rent would rent. */
  function tell() {
    const seen = table.looked;
    why.textContent = "";
    if (seen) {
      why.append(node("strong", "", `${seen.name} · ${seen.provider}${seen.region ? ` · ${seen.region}` : ""}`));
      why.append(node("span", "", seen.why ? ` ${seen.why}` : ""));
    } else why.textContent = offers.rows.length ? t("choose") : "";
    const mine = table.chosen;
    rent.disabled = !mine || progress.open || busy();
    rent.textContent = mine ? t("rent_for", { gpu: mine.name, total: terms.total(mine) }) : t("rent");
  }

  function repaint() {
    table.paint();
    tell();
  }

  function measure() {
    const width = root.clientWidth || el.clientWidth;
    const narrow = width > 0 && width < NARROW;
    root.classList.toggle("gpunb-narrow", narrow);
    root.classList.toggle("gpunb-medium", !narrow && width > 0 && width < MEDIUM);
    table.layOut(narrow);
    root.style.setProperty("--gp-row", `${table.rowHeight}px`);
    table.paint();
  }

  // -- renting: a question, then progress

  function ask() {
    const row = table.chosen;
    if (!row || progress.open || question.open || rent.disabled) return;
    if (!terms.checkHours()) return setError({ message: t("bad_hours") });
    if (!terms.checkBudget()) return setError({ message: t("bad_budget") });
    setError(null);
    if (options.onConfirm) {
      rent.disabled = true;
      rent.textContent = t("asking");
    }
    question.ask(row, { hours: terms.hours, budget: terms.budget });
  }

  function onQuestion() {
    foot.hidden = true;
    measure();
  }

  function onAnswered() {
    foot.hidden = progress.open;
    measure();
    tell();
    table.focus({ preventScroll: true });
  }

  function onRefused(err) {
    if (err?.message) setError({ message: err.message, hint: err.hint });
    tell();
  }

  function begin(row, given) {
    progress.begin(row.name, row.ready_s);
    Promise.resolve(options.onRent?.(row.offer, given)).catch((err) => {
      progress.close();
      setError(thrown(err));
    });
  }

  function onProgress() {
    foot.hidden = progress.open;
    root.classList.toggle("gpunb-renting", progress.open);
    measure();
    if (!progress.open) tell();
  }

  function onBack() {
    setError(null);
    table.focus();
  }

  // -- keys that work anywhere in the picker

  function onKey(event) {
    const typing = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) find.focus();
    else if (event.key === "Escape") {
      if (question.open) question.close();
      else if (event.target === find && find.value) {
        find.value = "";
        changed();
      } else if (root.classList.contains("gpunb-open")) {
        showFacets(false);
        toggle.focus();
      } else if (!table.isFocused(event.target)) table.focus();
      else return;
    } else if (event.target === find && (event.key === "ArrowDown" || event.key === "Enter")) {
      table.activate(Math.max(table.active, 0));
      table.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  find.addEventListener("input", changed);
  root.addEventListener("keydown", onKey);
  const watcher = typeof ResizeObserver === "undefined" ? null : new ResizeObserver(measure);
  watcher?.observe(root);

  // -- the handle

  function setBusy(text) {
    root.classList.toggle("gpunb-busy", Boolean(text));
    table.setBusy(Boolean(text));
    if (text) {
      count.textContent = clean(text, 200);
      if (!offers.rows.length) table.say(clean(text, 200));
    } else refilter();
    again.disabled = Boolean(text);
    tell();
  }

  function setError(error) {
    notes.setError(error);
  }

  function setOffers(given, facetsGiven, failed, answered = {}) {
    const before = table.chosen?.offer.key;
    terms.answered(answered);
    table.active = -1;
    offers.load(given, facetsGiven);
    root.classList.remove("gpunb-busy");
    table.setBusy(false);
    again.disabled = false;
    facets.build();
    refilter();
    if (before) table.active = offers.view.findIndex((at) => offers.rows[at].offer.key === before);
    tell();
    notes.setFailures(failed);
  }

  function setTerms(given) {
    terms.set(given);
    repaint();
  }

  function setProgress(given) {
    if (gone) return;
    if (given === null) progress.close();
    else progress.set(given);
  }

  facets.build();
  table.showSort();
  measure();
  tell();

  return {
    setOffers,
    setTerms,
    setBusy,
    setProgress,
    setError,
    focus: () => table.focus(),
    destroy() {
      gone = true;
      terms.stop();
      watcher?.disconnect();
      question.drop();
      progress.stop();
      root.remove();
    },
  };
}
