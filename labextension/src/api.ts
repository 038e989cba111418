/** The server's REST routes. Cookies, tokens and XSRF are JupyterLab's own business: `ServerConnection`. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type {
  Files,
  Job,
  Log,
  LoggedIn,
  Offers,
  OffersBody,
  Port,
  Problem,
  Question,
  Receipt,
  Run,
  Session,
  Status,
  Telemetry
} from './types';

/** What the server said no with; `bill` is what it means for the bill, `hint` what to do. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    problem: Problem
  ) {
    super(problem.message);
    this.reason = problem.reason;
    this.hint = problem.hint;
    this.bill = problem.bill;
  }

  readonly reason: string;
  readonly hint: string | null;
  readonly bill: string | null;

  /** All of it, for a dialog. */
  get whole(): string {
    return [this.message, this.bill, this.hint].filter(Boolean).join('\n');
  }
}

const NO_LINE = 'The line to the Jupyter server broke; what stood on the host stays as it was.';

/** What an answer that is not the extension's own leaves unsaid. */
const NOTHING = { reason: '', hint: null, bill: null };

const part = (text: string): string => encodeURIComponent(text);

export class Api {
  constructor(readonly settings: ServerConnection.ISettings = ServerConnection.makeSettings()) {}

  /** The address of a route. */
  url(path: string): string {
    return URLExt.join(this.settings.baseUrl, 'gpunb/api/v1', path);
  }

  /** The address of the events. */
  get eventsUrl(): string {
    const url = URLExt.join(this.settings.wsUrl, 'gpunb/api/v1/events');
    const token = this.settings.token;
    return this.settings.appendToken && token ? `${url}?token=${part(token)}` : url;
  }

  status(): Promise<Status> {
    return this.ask<Status>('GET', 'status');
  }

  async sessions(): Promise<Session[]> {
    return (await this.ask<{ sessions: Session[] }>('GET', 'sessions')).sessions;
  }

  async jobs(): Promise<Job[]> {
    return (await this.ask<{ jobs: Job[] }>('GET', 'jobs')).jobs;
  }

  offers(terms: Partial<OffersBody>): Promise<Offers> {
    return this.ask<Offers>('POST', 'offers', terms);
  }

  confirm(action: string, args: Record<string, unknown>): Promise<Question> {
    return this.ask<Question>('POST', 'confirm', { action, ...args });
  }

  async rent(args: Record<string, unknown>): Promise<Job> {
    return (await this.ask<{ job: Job }>('POST', 'rent', args)).job;
  }

  /** stop, start and down answer with a job, extend with the session. */
  act(action: string, session: string, args: Record<string, unknown>): Promise<{ job?: Job }> {
    return this.ask('POST', `sessions/${part(session)}/${action}`, args);
  }

  async cancelJob(id: string): Promise<void> {
    await this.ask('DELETE', `jobs/${part(id)}`);
  }

  async runs(session: string): Promise<Run[]> {
    return (await this.ask<{ runs: Run[] }>('GET', `sessions/${part(session)}/runs?limit=20`)).runs;
  }

  run(run: string): Promise<Run> {
    return this.ask<Run>('GET', `runs/${part(run)}`);
  }

  log(run: string, after: number): Promise<Log> {
    return this.ask<Log>('GET', `runs/${part(run)}/log?after=${after}`);
  }

  async cancelRun(run: string): Promise<void> {
    await this.ask('POST', `runs/${part(run)}/cancel`, {});
  }

  telemetry(session: string): Promise<Telemetry> {
    return this.ask<Telemetry>('GET', `sessions/${part(session)}/telemetry`);
  }

  files(session: string, path: string): Promise<Files> {
    return this.ask('GET', `sessions/${part(session)}/files?path=${part(path)}`);
  }

  async makeFolder(session: string, path: string): Promise<void> {
    await this.ask('POST', `sessions/${part(session)}/files?path=${part(path)}`, {});
  }

  async rename(session: string, path: string, to: string): Promise<void> {
    await this.ask('PATCH', `sessions/${part(session)}/files?path=${part(path)}`, { to });
  }

  async remove(session: string, path: string): Promise<void> {
    await this.ask('DELETE', `sessions/${part(session)}/files?path=${part(path)}`);
  }

  fileUrl(session: string, path: string): string {
    return this.url(`sessions/${part(session)}/file?path=${part(path)}`);
  }

  /** The first `max` bytes of a file. */
  async read(session: string, path: string, max: number): Promise<{ bytes: Uint8Array; cut: boolean }> {
    const answer = await this.send('GET', `sessions/${part(session)}/file?path=${part(path)}`);
    const reader = answer.body?.getReader();
    const kept: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const got = await reader?.read();
      if (!got || got.done) break;
      kept.push(got.value);
      size += got.value.length;
      if (size > max) {
        await reader?.cancel();
        break;
      }
    }
    const bytes = new Uint8Array(await new Blob(kept as BlobPart[]).arrayBuffer());
    return { bytes: bytes.slice(0, max), cut: size > max };
  }

  /** `sent` is told how many bytes have gone: `fetch` would not say. */
  upload(session: string, path: string, data: Blob, sent: (bytes: number) => void): Promise<void> {
    const asked = new XMLHttpRequest();
    asked.open('PUT', this.url(`sessions/${part(session)}/file?path=${part(path)}`));
    const { token } = this.settings;
    const xsrf = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)?.[1];
    if (token) asked.setRequestHeader('Authorization', `token ${token}`);
    if (xsrf !== undefined) asked.setRequestHeader('X-XSRFToken', xsrf);
    asked.setRequestHeader('Content-Type', 'application/octet-stream');
    return new Promise((resolve, reject) => {
      asked.upload.onprogress = event => sent(event.loaded);
      asked.onerror = () => reject(new Error(NO_LINE));
      asked.onload = () => {
        if (asked.status >= 200 && asked.status < 300) return resolve();
        const answer = new Response(asked.responseText, { status: asked.status, statusText: asked.statusText });
        void problemOf(answer).then(found => reject(new ApiError(asked.status, found)));
      };
      asked.send(data);
    });
  }

  async transfer(session: string, source: string, target: string): Promise<Job> {
    const body = { source, target };
    return (await this.ask<{ job: Job }>('POST', `sessions/${part(session)}/transfers`, body)).job;
  }

  async forward(session: string, port: number): Promise<Port[]> {
    return (await this.ask<{ ports: Port[] }>('POST', `sessions/${part(session)}/ports`, { port })).ports;
  }

  async unforward(session: string, port: number): Promise<Port[]> {
    return (await this.ask<{ ports: Port[] }>('DELETE', `sessions/${part(session)}/ports/${port}`)).ports;
  }

  async terminal(session: string): Promise<string> {
    return (await this.ask<{ name: string }>('POST', `sessions/${part(session)}/terminal`, {})).name;
  }

  async receipts(): Promise<Receipt[]> {
    return (await this.ask<{ receipts: Receipt[] }>('GET', 'receipts')).receipts;
  }

  login(provider: string, key: string): Promise<LoggedIn> {
    return this.ask('POST', 'login', { provider, key });
  }

  private async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const answer = await this.send(method, path, text, 'application/json');
    return (await answer.json()) as T;
  }

  private async send(method: string, path: string, body?: BodyInit, type?: string): Promise<Response> {
    const init: RequestInit = { method, cache: 'no-store' };
    if (body !== undefined) {
      init.body = body;
      init.headers = { 'Content-Type': type ?? 'application/json' };
    }
    const answer = await ServerConnection.makeRequest(this.url(path), init, this.settings);
    if (!answer.ok) throw new ApiError(answer.status, await problemOf(answer));
    return answer;
  }
}

async function problemOf(answer: Response): Promise<Problem> {
  try {
    const found = (await answer.json()) as Partial<Problem>;
    if (typeof found.message === 'string' && found.message) return { ...NOTHING, ...found, message: found.message };
  } catch {
    // a proxy's page, say
  }
  return { ...NOTHING, message: `${answer.status} ${answer.statusText}`.trim() };
}
