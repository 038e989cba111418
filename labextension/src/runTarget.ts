/** "Run on: here / trainer": where a notebook's plain cells go. The kernel knows; this asks and tells it. */

import { Notification } from '@jupyterlab/apputils';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { Widget } from '@lumino/widgets';

import { el, iconButton } from './dom';
import { Ids, type IServices } from './services';
import { gpuIcon } from './icon';

/** What gpunb in the kernel knows, as JSON, without importing anything: where plain cells run, and which ran where. */
const WHERE = "(lambda m: m.told(get_ipython()) if m else '')(__import__('sys').modules.get('gpunb.services.running.cell_target'))";
const ON_OR_OFF = /^\s*%(gpu\s+(on|off)|(re|un)?load_ext\s+gpunb)\b/m;

/** Cells that stay here while plain cells go there: `%gpu …`, `%%local`. */
const STAYS = /^\s*(%gpu\b|%%(?!gpu\b))/;

type Cell = NotebookPanel['content']['widgets'][number];

interface Told {
  on: [string, string] | null;
  /** A cell's id, and the name of the session on which it ran. */
  cells: Record<string, string>;
}

export class RunTarget extends Widget {
  private static readonly all = new WeakMap<NotebookPanel, RunTarget>();

  /** The switch of a notebook. */
  static of(panel: NotebookPanel): RunTarget | undefined {
    return RunTarget.all.get(panel);
  }

  constructor(
    private readonly services: IServices,
    private readonly panel: NotebookPanel
  ) {
    super();
    const { trans } = services;
    this.addClass('gpunb-run-on');
    RunTarget.all.set(panel, this);
    this.select = el('select', { className: 'gpunb-run-on-select', label: trans.__('Run cells on') });
    this.select.title = trans.__('Where the plain cells of this notebook run');
    this.node.append(el('label', {}, el('span', { text: trans.__('Run on:') }), this.select));
    if (services.app.name !== 'JupyterLab') {
      // no side bar shows the panel's icon there
      const text = trans.__('Show rented GPUs');
      this.node.append(
        iconButton(gpuIcon, '', () => services.app.commands.execute(Ids.panel), { className: 'gpunb-run-on-panel', label: text, title: text })
      );
    }
    this.select.addEventListener('change', () => void this.choose(this.select.value));
    // JupyterLab's toolbar and shortcuts must not take its keys
    this.select.addEventListener('keydown', event => event.stopPropagation());
    panel.sessionContext.kernelChanged.connect(this.fresh, this);
    panel.sessionContext.statusChanged.connect(this.statusChanged, this);
    services.store.turned.connect(this.refresh, this);
    services.store.changed.connect(this.refresh, this);
    NotebookActions.executed.connect(this.executed, this);
    NotebookActions.executionScheduled.connect(this.scheduled, this);
    this.refresh();
    void panel.sessionContext.ready.then(() => this.fresh());
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.services.store.turned.disconnect(this.refresh, this);
    this.services.store.changed.disconnect(this.refresh, this);
    NotebookActions.executed.disconnect(this.executed, this);
    NotebookActions.executionScheduled.disconnect(this.scheduled, this);
    super.dispose();
  }

  /** Whether there is a kernel that can be told. */
  get able(): boolean {
    return this.kernel !== null && this.speaksPython() && !this.kernel.name.startsWith('gpunb-');
  }

  /** Send the plain cells to a session as soon as the kernel is there. */
  async turn(session: string): Promise<void> {
    this.busy = true;
    this.meant = session;
    this.refresh();
    try {
      await this.panel.sessionContext.ready;
      await this.kernel?.info;
    } finally {
      this.busy = false;
      this.meant = null;
    }
    await this.choose(session);
  }

  private get kernel(): Kernel.IKernelConnection | null {
    return this.panel.sessionContext.session?.kernel ?? null;
  }

  /** A kernel came, or came back: it says where its cells run. */
  private fresh(): void {
    this.on = null;
    void this.look();
  }

  private statusChanged(_: unknown, status: string): void {
    if (status === 'restarting' || status === 'autorestarting') this.on = null;
    if (status === 'idle' && this.unknown) void this.look();
    this.refresh();
  }

  /** A cell waits or runs: where it will, as far as that can be said before. */
  private scheduled(_: unknown, { notebook, cell }: { notebook: unknown; cell: Cell }): void {
    if (notebook !== this.panel.content || cell.model.type !== 'code') return;
    const source = cell.model.sharedModel.source;
    mark(cell, this.on && source.trim() && !STAYS.test(source) ? this.on.name : undefined, this.services);
  }

  private executed(_: unknown, { notebook, cell }: { notebook: unknown; cell: Cell }): void {
    if (notebook !== this.panel.content || cell.model.type !== 'code') return;
    // the kernel knows where it ran; without a session there is nothing to ask for
    if (this.on || this.services.store.live.length || ON_OR_OFF.test(cell.model.sharedModel.source)) void this.look();
  }

  private async look(): Promise<void> {
    const kernel = this.kernel;
    if (this.isDisposed || !kernel || !this.speaksPython()) return this.refresh();
    this.unknown = false;
    const reply = await ask(kernel, '', { gpunb: WHERE }).catch(() => null);
    const found = (reply?.content as KernelMessage.IReplyOkContent & { user_expressions?: Record<string, unknown> })
      ?.user_expressions?.['gpunb'] as { status: string; data?: Record<string, string> } | undefined;
    if (kernel !== this.kernel || this.isDisposed) return;
    if (found?.status === 'ok') {
      const told = toldIn(found.data?.['text/plain'] ?? '');
      this.on = told?.on ? { id: told.on[0], name: told.on[1] } : null;
      const ran = told?.cells ?? {};
      for (const cell of this.panel.content.widgets) {
        if (cell.model.type === 'code') mark(cell, ran[cell.model.id], this.services);
      }
    }
    this.refresh();
  }

  /** Tell the kernel; what it says is shown, not what was clicked. */
  private async choose(value: string): Promise<void> {
    const { trans } = this.services;
    const kernel = this.kernel;
    if (!kernel) return this.refresh();
    this.busy = true;
    this.refresh();
    const code = value ? `%load_ext gpunb\n%gpu on -s ${value}` : '%gpu off';
    try {
      const reply = await ask(kernel, code);
      if (reply?.content.status === 'error') {
        const { ename, evalue } = reply.content;
        Notification.error(trans.__('The cells of this notebook stay where they were: %1', evalue || ename), { autoClose: 15_000 });
      }
    } catch (error) {
      Notification.error(String((error as Error).message), { autoClose: 15_000 });
    } finally {
      this.busy = false;
      await this.look();
    }
  }

  private speaksPython(): boolean {
    const name = this.panel.sessionContext.session?.kernel?.name ?? '';
    const spec = this.services.app.serviceManager.kernelspecs.specs?.kernelspecs[name];
    return !spec || spec.language.toLowerCase() === 'python';
  }

  /** The session whose own kernel this is. */
  private hostOf(kernel: string): string {
    const id = kernel.replace(/^gpunb-/, '');
    return this.services.store.named(id)?.name ?? this.services.trans.__('the host');
  }

  private refresh(): void {
    if (this.isDisposed) return;
    const { store, trans } = this.services;
    const name = this.kernel?.name ?? '';
    const whole = name.startsWith('gpunb-');
    const rows: [string, string][] = [['', trans.__('this computer')]];
    for (const one of store.live) {
      if (one.state === 'ready' || one.id === this.on?.id) rows.push([one.id, one.name]);
    }
    if (this.on && !rows.some(([id]) => id === this.on?.id)) rows.push([this.on.id, trans.__('%1 (ended)', this.on.name)]);
    if (whole) rows.splice(0, rows.length, ['', trans.__('%1 (this kernel)', this.hostOf(name))]);
    const key = JSON.stringify(rows);
    if (key !== this.shown) {
      this.shown = key;
      this.select.replaceChildren(
        ...rows.map(([id, text]) => {
          const option = el('option', { text });
          option.value = id;
          return option;
        })
      );
    }
    if (!this.busy) this.select.value = this.on?.id ?? '';
    else if (this.meant !== null) this.select.value = this.meant;
    this.select.disabled = this.busy || whole || !this.kernel;
    this.node.classList.toggle('gpunb-on', this.on !== null);
    this.setHidden(!this.speaksPython() || (rows.length < 2 && !whole));
  }

  private readonly select: HTMLSelectElement;
  private on: { id: string; name: string } | null = null;
  private busy = false;
  /** What it is about to be turned to. */
  private meant: string | null = null;
  private unknown = true;
  private shown = '';
}

/** A bar at a cell that ran elsewhere, with the name of where. */
function mark(cell: Cell, session: string | undefined, services: IServices): void {
  cell.toggleClass('gpunb-ran', session !== undefined);
  const prompt = cell.node.querySelector<HTMLElement>('.jp-InputPrompt');
  if (!prompt) return;
  if (session === undefined) {
    if (prompt.dataset['gpunb'] === undefined) return;
    delete prompt.dataset['gpunb'];
    prompt.removeAttribute('title');
    return;
  }
  prompt.dataset['gpunb'] = session;
  prompt.title = services.trans.__('Ran on %1', session);
}

/** The JSON in the repr of a Python string. */
function toldIn(text: string): Told | null {
  const inner = text.replace(/^['"]|['"]$/g, '').replace(/\\(['\\])/g, '$1');
  try {
    return inner ? (JSON.parse(inner) as Told) : null;
  } catch {
    return null;
  }
}

/** Ask the kernel something that leaves no trace in the notebook. */
async function ask(
  kernel: Kernel.IKernelConnection,
  code: string,
  expressions: Record<string, string> = {}
): Promise<KernelMessage.IExecuteReplyMsg> {
  const future = kernel.requestExecute(
    { code, silent: true, store_history: false, allow_stdin: false, stop_on_error: false, user_expressions: expressions },
    true
  );
  const reply = await future.done;
  future.dispose();
  return reply as KernelMessage.IExecuteReplyMsg;
}
