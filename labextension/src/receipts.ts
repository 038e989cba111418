/** What ended sessions cost, newest first; a click shows the whole receipt. */

import { caretDownIcon, caretRightIcon, refreshIcon } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';

import { duration, money, price } from '../../gpunb/notebook/widgets/static/common.js';
import { ENDED_BY, RECEIPT_COLUMNS } from './columns';
import { bytes, el, iconButton, put } from './dom';
import type { IServices } from './services';
import { gpuIcon } from './icon';
import type { Receipt } from './types';

/** A difference in the cloud's favour or ours that is more than rounding. */
const CENT = 0.005;
/** Less would read $0.000. */
const SHOWN = 0.0005;

export class ReceiptsView extends Widget {
  constructor(private readonly services: IServices) {
    super();
    const { trans } = services;
    this.id = 'gpunb-receipts';
    this.addClass('gpunb');
    this.addClass('gpunb-receipts');
    this.title.label = trans.__('GPU receipts');
    this.title.icon = gpuIcon;
    this.title.closable = true;
    this.sum = el('span', { className: 'gpunb-hint', role: 'status' });
    this.list = el('div', { className: 'gpunb-file-list' });
    const again = iconButton(refreshIcon, trans.__('Refresh'), () => this.load(), { className: 'gpunb-right' });
    this.node.append(el('div', { className: 'gpunb-view-head' }, el('strong', { text: trans.__('Receipts') }), this.sum, again), this.list);
    services.store.removed.connect(this.load, this);
    void this.load();
  }

  override dispose(): void {
    this.services.store.removed.disconnect(this.load, this);
    super.dispose();
  }

  async load(): Promise<void> {
    try {
      const found = await this.services.store.api.receipts();
      if (!this.isDisposed) this.show_(found);
    } catch (error) {
      put(this.sum, String((error as Error).message));
    }
  }

  private show_(receipts: Receipt[]): void {
    const { trans } = this.services;
    const total = receipts.reduce((sum, one) => sum + one.cost.total, 0);
    const count = trans._n('%1 session', '%1 sessions', receipts.length);
    put(this.sum, receipts.length ? `${count}, ${trans.__('%1 in all', price(total))}` : trans.__('No session has ended yet.'));
    if (!receipts.length) {
      const says = trans.__(
        'When a session ends, its receipt stands here: what it cost, what the cloud billed, when the cloud confirmed its end, and which files came back.'
      );
      return void this.list.replaceChildren(el('p', { className: 'gpunb-hint', text: says }));
    }
    const table = el('table', { label: trans.__('Receipts') });
    const head = table.createTHead().insertRow();
    this.columns = RECEIPT_COLUMNS.filter(({ key }) => key !== 'agent' || receipts.some(one => one.agent));
    for (const { label, right } of this.columns) head.append(el('th', { text: trans.__(label), className: right ? 'gpunb-num' : '' }));
    const body = table.createTBody();
    for (const one of receipts) this.row(body, one);
    this.list.replaceChildren(table);
  }

  private row(body: HTMLTableSectionElement, one: Receipt): void {
    const { trans } = this.services;
    const row = body.insertRow();
    const whole = body.insertRow();
    whole.className = 'gpunb-whole';
    const id = `gpunb-receipt-${one.session_id}`;
    whole.id = id;
    const open = (on: boolean): void => {
      if (on) this.opened.add(one.session_id);
      else this.opened.delete(one.session_id);
      if (on && !whole.cells.length) {
        const cell = whole.insertCell();
        cell.colSpan = row.cells.length;
        cell.append(this.whole(one));
      }
      whole.hidden = !on;
      press.setAttribute('aria-expanded', String(on));
      press.replaceChildren((on ? caretDownIcon : caretRightIcon).element({ tag: 'span', className: 'gpunb-icon' }), one.name);
    };
    const press = el('button', { className: 'gpunb-file-name gpunb-with-icon', title: trans.__('The whole receipt') });
    press.type = 'button';
    press.setAttribute('aria-controls', id);
    row.addEventListener('click', () => open(whole.hidden));
    for (const { key, form, right } of this.columns) {
      const cell = row.insertCell();
      if (form === 'name') {
        cell.append(press);
        continue;
      }
      const [text, tone] = [(FORMS[form] as Form)(one, one[key])].flat();
      cell.textContent = TRANSLATED.has(form) ? trans.__(text as string) : (text as string);
      cell.className = tone ?? (right ? 'gpunb-num' : '');
      if (form === 'why' && one.unsaved.length) {
        cell.append(el('div', { className: 'gpunb-alarm', text: trans._n('%1 path not saved', '%1 paths not saved', one.unsaved.length) }));
      }
    }
    open(this.opened.has(one.session_id));
  }

  /** All of a receipt, as `gpunb receipts NAME` shows it. */
  private whole(one: Receipt): HTMLElement {
    const { trans } = this.services;
    const { cost } = one;
    const parts = [
      cost.gpu >= SHOWN ? trans.__('gpu %1', money(cost.gpu)) : '',
      cost.disk >= SHOWN ? trans.__('disk %1', money(cost.disk)) : '',
      cost.bandwidth >= SHOWN ? trans.__('traffic %1', money(cost.bandwidth)) : ''
    ].filter(Boolean);
    const runs = one.runs.map(run =>
      [run.name || run.kind, run.state, typeof run.seconds === 'number' ? duration(run.seconds) : ''].filter(Boolean).join(' · ')
    );
    const brought = new Map(one.brought.map(came => [came.path, came]));
    const saved = one.saved.map(path => {
      const came = brought.get(path);
      if (!came) return path;
      const files = trans._n('%1 file', '%1 files', came.files);
      return trans.__('%1 (%2, %3) in %4', path, files, bytes(came.bytes), came.to.join(', '));
    });
    const confirmed =
      one.confirmed === null
        ? trans.__('NOT CONFIRMED YET: gpunb keeps trying')
        : trans.__('confirmed by %1 at %2', one.provider, time(one.confirmed));
    const facts: [string, string[], string?][] = [
      [trans.__('Machine'), [`${machine(one) || trans.__('no GPU')} · ${one.provider}`]],
      [trans.__('Instance'), [one.instance_id]],
      [trans.__('Session'), [one.session_id]],
      [trans.__('Agent'), [one.agent]],
      [trans.__('Time'), [`${time(one.started)} – ${time(one.ended)} (${duration(one.ended - one.started)})`]],
      [trans.__('Cost'), [price(cost.total) + (parts.length ? ` (${parts.join(', ')})` : '')]],
      [trans.__('Billed by %1', one.provider), [this.billed(one)]],
      [trans.__('Ended by'), [FORMS.why(one)]],
      [trans.__('Destroyed'), [confirmed], one.confirmed === null ? 'gpunb-alarm' : 'gpunb-fine'],
      [trans.__('Saved'), saved],
      [trans.__('Not saved'), one.unsaved.map(([path, why]) => `${path}: ${why}`), 'gpunb-alarm'],
      [trans.__('Runs'), runs.length ? runs : [trans.__('none')]]
    ];
    const list = el('dl', { className: 'gpunb-receipt' });
    for (const [name, lines, className] of facts) {
      const shown = lines.filter(Boolean);
      if (!shown.length) continue;
      list.append(el('dt', { text: name }), el('dd', { className: className ?? '' }, ...shown.map(text => el('div', { text }))));
    }
    return list;
  }

  private billed(one: Receipt): string {
    const { trans } = this.services;
    if (one.provider_usd === null) return trans.__('no figure yet');
    const more = one.provider_usd - one.cost.total;
    const usd = money(one.provider_usd);
    if (Math.abs(more) < CENT) return trans.__('%1 (matches)', usd);
    return more > 0
      ? trans.__('%1 (%2 more than counted here)', usd, money(more))
      : trans.__('%1 (%2 less than counted here)', usd, money(-more));
  }

  private readonly sum: HTMLElement;
  private readonly list: HTMLElement;
  private readonly opened = new Set<string>();
  private columns: readonly (typeof RECEIPT_COLUMNS)[number][] = RECEIPT_COLUMNS;
}

const time = (at: number): string =>
  new Date(at * 1000).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

const machine = (one: Receipt): string => `${one.gpus > 1 ? `${one.gpus}× ` : ''}${one.gpu}`.trim();

type Form = (one: Receipt, value: unknown) => string | [string, string];

/** The forms whose texts are words. */
const TRANSLATED = new Set(['billed', 'why', 'gone']);

/** How each form of a column is written: its text, or text and class. In Python it is `FORMS` of receipt_columns. */
const FORMS = {
  name: (one: Receipt): string => one.name,
  gpu: (one: Receipt): string => machine(one),
  text: (_: Receipt, value: unknown): string => String(value ?? ''),
  time: (_: Receipt, at: unknown): string => time(at as number),
  duration: (one: Receipt): string => duration(one.ended - one.started),
  money: (one: Receipt): string => price(one.cost.total),
  billed: (one: Receipt): string => (one.not_billed ? 'not yet' : one.provider_usd === null ? '' : money(one.provider_usd)),
  why: (one: Receipt): string => ENDED_BY[one.why] ?? one.why,
  gone: (one: Receipt): [string, string] => (one.confirmed === null ? ['NOT CONFIRMED', 'gpunb-alarm'] : ['confirmed', 'gpunb-fine'])
};
