// Fields for numbers that people type.

import { node } from "../common.js";

export function decimalInput(value) {
  const input = node("input", "gpunb-input gpunb-short");
  input.type = "text";
  input.inputMode = "decimal";
  input.maxLength = 12;
  input.value = value;
  return input;
}

/** The number that was typed, `fallback` if nothing was, NaN if it is none above 0 and up to `most`. */
export function amount(input, most, fallback) {
  const text = input.value.trim().replace(",", ".");
  if (text === "") return fallback;
  const value = Number(text);
  return Number.isFinite(value) && value > 0 && value <= most ? value : NaN;
}

/** Whether `value` is no NaN, which the field then shows. */
export function checked(input, value) {
  input.setAttribute("aria-invalid", Number.isNaN(value) ? "true" : "false");
  return !Number.isNaN(value);
}
