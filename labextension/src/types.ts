/** What the server sends: gpunb/server/openapi.yaml in TypeScript. Times are Unix seconds, money is US dollars. */

import type { Run, Session as CardSession } from '../../gpunb/notebook/widgets/static/panel';
import type { CloudFailure, Facets, Offer } from '../../gpunb/notebook/widgets/static/picker';

export type { CloudFailure, Facets, Offer, Run };

export interface Port {
  host_port: number;
  local_port: number;
  link: string;
  reverse: boolean;
  here: boolean;
  since: number;
}

export interface Gpu {
  name: string;
  util: number | null;
  memory: [number, number] | null;
}

export interface Sample {
  at: number;
  cpu: number | null;
  gpus: Gpu[];
}

export interface Session extends CardSession {
  usd_h: number;
  cost: { gpu: number; disk: number; bandwidth: number; total: number };
  lease: NonNullable<CardSession['lease']>;
  ports: Port[];
  load: Sample | null;
  can: string[];
}

export interface Telemetry {
  session: string;
  at: number[];
  gpu: (number | null)[][];
  gpu_memory: (number | null)[][];
}

export interface Problem {
  message: string;
  reason?: string;
  hint?: string | null;
  bill?: string | null;
}

export interface Brought {
  path: string;
  to: string[];
  files: number;
  bytes: number;
}

export interface Receipt {
  session_id: string;
  name: string;
  provider: string;
  instance_id: string;
  gpu: string;
  gpus: number;
  started: number;
  ended: number;
  confirmed: number | null;
  cost: Session['cost'];
  provider_usd: number | null;
  why: string;
  runs: { kind?: string; name?: string; state?: string; seconds?: number | null }[];
  saved: string[];
  unsaved: string[][];
  brought: Brought[];
}

export interface Job {
  id: string;
  kind: 'rent' | 'stop' | 'start' | 'down' | 'transfer';
  session: string | null;
  state: 'queued' | 'running' | 'cancelling' | 'done' | 'failed' | 'cancelled';
  title: string;
  done: number | null;
  total: number | null;
  says: string;
  error: Problem | null;
  result?: Record<string, unknown> | null;
  ended?: number | null;
}

export interface Transfer {
  id: string;
  session: string;
  direction: 'up' | 'down';
  what: string;
  bytes: number;
  files: number;
  state: string;
}

export interface Notice {
  tone: 'ok' | 'info' | 'warn' | 'bad';
  text: string;
  session: string | null;
  actions: string[];
  at?: number;
}

export interface Supervisor {
  alive: boolean;
  here: boolean;
  error?: string | null;
}

export interface Found {
  orphans: { provider: string; instance_id: string; usd_h: number; says: string }[];
  unknown: { id: string; name: string; says: string }[];
}

export interface CloudInfo {
  name: string;
  title: string;
  key: boolean;
  needs_key?: boolean;
  asked?: boolean;
  simulated: boolean;
  login: string | null;
}

export interface Status {
  version: string;
  api: number;
  user: string;
  supervisor: Supervisor;
  found: Found;
  simulated: boolean;
  clouds: CloudInfo[];
}

export interface Snapshot {
  sessions: Session[];
  jobs: Job[];
  transfers: Transfer[];
  supervisor: Supervisor;
  found: Found;
  notices: Notice[];
}

export interface Removed {
  id: string;
  name: string;
  state: string;
}

export interface Event {
  n: number;
  type: string;
  data: unknown;
}

export interface Question {
  token: string;
  says: string;
  usd: number | null;
  expires_s: number;
}

export interface FileEntry {
  name: string;
  path: string;
  type: 'file' | 'directory' | 'link' | 'other';
  size: number;
  mtime: number;
}

export interface Log {
  text: string;
  /** The same with its colours, as ANSI sequences. */
  coloured?: string;
  next: number;
  ended: boolean;
  state: string;
}

export interface Offers {
  offers: Offer[];
  facets: Facets;
  failed: CloudFailure[];
  hours: number;
  disk_gb: number;
}
