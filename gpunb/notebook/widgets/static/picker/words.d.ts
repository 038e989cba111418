/** See words.js. */

/** A column's head, which a filter of the same field has too. */
export function headOf(column: { label: string; unit?: string }): string;
