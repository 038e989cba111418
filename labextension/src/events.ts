/** The events websocket: reconnects with back-off, and asks every 30 s while there is none. */

import type { Api } from './api';
import type { Event } from './types';

const FIRST_MS = 500;
const MOST_MS = 30_000;
const POLL_MS = 30_000;
/** A proxy may take the socket and never pass it on. */
const GREETING_MS = 15_000;

export interface Listener {
  event(event: Event): void;
  /** The socket came, or went. */
  line(up: boolean): void;
  /** It is time to ask, as nobody tells. */
  poll(): void;
}

export class Events {
  constructor(
    private readonly api: Api,
    private readonly listener: Listener
  ) {}

  start(): void {
    this.stopped = false;
    this.connect();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.retry);
    clearTimeout(this.greeting);
    clearInterval(this.polling);
    this.polling = undefined;
    this.socket?.close();
    this.socket = null;
  }

  /** Now, not when the back-off is over. */
  hurry(): void {
    if (this.stopped || this.socket) return;
    clearTimeout(this.retry);
    this.wait = FIRST_MS;
    this.connect();
  }

  private connect(): void {
    let socket: WebSocket;
    try {
      socket = new this.api.settings.WebSocket(this.api.eventsUrl);
    } catch {
      this.lost();
      return;
    }
    this.socket = socket;
    this.greeting = window.setTimeout(() => socket.close(), GREETING_MS);
    socket.onmessage = message => {
      if (this.socket !== socket) return;
      const event = parsed(message.data);
      if (!event) return;
      if (event.type === 'hello') {
        clearTimeout(this.greeting);
        clearInterval(this.polling);
        this.polling = undefined;
        this.wait = FIRST_MS;
        this.listener.line(true);
      }
      this.listener.event(event);
    };
    socket.onclose = () => {
      if (this.socket === socket) this.lost();
    };
  }

  private lost(): void {
    clearTimeout(this.greeting);
    this.socket = null;
    if (this.stopped) return;
    this.listener.line(false);
    // all pages of a server that comes back must not knock at the same moment
    const wait = this.wait * (0.5 + Math.random() / 2);
    this.wait = Math.min(this.wait * 2, MOST_MS);
    this.retry = window.setTimeout(() => this.connect(), wait);
    this.polling ??= window.setInterval(() => this.listener.poll(), POLL_MS);
  }

  private socket: WebSocket | null = null;
  private stopped = true;
  private wait = FIRST_MS;
  private retry: number | undefined;
  private greeting: number | undefined;
  private polling: number | undefined;
}

function parsed(data: unknown): Event | null {
  try {
    const event = JSON.parse(String(data)) as Event;
    return typeof event === 'object' && event !== null && typeof event.type === 'string' ? event : null;
  } catch {
    return null;
  }
}
