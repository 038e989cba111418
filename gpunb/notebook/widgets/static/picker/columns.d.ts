/** The picker's columns. See columns.js. */

export const COLUMNS: { key: string; label: string; unit?: string }[];
