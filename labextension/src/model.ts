/** Sessions, runs, load, jobs and transfers by id; a snapshot replaces all, an event changes one. */

import type { CostNow, Found, Job, Removed, Run, SampleOf, Session, Snapshot, Supervisor, Telemetry, Transfer } from './types';

const RUNS_KEPT = 50;
const SAMPLES_KEPT = 120;
const ENDED_KEPT = 20;

export class SessionModel {
  readonly sessions = new Map<string, Session>();
  readonly runs = new Map<string, Run[]>();
  readonly telemetry = new Map<string, Telemetry>();
  readonly jobs = new Map<string, Job>();
  readonly transfers = new Map<string, Transfer>();
  supervisor: Supervisor | null = null;
  found: Found = { orphans: [], unknown: [] };
  /** When the money was counted. */
  countedAt = Date.now();

  get live(): Session[] {
    return [...this.sessions.values()];
  }

  /** What the live sessions cost an hour. */
  get hourly(): number {
    return this.live.reduce((sum, one) => sum + (one.usd_h || 0), 0);
  }

  /** What they have cost, up to this second. */
  get spent(): number {
    const since = Math.min(Math.max(0, Date.now() - this.countedAt), 120_000) / 3_600_000;
    return this.live.reduce((sum, one) => sum + (one.cost.total || 0), 0) + this.hourly * since;
  }

  named(nameOrId: string): Session | undefined {
    return this.sessions.get(nameOrId) ?? this.live.find(one => one.name === nameOrId);
  }

  protected replace(given: Partial<Snapshot>): void {
    if (given.sessions) {
      this.sessions.clear();
      for (const one of given.sessions) this.sessions.set(one.id, one);
      for (const id of [...this.runs.keys(), ...this.telemetry.keys()]) if (!this.sessions.has(id)) this.forget(id);
      this.countedAt = Date.now();
    }
    if (given.jobs) {
      this.jobs.clear();
      for (const one of given.jobs) this.jobs.set(one.id, one);
    }
    if (given.transfers) {
      this.transfers.clear();
      for (const one of given.transfers) this.transfers.set(one.id, one);
    }
    if (given.supervisor) this.supervisor = given.supervisor;
    if (given.found) this.found = given.found;
  }

  protected apply(type: string, data: never): void {
    switch (type) {
      case 'session':
        this.sessions.set((data as Session).id, data);
        break;
      case 'removed':
        this.sessions.delete((data as Removed).id);
        this.forget((data as Removed).id);
        break;
      case 'cost':
        this.count(data);
        break;
      case 'run':
        this.addRun(data);
        break;
      case 'job':
        this.jobs.set((data as Job).id, data);
        this.thin();
        break;
      case 'transfer':
        this.transfers.set((data as Transfer).id, data);
        if (this.transfers.size > RUNS_KEPT) this.transfers.delete(this.transfers.keys().next().value as string);
        break;
      case 'telemetry':
        this.addSample(data);
        break;
      case 'supervisor':
        this.supervisor = data;
        break;
      default: // a newer server may tell more
    }
  }

  /** Changes whenever a session comes, goes or takes another state. */
  protected states(): string {
    return this.live.map(one => `${one.id}:${one.name}:${one.state}`).join(' ');
  }

  private count(cost: CostNow): void {
    this.countedAt = Date.now();
    for (const [id, total] of Object.entries(cost.sessions)) {
      const session = this.sessions.get(id);
      if (session) this.sessions.set(id, { ...session, cost: { ...session.cost, total } });
    }
  }

  private addRun(run: Run): void {
    const { session } = run;
    const rest = (this.runs.get(session) ?? []).filter(one => one.id !== run.id);
    const begun = (one: Run): number => one.started ?? Infinity;
    const all = [run, ...rest].sort((a, b) => begun(b) - begun(a));
    this.runs.set(session, all.slice(0, RUNS_KEPT));
  }

  private addSample({ session, sample }: SampleOf): void {
    const one = this.sessions.get(session);
    if (one) this.sessions.set(session, { ...one, load: sample });
    const series = this.telemetry.get(session) ?? { session, latest: null, at: [], gpu: [], gpu_memory: [], cpu: [], memory: [] };
    const share = (of: [number, number] | null): number | null => (of && of[1] > 0 ? (100 * of[0]) / of[1] : null);
    const add = (rows: (number | null)[][], values: (number | null)[]): (number | null)[][] =>
      values.map((value, at) => [...(rows[at] ?? []), value].slice(-SAMPLES_KEPT));
    this.telemetry.set(session, {
      session,
      latest: sample,
      at: [...series.at, sample.at].slice(-SAMPLES_KEPT),
      gpu: add(series.gpu, sample.gpus.map(gpu => gpu.util)),
      gpu_memory: add(series.gpu_memory, sample.gpus.map(gpu => share(gpu.memory))),
      cpu: [...series.cpu, sample.cpu].slice(-SAMPLES_KEPT),
      memory: [...series.memory, share(sample.memory)].slice(-SAMPLES_KEPT)
    });
  }

  private forget(id: string): void {
    this.runs.delete(id);
    this.telemetry.delete(id);
  }

  private thin(): void {
    const over = [...this.jobs.values()].filter(job => ['done', 'failed', 'cancelled'].includes(job.state));
    for (const job of over.slice(0, Math.max(0, over.length - ENDED_KEPT))) this.jobs.delete(job.id);
  }
}
