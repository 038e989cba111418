/** What a run printed, in a tab that follows it. */

import { Widget } from '@lumino/widgets';

import { ApiError } from './api';
import { button, el, put } from './dom';
import type { IHub } from './hub';
import { gpuIcon } from './icon';

const FOLLOW_MS = 1500;
const KEPT = 400_000;

export class LogView extends Widget {
  constructor(
    private readonly hub: IHub,
    private readonly run: string,
    session: string
  ) {
    super();
    const { trans } = hub;
    this.id = `gpunb-log-${run}`;
    this.addClass('gpunb');
    this.addClass('gpunb-logview');
    this.title.label = trans.__('Log %1', run);
    this.title.icon = gpuIcon;
    this.title.closable = true;
    this.title.caption = trans.__('What run %1 of %2 printed', run, session);
    this.state = el('span', { className: 'gpunb-hint', role: 'status' });
    this.follow = el('input', { label: trans.__('Follow the end') });
    this.follow.type = 'checkbox';
    this.follow.checked = true;
    this.text = el('pre', { className: 'gpunb-log', label: trans.__('Log of run %1', run), role: 'log' });
    this.text.tabIndex = 0;
    this.node.append(
      el(
        'div',
        { className: 'gpunb-view-head' },
        el('strong', { text: run }),
        el('span', { text: session }),
        this.state,
        el('label', { className: 'gpunb-right' }, this.follow, trans.__('follow')),
        button(trans.__('Cancel the run'), () => this.cancel(), { className: 'gpunb-log-cancel' })
      ),
      this.text
    );
    void this.read();
  }

  override dispose(): void {
    clearTimeout(this.timer);
    super.dispose();
  }

  private async read(): Promise<void> {
    let ended = false;
    let wait = FOLLOW_MS;
    try {
      for (let more = true; more && !this.isDisposed; ) {
        const got = await this.hub.store.api.log(this.run, this.after);
        more = got.next > this.after && !got.ended;
        this.after = got.next;
        this.add(got.text);
        put(this.state, got.state);
        ended = got.ended;
      }
    } catch (error) {
      put(this.state, String((error as Error).message));
      ended = error instanceof ApiError && error.status === 404;
      wait = 10_000;
    }
    if (this.isDisposed) return;
    const cancel = this.node.querySelector<HTMLButtonElement>('.gpunb-log-cancel');
    if (cancel) cancel.hidden = ended;
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
    const all = (this.text.textContent ?? '') + text;
    this.text.textContent = all.length > KEPT ? `…${all.slice(-KEPT)}` : all;
    if (this.follow.checked) this.text.scrollTop = this.text.scrollHeight;
  }

  private async cancel(): Promise<void> {
    try {
      await this.hub.store.api.cancelRun(this.run);
    } catch (error) {
      put(this.state, String((error as Error).message));
    }
  }

  private readonly text: HTMLElement;
  private readonly state: HTMLElement;
  private readonly follow: HTMLInputElement;
  private after = 0;
  private timer: number | undefined;
}
