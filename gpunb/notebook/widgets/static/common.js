// What the picker and the session cards share: strangers' texts, amounts, elements, words.
//
// Every text that a cloud or a host has written is cleaned, cut, and set by textContent.

const TEXT_MAX = 160;
const SETTLE_MS = 500; // a second click so soon after the first is not an answer to the question

// control characters, and the marks that hide or reorder text
// eslint-disable-next-line no-control-regex
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
// the same but for tabs and line ends
// eslint-disable-next-line no-control-regex
const HIDDEN_IN_LINES = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Text of a stranger as it may be shown: one line, no hidden marks, not longer than `max`. */
export function clean(value, max = TEXT_MAX) {
  if (value === null || value === undefined) return "";
  const raw = String(value);
  const cut = raw.length > max * 4 ? raw.slice(0, max * 4) : raw;
  const text = cut.replace(HIDDEN, " ").replace(/\s+/g, " ").trim();
  return text.length > max || raw.length > cut.length ? `${text.slice(0, max - 1)}…` : text;
}

/** What a program printed: its lines stay, and of more than `max` characters the end is kept. */
export function cleanLines(value, max) {
  const text = String(value).replace(HIDDEN_IN_LINES, "");
  return text.length > max ? `…${text.slice(-max)}` : text;
}

// -- amounts

export const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

export const list = (value) => (Array.isArray(value) ? value : []);

/** An amount of US dollars. */
export function money(value) {
  const usd = number(value);
  if (usd === null) return "?";
  const digits = usd !== 0 && Math.abs(usd) < 1 ? 3 : 2;
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/** What something costs: nothing is "free". */
export const price = (value) => (value === 0 ? "free" : money(value));

export function duration(seconds) {
  const s = number(seconds);
  if (s === null) return "?";
  if (s < 90) return `${Math.max(0, Math.round(s))} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${+(s / 3600).toFixed(1)} h`;
  return `${+(s / 86400).toFixed(1)} d`;
}

// -- elements

export function node(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A button that looks as its class says, and not as a button. */
export function bareButton(className, text, onClick) {
  const made = node("button", className, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

export const button = (className, text, onClick) => bareButton(`gpunb-button ${className}`, text, onClick);

/** The yes to a question: neither a held key nor the second half of a double click is one. */
export function yesButton(className, text, onYes) {
  const shownAt = performance.now();
  const made = button(className, text, (event) => {
    if (event.detail > 1 || performance.now() - shownAt < SETTLE_MS) return;
    onYes();
  });
  made.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
  return made;
}

/** A new text only if it is one: screen readers say it again else. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An error's message, what is known of the bill, and what to do: elements for a note. */
export function errorParts(error, max) {
  const parts = [node("span", "", clean(error?.message ?? error, max))];
  if (error?.bill) parts.push(node("span", "gpunb-bill", clean(error.bill, max / 2)));
  if (error?.hint) parts.push(node("span", "gpunb-hint", clean(error.hint, max / 2)));
  return parts;
}

// -- words

/** `t(key, values)`: the words of `own`, or those in `given` instead, with the values in their {places}. */
export function translator(own, given) {
  const words = { ...own, ...(given || {}) };
  return (key, values = {}) =>
    String(words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
