/** "Run on: here / trainer": where a notebook's plain cells go. The kernel knows; this asks and tells it. */

import { Notification } from '@jupyterlab/apputils';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { Widget } from '@lumino/widgets';

import { el } from './dom';
import type { IHub } from './hub';

/** The id of the session that plain cells run on, without importing anything. */
const WHERE = [
  "(lambda m: (lambda f: f.session_id + ' ' + f.name if f else '')",
  "(m.current(get_ipython())) if m else '')",
  "(__import__('sys').modules.get('gpunb.commands.mode'))"
].join('');
const ON_OR_OFF = /^\s*%(gpu\s+(on|off)|(re|un)?load_ext\s+gpunb)\b/m;

export class RunOn extends Widget {
  constructor(
    private readonly hub: IHub,
    private readonly panel: NotebookPanel
  ) {
    super();
    const { trans } = hub;
    this.addClass('gpunb-run-on');
    this.select = el('select', { className: 'gpunb-run-on-select', label: trans.__('Run cells on') });
    this.select.title = trans.__('Where the plain cells of this notebook run');
    this.node.append(el('label', {}, el('span', { text: trans.__('Run on:') }), this.select));
    this.select.addEventListener('change', () => void this.choose(this.select.value));
    // JupyterLab's toolbar and shortcuts must not take its keys
    this.select.addEventListener('keydown', event => event.stopPropagation());
    panel.sessionContext.kernelChanged.connect(this.fresh, this);
    panel.sessionContext.statusChanged.connect(this.statusChanged, this);
    hub.store.turned.connect(this.refresh, this);
    hub.store.changed.connect(this.refresh, this);
    NotebookActions.executed.connect(this.executed, this);
    this.refresh();
    void panel.sessionContext.ready.then(() => this.fresh());
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.hub.store.turned.disconnect(this.refresh, this);
    this.hub.store.changed.disconnect(this.refresh, this);
    NotebookActions.executed.disconnect(this.executed, this);
    super.dispose();
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

  private executed(_: unknown, args: { notebook: unknown; cell: { model: { sharedModel: { source: string } } } }): void {
    if (args.notebook !== this.panel.content) return;
    if (ON_OR_OFF.test(args.cell.model.sharedModel.source)) void this.look();
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
      const [id, name] = (found.data?.['text/plain'] ?? '').replace(/^['"]|['"]$/g, '').split(' ');
      this.on = id ? { id, name: name ?? id } : null;
    }
    this.refresh();
  }

  /** Tell the kernel; what it says is shown, not what was clicked. */
  private async choose(value: string): Promise<void> {
    const { trans } = this.hub;
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
    const spec = this.hub.app.serviceManager.kernelspecs.specs?.kernelspecs[name];
    return !spec || spec.language.toLowerCase() === 'python';
  }

  private refresh(): void {
    if (this.isDisposed) return;
    const { store, trans } = this.hub;
    const name = this.kernel?.name ?? '';
    const whole = name.startsWith('gpunb-');
    const rows: [string, string][] = [['', trans.__('here')]];
    for (const one of store.live) {
      if (one.state === 'ready' || one.id === this.on?.id) rows.push([one.id, one.name]);
    }
    if (this.on && !rows.some(([id]) => id === this.on?.id)) rows.push([this.on.id, trans.__('%1 (over)', this.on.name)]);
    if (whole) rows.splice(0, rows.length, ['', trans.__('the host: this kernel is there')]);
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
    this.select.disabled = this.busy || whole || !this.kernel;
    this.node.classList.toggle('gpunb-on', this.on !== null);
    this.setHidden(!this.speaksPython() || (rows.length < 2 && !whole));
  }

  private readonly select: HTMLSelectElement;
  private on: { id: string; name: string } | null = null;
  private busy = false;
  private unknown = true;
  private shown = '';
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
