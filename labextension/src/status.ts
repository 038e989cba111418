/** The running cost, at the bottom of the window; red before a lease ends. */

import { Widget } from '@lumino/widgets';

import { duration, money } from '../../gpunb/notebook/widgets/static/common.js';
import { el, put } from './dom';
import { Ids, type IServices } from './services';

const TICK_MS = 5000;

export class CostItem extends Widget {
  constructor(private readonly services: IServices) {
    super();
    this.addClass('gpunb-status');
    this.press = el('button', { className: 'gpunb-status-press' });
    this.press.type = 'button';
    this.press.addEventListener('click', () => void services.app.commands.execute(Ids.panel));
    this.node.append(this.press);
    this.timer = window.setInterval(() => this.refresh(), TICK_MS);
    services.store.changed.connect(this.refresh, this);
    this.refresh();
  }

  override dispose(): void {
    clearInterval(this.timer);
    this.services.store.changed.disconnect(this.refresh, this);
    super.dispose();
  }

  private refresh(): void {
    const { store, trans } = this.services;
    const live = store.live;
    this.press.hidden = !live.length && !store.found.orphans.length;
    if (this.press.hidden) return;
    const ends = live.filter(one => one.lease.ends).sort((a, b) => Number(a.lease.ends) - Number(b.lease.ends));
    const next = ends[0];
    const left = next ? Math.max(0, Number(next.lease.ends) - Date.now() / 1000) : null;
    const soon = live.some(one => one.lease.soon) || store.found.orphans.length > 0;
    const parts = [`GPU ${money(store.spent)}`, trans.__('%1/h', money(store.hourly))];
    if (left !== null) parts.push(trans.__('%1 left', duration(left)));
    put(this.press, parts.join(' · '));
    this.node.classList.toggle('gpunb-soon', soon);
    const says = [
      trans._n('%1 session', '%1 sessions', live.length),
      trans.__('%1 so far', money(store.spent)),
      trans.__('%1 an hour', money(store.hourly)),
      next && left !== null ? trans.__('%1 ends in %2', next.name, duration(left)) : '',
      store.link === 'polling' ? trans.__('no line to the server') : ''
    ];
    this.press.title = says.filter(Boolean).join(', ');
    this.press.setAttribute('aria-label', `${trans.__('Rented GPUs')}: ${this.press.title}`);
    this.node.classList.toggle('gpunb-stale', store.link !== 'live');
  }

  private readonly press: HTMLButtonElement;
  private readonly timer: number;
}
