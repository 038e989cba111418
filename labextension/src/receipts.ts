/** What ended sessions cost, newest first. */

import { Widget } from '@lumino/widgets';

import { duration, price } from '../../gpunb/notebook/widgets/static/common.js';
import { button, el, put } from './dom';
import type { IHub } from './hub';
import { gpuIcon } from './icon';
import type { Receipt } from './types';

export class ReceiptsView extends Widget {
  constructor(private readonly hub: IHub) {
    super();
    const { trans } = hub;
    this.id = 'gpunb-receipts';
    this.addClass('gpunb');
    this.addClass('gpunb-receipts');
    this.title.label = trans.__('GPU receipts');
    this.title.icon = gpuIcon;
    this.title.closable = true;
    this.sum = el('span', { className: 'gpunb-hint', role: 'status' });
    this.list = el('div', { className: 'gpunb-file-list' });
    const again = button(trans.__('Refresh'), () => this.load(), { className: 'gpunb-right' });
    this.node.append(el('div', { className: 'gpunb-view-head' }, el('strong', { text: trans.__('Receipts') }), this.sum, again), this.list);
    hub.store.removed.connect(this.load, this);
    void this.load();
  }

  override dispose(): void {
    this.hub.store.removed.disconnect(this.load, this);
    super.dispose();
  }

  async load(): Promise<void> {
    try {
      const found = await this.hub.store.api.receipts();
      if (!this.isDisposed) this.show_(found);
    } catch (error) {
      put(this.sum, String((error as Error).message));
    }
  }

  private show_(receipts: Receipt[]): void {
    const { trans } = this.hub;
    const total = receipts.reduce((sum, one) => sum + one.cost.total, 0);
    put(this.sum, receipts.length ? `${trans._n('%1 session', '%1 sessions', receipts.length)}, ${trans.__('%1 in all', price(total))}` : trans.__('No session has ended yet.'));
    if (!receipts.length) return void this.list.replaceChildren();
    const table = el('table', { label: trans.__('Receipts') });
    const head = table.createTHead().insertRow();
    const titles = [
      trans.__('Session'),
      trans.__('Machine'),
      trans.__('Began'),
      trans.__('Lasted'),
      trans.__('GPU'),
      trans.__('Disk'),
      trans.__('Traffic'),
      trans.__('Total'),
      trans.__('End')
    ];
    for (const text of titles) head.append(el('th', { text }));
    const body = table.createTBody();
    for (const one of receipts) {
      const row = body.insertRow();
      const end = one.confirmed === null ? trans.__('not confirmed by the cloud') : one.why || trans.__('confirmed');
      const machine = `${one.gpus > 1 ? `${one.gpus}× ` : ''}${one.gpu}`.trim();
      for (const text of [
        one.name,
        [machine, one.provider].filter(Boolean).join(' · '),
        new Date(one.started * 1000).toLocaleString(),
        duration(one.ended - one.started),
        price(one.cost.gpu),
        price(one.cost.disk),
        price(one.cost.bandwidth),
        price(one.cost.total),
        one.unsaved?.length ? trans.__('%1; %2 not saved', end, one.unsaved.length) : end
      ]) {
        row.insertCell().textContent = text;
      }
    }
    this.list.replaceChildren(table);
  }

  private readonly sum: HTMLElement;
  private readonly list: HTMLElement;
}
