/** What is known of the sessions, kept true by the server's events. It shows nothing itself. */

import { Signal, type ISignal } from '@lumino/signaling';

import { Api, ApiError } from './api';
import { Events } from './events';
import { SessionModel } from './model';
import type { Event, Job, Notice, Removed, Status } from './types';
import { API } from './version';

/** `other`: the server speaks another interface; `absent`: there is no gpunb behind this page. */
export type Link = 'connecting' | 'live' | 'polling' | 'absent' | 'other';

export class Store extends SessionModel {
  constructor(readonly api: Api) {
    super();
    this.events = new Events(api, {
      event: event => this.take(event),
      line: up => this.setLink(up ? 'live' : this.link === 'connecting' ? 'connecting' : 'polling'),
      poll: () => void this.ask()
    });
  }

  link: Link = 'connecting';
  /** Ports that are being opened, by session. */
  readonly opening = new Map<string, Set<number>>();
  status: Status | null = null;
  /** What the server calls itself; it may change while the page lives. */
  serverVersion = '';
  serverApi = API;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** A session came, went, or has another state. */
  get turned(): ISignal<this, void> {
    return this._turned;
  }

  get noticed(): ISignal<this, Notice> {
    return this._noticed;
  }

  get worked(): ISignal<this, Job> {
    return this._worked;
  }

  get removed(): ISignal<this, Removed> {
    return this._removed;
  }

  /** Whether what costs money may be asked for. */
  get usable(): boolean {
    return this.link === 'live' || this.link === 'polling';
  }

  /** Find the server and begin to listen; also "try again". */
  async start(): Promise<void> {
    this.events.stop();
    this.setLink('connecting');
    try {
      const status = await this.api.status();
      this.status = status;
      this.known(status.version, status.api);
      this.found = status.found;
      this.supervisor = status.supervisor;
    } catch (error) {
      const none = error instanceof ApiError && error.status === 404;
      this.setLink(none ? 'absent' : 'polling');
      if (none) return;
    }
    if ((this.link as Link) !== 'other') this.events.start();
  }

  /** After a login: which clouds have a key. */
  async refreshStatus(): Promise<void> {
    this.status = await this.api.status();
    this.tell();
  }

  async loadRuns(session: string): Promise<void> {
    await this.quietly(async () => this.runs.set(session, await this.api.runs(session)));
  }

  async loadTelemetry(session: string): Promise<void> {
    await this.quietly(async () => this.telemetry.set(session, await this.api.telemetry(session)));
  }

  /** A forward is being opened: the card says so until it is there. */
  openingPort(session: string, port: number, on: boolean): void {
    const ports = this.opening.get(session) ?? new Set<number>();
    if (on) ports.add(port);
    else ports.delete(port);
    this.opening.set(session, ports);
    this.tell();
  }

  stop(): void {
    this.events.stop();
    Signal.clearData(this);
  }

  /** A job that an answer brought: its first event may have come before, or comes later. */
  begin(job: Job): void {
    if (!this.jobs.has(job.id)) this.take({ n: 0, type: 'job', data: job });
  }

  private take(event: Event): void {
    const data = event.data as never;
    if (event.type === 'hello') {
      this.known(event.data.version, event.data.api);
      return;
    }
    if (this.link === 'other') return;
    const before = this.states();
    if (event.type === 'snapshot') {
      this.replace(event.data);
      for (const notice of event.data.notices) this._noticed.emit(notice);
      for (const job of event.data.jobs) this._worked.emit(job);
    } else if (event.type === 'notice') {
      this._noticed.emit(data);
    } else {
      this.apply(event.type, data);
      if (event.type === 'job') this._worked.emit(data);
      if (event.type === 'removed') this._removed.emit(data);
    }
    if (this.states() !== before) this._turned.emit();
    this.tell();
  }

  private async ask(): Promise<void> {
    await this.quietly(async () => {
      const [sessions, jobs] = await Promise.all([this.api.sessions(), this.api.jobs()]);
      const before = this.states();
      this.replace({ sessions, jobs });
      for (const job of jobs) this._worked.emit(job);
      if (this.states() !== before) this._turned.emit();
      this.events.hurry();
    });
  }

  private known(version: string, api: number): void {
    this.serverVersion = String(version);
    this.serverApi = api;
    if (api !== API) {
      this.events.stop();
      this.setLink('other');
    }
    this.tell();
  }

  private async quietly(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      this.tell();
    } catch (error) {
      console.debug('gpunb:', error);
    }
  }

  private setLink(link: Link): void {
    if (link === this.link) return;
    this.link = link;
    this.tell();
  }

  /** All that changes within a frame is told once. */
  private tell(): void {
    if (this.telling) return;
    this.telling = true;
    window.setTimeout(() => {
      this.telling = false;
      this._changed.emit();
    }, 40);
  }

  private readonly events: Events;
  private telling = false;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _turned = new Signal<this, void>(this);
  private readonly _noticed = new Signal<this, Notice>(this);
  private readonly _worked = new Signal<this, Job>(this);
  private readonly _removed = new Signal<this, Removed>(this);
}
