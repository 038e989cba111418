/** The Rent dialog: what the clouds offer, a question with the money in it, and the way to ready. */

import { Dialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import { createPicker, type Offer, type PickerHandle, type Terms } from '../../gpunb/notebook/widgets/static/picker.js';
import { ApiError } from './api';
import { field, el } from './dom';
import { Ids, type IServices } from './services';
import type { CloudFailure, Job, OffersBody } from './types';
import { pickerWords } from './words';

/** Less can't be reserved. */
const MONTH_H = 720;
const OVER = ['done', 'failed', 'cancelled'];

class RentBody extends Widget {
  /** `done`: close the dialog, for what comes next is elsewhere. */
  constructor(
    private readonly services: IServices,
    private readonly done: () => void
  ) {
    super();
    const { trans } = services;
    this.addClass('gpunb-rent-body');
    this.name = field(trans.__('Name'), '', { className: 'gpunb-rent-name' });
    this.name.input.placeholder = trans.__('automatic');
    this.disk = field(trans.__('Disk, GB'), '', { type: 'number', className: 'gpunb-rent-disk' });
    this.disk.input.min = '0';
    this.disk.input.addEventListener('change', () => void this.search());
    this.rental = el('select', { className: 'gpunb-input gpunb-rent-rental' });
    for (const [value, text] of [
      ['', trans.__('on demand')],
      ['spot', trans.__('spot: cheaper, can be reclaimed')],
      ['reserved', trans.__('reserved: paid ahead, from a month')]
    ] as const) {
      const option = el('option', { text });
      option.value = value;
      this.rental.append(option);
    }
    this.rental.addEventListener('change', () => {
      if (this.rental.value !== 'reserved' || (this.hours ?? 0) >= MONTH_H) return void this.search();
      this.picker.setTerms({ hours: MONTH_H });
      void this.search(MONTH_H);
    });
    const rental = el('label', { className: 'gpunb-field' }, el('span', { text: trans.__('Rental') }), this.rental);
    const line = el('div', { className: 'gpunb gpunb-rent-line' }, this.name.label, this.disk.label, rental);
    const holder = el('div', { className: 'gpunb-rent-picker' });
    this.node.append(line, holder);
    const hours = services.setting<number | null>('hours', null);
    this.picker = createPicker(holder, {
      hours: hours ?? 1,
      askKey: true,
      strings: pickerWords(trans),
      onSearch: terms => void this.search(terms.hours),
      onLogin: (provider, key) => this.login(provider, key ?? ''),
      onConfirm: (offer, terms) => this.ask(offer, terms),
      onRent: (offer, terms) => this.rent(offer, terms),
      onCancel: async () => {
        if (this.job) await services.store.api.cancelJob(this.job.id);
      }
    });
    services.store.worked.connect(this.progress, this);
    services.store.changed.connect(this.look, this);
    void this.search(hours ?? undefined);
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.services.store.worked.disconnect(this.progress, this);
    this.services.store.changed.disconnect(this.look, this);
    this.picker.destroy();
    super.dispose();
  }

  /** Whether Escape has something to close in the picker first. */
  get asking(): boolean {
    return this.node.querySelector('.gpunb-dialog:not([hidden]), .gpunb-open') !== null;
  }

  private async search(hours?: number): Promise<void> {
    const asked = (this.searches += 1);
    this.hours = hours ?? this.hours;
    const disk = this.diskAsked();
    this.picker.setError(null);
    this.picker.setBusy(this.services.trans.__('Asking the clouds…'));
    try {
      const found = await this.services.store.api.offers({
        ...(this.hours === undefined ? {} : { hours: this.hours }),
        ...(disk === null ? {} : { disk_gb: disk }),
        ...(this.rental.value ? { rental: this.rental.value as OffersBody['rental'] } : {}),
        ...this.clouds()
      });
      if (asked !== this.searches || this.isDisposed) return;
      this.showHours(found.hours);
      if (disk === null) this.disk.input.placeholder = String(found.disk_gb);
      this.picker.setOffers(found.offers, found.facets, this.failed(found.failed), { hours: found.hours, disk_gb: found.disk_gb });
    } catch (error) {
      if (asked !== this.searches || this.isDisposed) return;
      this.picker.setOffers([], null, []);
      this.picker.setError(problem(error));
    }
  }

  /** The first answer says for how long the user's settings rent. */
  private showHours(hours: number): void {
    const input = this.node.querySelector<HTMLInputElement>('.gpunb-hours input');
    if (input && this.hours === undefined && document.activeElement !== input) input.value = String(hours);
    this.hours ??= hours;
  }

  private async login(provider: string, key: string): Promise<void> {
    const found = await this.services.store.api.login(provider, key);
    this.added.add(provider);
    await this.services.store.refreshStatus().catch(() => undefined);
    await this.search();
    if (found.warning) this.picker.setError({ message: found.warning });
  }

  /** Those that are asked by default, and those whose key was given here. */
  private clouds(): { clouds?: string[] } {
    const known = this.services.store.status?.clouds ?? [];
    if (!this.added.size) return {};
    return { clouds: known.filter(one => one.asked || this.added.has(one.name)).map(one => one.name) };
  }

  /** What did not answer, and the clouds that would with a key. */
  private failed(failed: CloudFailure[]): CloudFailure[] {
    const told = new Set(failed.map(one => one.provider));
    const known = this.services.store.status?.clouds ?? [];
    const keyless = known.filter(one => one.needs_key && !one.key && !told.has(one.name));
    const message = this.services.trans.__('no API key');
    return [...failed, ...keyless.map(one => ({ provider: one.name, message, login: true }))];
  }

  private args(offer: Offer, terms: Terms): Record<string, unknown> {
    const name = this.name.input.value.trim();
    const disk = this.diskAsked();
    return {
      offer: offer.key,
      hours: terms.hours,
      ...(terms.budget === null ? {} : { budget_usd: terms.budget }),
      ...(disk === null ? {} : { disk_gb: disk }),
      ...(name ? { name } : {})
    };
  }

  private async ask(offer: Offer, terms: Terms): Promise<{ says: string; usd: number | null; token: string }> {
    this.asked = this.args(offer, terms);
    return this.services.store.api.confirm('rent', this.asked);
  }

  private async rent(offer: Offer, terms: Terms): Promise<void> {
    // what was asked about is what is rented, whatever was typed meanwhile
    const args = this.asked ?? this.args(offer, terms);
    this.renting = offer.gpu;
    this.job = await this.services.store.api.rent({ ...args, token: terms.token });
    this.services.store.begin(this.job);
    this.progress(this.services.store, this.services.store.jobs.get(this.job.id) ?? this.job);
  }

  private look(): void {
    const job = this.job && this.services.store.jobs.get(this.job.id);
    if (job) this.progress(this.services.store, job);
  }

  private progress(_: unknown, job: Job): void {
    if (job.id !== this.job?.id || this.isDisposed) return;
    const { app, trans, store } = this.services;
    const session = job.session ? store.named(job.session) : undefined;
    // its buttons need the session, which comes by an event of its own
    if (job.state === 'done' && session?.state !== 'ready') return;
    const over = OVER.includes(job.state);
    const state = job.state === 'done' ? 'ready' : over ? job.state : session?.state ?? 'requested';
    const why = [job.error?.message, job.error?.bill, job.error?.hint].filter(Boolean).join(' ');
    const ready = job.state === 'done';
    const named = { session: job.session ?? '' };
    const actions = [Ids.newNotebook, Ids.useNotebook]
      .filter(id => ready && app.commands.hasCommand(id) && app.commands.isEnabled(id, named))
      .map(id => ({
        text: app.commands.label(id, named),
        onClick: () => {
          this.done();
          void app.commands.execute(id, named);
        }
      }));
    this.picker.setProgress({
      title: job.title || this.renting,
      done: job.done,
      total: job.total,
      says: why || (ready ? trans.__('%1 is ready.', session?.name ?? job.title) : job.says),
      state: state === 'ready' && !over ? 'reachable' : state,
      over,
      actions
    });
    if (over) this.job = null;
  }

  private diskAsked(): number | null {
    const value = this.disk.input.valueAsNumber;
    return Number.isFinite(value) && value >= 0 ? value : null;
  }

  private readonly picker: PickerHandle;
  private readonly name: { label: HTMLLabelElement; input: HTMLInputElement };
  private readonly disk: { label: HTMLLabelElement; input: HTMLInputElement };
  private readonly rental: HTMLSelectElement;
  private hours: number | undefined;
  private searches = 0;
  private readonly added = new Set<string>();
  private asked: Record<string, unknown> | null = null;
  private job: Job | null = null;
  private renting = '';
}

class RentDialog extends Dialog<void> {
  constructor(
    private readonly body: RentBody,
    options: Partial<Dialog.IOptions<void>>
  ) {
    super(options);
  }

  protected override _evtKeydown(event: KeyboardEvent): void {
    // Enter chooses an offer here, and Escape closes the question before the dialog
    if (event.key === 'Enter' || (event.key === 'Escape' && this.body.asking)) return;
    if (event.key.startsWith('Arrow')) return;
    super._evtKeydown(event);
  }
}

/** The picker has its own looks; JupyterLab would put its own on every button and field in it. */
class PlainRenderer extends Dialog.Renderer {
  override createBody(value: Dialog.Body<unknown>): Widget {
    if (!(value instanceof Widget)) return super.createBody(value);
    value.addClass('jp-Dialog-body');
    return value;
  }
}

let open: RentDialog | null = null;

/** Open it; there is never more than one. */
export async function rentDialog(services: IServices): Promise<void> {
  if (open) return;
  const body: RentBody = new RentBody(services, () => dialog.resolve(0));
  const dialog: RentDialog = new RentDialog(body, {
    title: services.trans.__('Rent a GPU'),
    body: body as unknown as Dialog.IBodyWidget<void>,
    buttons: [Dialog.cancelButton({ label: services.trans.__('Close'), className: 'gpunb-quiet' })],
    focusNodeSelector: '.gpunb-find',
    renderer: new PlainRenderer()
  });
  dialog.addClass('gpunb-rent-dialog');
  open = dialog;
  try {
    await dialog.launch();
  } finally {
    open = null;
    if (!body.isDisposed) body.dispose();
  }
}

function problem(error: unknown): { message: string; hint?: string | null; bill?: string | null } {
  if (error instanceof ApiError) return error;
  return { message: String((error as Error)?.message ?? error) };
}
