/** The panel of all sessions, a card each. See panel.js; no framework. */

import type { Run, SessionCard } from "../../../../labextension/src/types";

export type { Run };

/** A card's session. */
export type Session = SessionCard;

/** Percent, oldest first: one list for each GPU. */
export interface Telemetry {
  at?: number[];
  gpu: (number | null)[][];
  memory?: (number | null)[][];
  [field: string]: unknown;
}

/** Work that goes on with a session. */
export interface Transfer {
  id: string;
  title?: string;
  state?: string;
  done?: number | null;
  total?: number | null;
  says?: string;
  [field: string]: unknown;
}

export type Action = 'extend' | 'stop' | 'start' | 'down' | 'cancel' | 'log' | 'log-closed';

/** extend: `hours`, `idle_s` (the new limit) or `add_usd`; cancel and log: `run`; `token` from `onConfirm`. */
export interface ActionArgs {
  hours?: number;
  idle_s?: number;
  add_usd?: number;
  run?: string;
  token?: string;
}

export interface CardOptions {
  /** After the user has said yes. "log" may answer with the text. Throw `{message, bill, hint}` to show it. */
  onAction(action: Action, session: string, args: ActionArgs): unknown;
  /** The question, with the money in it, from whoever will do it. */
  onConfirm?(action: Action, session: string, args: ActionArgs): Promise<{ says: string; token?: string }>;
  onOpen?(session: string | undefined, open: boolean): void;
  /** What is offered; all, if left out. */
  actions?: string[];
  open?: boolean;
  /** Unix seconds. */
  now?(): number;
  strings?: Record<string, string>;
}

export interface CardHandle {
  /** What is undefined stays as it is. */
  update(session: Session, telemetry?: Telemetry | null, runs?: Run[], transfers?: Transfer[]): void;
  setLog(run: string, text: string): void;
  setNote(text: string): void;
  setError(error: { message: string; bill?: string; hint?: string }): void;
  /** Bring what changes by the second up to date; a panel does it by itself. */
  tick(): void;
  fold(open: boolean): void;
  readonly element: HTMLElement;
  destroy(): void;
}

export interface PanelOptions extends CardOptions {
  /** The sessions whose cards are open: telemetry of the others is not needed. */
  onLook?(sessions: string[]): void;
}

export interface PanelHandle {
  update(
    sessions: Session[],
    more?: {
      telemetry?: Record<string, Telemetry>;
      runs?: Record<string, Run[]>;
      transfers?: Record<string, Transfer[]>;
    },
  ): void;
  card(session: string): CardHandle | undefined;
  setError(error: { message: string; hint?: string } | null): void;
  destroy(): void;
}

export function createPanel(el: HTMLElement, options: PanelOptions): PanelHandle;
