/** The panel of all sessions, a card each. See panel.js; no framework. */

/** As `gpunb.commands.shapes.session_shape` makes it; `can` may name what the cloud can do. */
export interface Session {
  id: string;
  name: string;
  provider: string;
  state: string;
  simulated?: boolean;
  detail?: string;
  tone?: string;
  gpu?: string;
  gpus?: number;
  trust?: string;
  usd_h?: number | null;
  cost?: { total?: number | null; [part: string]: number | null | undefined };
  lease?: {
    deadline?: number | null;
    idle_s?: number | null;
    idle_ends?: number | null;
    budget_usd?: number | null;
    ends?: number | null;
    ends_by?: string;
    soon?: boolean;
  };
  created?: number | null;
  ready?: number | null;
  ended?: number | null;
  runs_active?: number;
  next?: string;
  can?: string[];
  [field: string]: unknown;
}

/** Percent, oldest first: one list for each GPU. */
export interface Telemetry {
  at?: number[];
  gpu: (number | null)[][];
  memory?: (number | null)[][];
  [field: string]: unknown;
}

export interface Run {
  id: string;
  name?: string;
  state: string;
  seconds?: number | null;
  usd?: number | null;
  [field: string]: unknown;
}

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
