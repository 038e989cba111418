/** What a run printed, in a tab that follows it. */

import { downloadIcon, stopIcon } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';

import { clean } from '../../gpunb/notebook/widgets/static/common.js';
import { Ansi } from './ansi';
import { ApiError } from './api';
import { el, iconButton, put, save } from './dom';
import type { IServices } from './services';
import { gpuIcon } from './icon';

const FOLLOW_MS = 1500;
const KEPT = 400_000;
const TITLE = 28;

export class LogView extends Widget {
  constructor(
    private readonly services: IServices,
    private readonly run: string,
    private readonly session: string
  ) {
    super();
    const { trans } = services;
    this.id = `gpunb-log-${run}`;
    this.addClass('gpunb');
    this.addClass('gpunb-logview');
    this.title.icon = gpuIcon;
    this.title.closable = true;
    this.state = el('span', { className: 'gpunb-hint', role: 'status' });
    this.follow = el('input', { label: trans.__('Follow the end') });
    this.follow.type = 'checkbox';
    this.follow.checked = true;
    this.name = el('strong', { className: 'gpunb-log-name' });
    this.text = el('pre', { className: 'gpunb-log', role: 'log' });
    this.text.tabIndex = 0;
    this.cut = el('div', { className: 'gpunb-hint gpunb-log-cut', text: trans.__('Only the end is shown; Download has the whole log.') });
    this.cut.hidden = true;
    this.cancelling = iconButton(stopIcon, trans.__('Cancel the run'), () => this.cancel(), { className: 'gpunb-log-cancel' });
    this.node.append(
      el(
        'div',
        { className: 'gpunb-view-head' },
        this.name,
        el('span', { className: 'gpunb-hint', text: `${session} · ${run}` }),
        this.state,
        el('label', { className: 'gpunb-right' }, this.follow, trans.__('follow')),
        iconButton(downloadIcon, trans.__('Download'), () => this.download(), {
          className: 'gpunb-log-download',
          label: trans.__('Download the log')
        }),
        this.cancelling
      ),
      this.cut,
      // JupyterLab colours what stands in such a place
      el('div', { className: 'jp-RenderedText gpunb-log-place' }, this.text)
    );
    const known = [...services.store.runs.values()].flat().find(one => one.id === run);
    this.call(known?.name);
    if (!known?.name) void services.store.api.run(run).then(found => this.call(found.name), () => undefined);
    void this.read();
  }

  override dispose(): void {
    clearTimeout(this.timer);
    super.dispose();
  }

  /** Name the tab: a cell's first line, a job's command. */
  private call(given: string | undefined): void {
    const { trans } = this.services;
    const name = clean(given, 120) || trans.__('Log %1', this.run);
    this.title.label = clean(name, TITLE);
    this.title.caption = trans.__('Log of “%1” (%2) on %3', name, this.run, this.session);
    put(this.name, name);
    this.text.setAttribute('aria-label', trans.__('Log of %1', name));
  }

  private async read(): Promise<void> {
    let ended = false;
    let wait = FOLLOW_MS;
    try {
      for (let more = true; more && !this.isDisposed; ) {
        const got = await this.services.store.api.log(this.run, this.after);
        more = got.next > this.after && !got.ended;
        this.after = got.next;
        this.add(got.coloured ?? got.text);
        put(this.state, got.state);
        ended = got.ended;
      }
    } catch (error) {
      put(this.state, String((error as Error).message));
      ended = error instanceof ApiError && error.status === 404;
      wait = 10_000;
    }
    if (this.isDisposed) return;
    this.cancelling.hidden = ended;
    // a tab that nobody sees need not follow so closely
    if (!ended) this.timer = window.setTimeout(() => void this.read(), this.isVisible ? wait : 30_000);
  }

  protected override onAfterShow(): void {
    if (this.timer === undefined) return;
    clearTimeout(this.timer);
    void this.read();
  }

  private add(text: string): void {
    if (!text) return;
    const kept = text.slice(-KEPT);
    for (const one of this.ansi.feed(kept)) {
      this.text.append(one);
      this.size += one.textContent?.length ?? 0;
    }
    while (this.size > KEPT && this.text.childNodes.length > 1) {
      this.size -= this.text.firstChild?.textContent?.length ?? 0;
      this.text.firstChild?.remove();
      this.cut.hidden = false;
    }
    if (kept.length < text.length) this.cut.hidden = false;
    if (this.follow.checked) this.text.scrollTop = this.text.scrollHeight;
  }

  /** The whole of it, from its first line, as text. */
  private async download(): Promise<void> {
    const parts: string[] = [];
    try {
      for (let after = -1, next = 0; next > after; ) {
        after = next;
        const got = await this.services.store.api.log(this.run, after);
        parts.push(got.text);
        next = got.ended ? after : got.next;
      }
      save(`${this.session}-${this.run}.log`, new Blob(parts, { type: 'text/plain' }));
    } catch (error) {
      put(this.state, String((error as Error).message));
    }
  }

  private async cancel(): Promise<void> {
    try {
      await this.services.store.api.cancelRun(this.run);
    } catch (error) {
      put(this.state, String((error as Error).message));
    }
  }

  private readonly name: HTMLElement;
  private readonly text: HTMLElement;
  private readonly state: HTMLElement;
  private readonly cut: HTMLElement;
  private readonly follow: HTMLInputElement;
  private readonly cancelling: HTMLButtonElement;
  private readonly ansi = new Ansi();
  private size = 0;
  private after = 0;
  private timer: number | undefined;
}
