/** The offer picker. See picker.js; no framework. */

import type { CloudFailure, Facets, Offer } from "../../../../labextension/src/types";

export type { CloudFailure, Facets, Offer };

export interface Terms {
  hours: number;
  /** US dollars; null is no limit. */
  budget: number | null;
  /** What `onConfirm` gave. */
  token?: string;
}

export interface Confirmation {
  /** One sentence with the money. */
  says: string;
  usd?: number | null;
  token?: string;
}

export interface Progress {
  title?: string;
  done?: number | null;
  total?: number | null;
  says?: string;
  /** A session's state; "ready", "gone", "failed", "cancelled" and "unknown" are ends. */
  state?: string;
  over?: boolean;
  /** What can be done now; the first is the one to press. */
  actions?: { text: string; onClick(): unknown }[];
}

export interface PickerOptions {
  hours: number;
  disk_gb?: number;
  budget?: number | null;
  /** After the user has said yes. Throw `{message, hint}` to go back to the offers. */
  onRent(offer: Offer, terms: Terms): void | Promise<void>;
  /** Before the question is shown: what it will cost, in the words of who will be asked to rent. */
  onConfirm?(offer: Offer, terms: Terms): Promise<Confirmation>;
  /** Cancel while the rental is on its way; the end is for `setProgress` to tell. */
  onCancel?(): void | Promise<void>;
  /** "Refresh", or other hours. */
  onSearch?(terms: { hours: number; disk_gb: number }): void;
  /** With `askKey` the key that was typed, else none. */
  onLogin?(provider: string, key?: string): void | Promise<void>;
  askKey?: boolean;
  strings?: Record<string, string>;
}

export interface PickerHandle {
  setOffers(
    rows: Offer[],
    /** In the order in which values should be listed; the counts are made anew from the rows. */
    facets?: Facets | null,
    failed?: CloudFailure[] | null,
    terms?: { hours?: number; disk_gb?: number },
  ): void;
  setTerms(terms: { hours?: number; disk_gb?: number; budget?: number | null }): void;
  /** "" or null when it is over. */
  setBusy(text: string | null): void;
  /** null goes back to the offers. */
  setProgress(progress: Progress | null): void;
  setError(error: { message: string; hint?: string | null; bill?: string | null } | null): void;
  focus(): void;
  destroy(): void;
}

export function createPicker(el: HTMLElement, options: PickerOptions): PickerHandle;
