/** What the picker and the cards say amounts and strangers' texts with. See common.js. */

/** One line without hidden marks, not longer than `max`. */
export function clean(value: unknown, max?: number): string;
/** An amount of US dollars; "?" if it is none. */
export function money(value: unknown): string;
/** As `money`, but nothing is "free". */
export function price(value: unknown): string;
export function duration(seconds: unknown): string;
