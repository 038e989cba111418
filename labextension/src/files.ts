/** The host's files: look, read, download, bring here, and drop here to send. */

import { Dialog, InputDialog, showDialog } from '@jupyterlab/apputils';
import {
  caretDownIcon,
  caretUpIcon,
  downloadIcon,
  fileIcon,
  fileUploadIcon,
  folderIcon,
  linkIcon,
  newFolderIcon,
  refreshIcon,
  type LabIcon
} from '@jupyterlab/ui-components';
import type { IDisposable } from '@lumino/disposable';
import { Widget } from '@lumino/widgets';

import { trouble } from './actions';
import { bytes, button, el, iconButton, put } from './dom';
import { acceptFiles, join, uploadAll } from './sessionDetails';
import type { IServices } from './services';
import { gpuIcon } from './icon';
import type { FileEntry, Session } from './types';

const READ_MAX = 1_000_000;
const ICONS: Record<FileEntry['type'], LabIcon> = { directory: folderIcon, file: fileIcon, link: linkIcon, other: fileIcon };

type SortKey = 'name' | 'size' | 'mtime';

export class FilesView extends Widget {
  constructor(
    private readonly services: IServices,
    private readonly session: Session,
    /** The folder that is open in JupyterLab's file browser. */
    private readonly here: () => string
  ) {
    super();
    const { trans } = services;
    this.id = `gpunb-files-${session.id}`;
    this.addClass('gpunb');
    this.addClass('gpunb-files');
    this.title.label = trans.__('Files of %1', session.name);
    this.title.icon = gpuIcon;
    this.title.closable = true;
    this.where = el('nav', { className: 'gpunb-crumbs', label: trans.__('Folder') });
    this.status = el('span', { className: 'gpunb-hint', role: 'status' });
    this.hidden = el('input', { className: 'gpunb-files-hidden' });
    this.hidden.type = 'checkbox';
    this.hidden.addEventListener('change', () => this.rows());
    const pick = el('input', { label: trans.__('Files to upload') });
    pick.type = 'file';
    pick.multiple = true;
    pick.hidden = true;
    pick.addEventListener('change', () => void this.send([...(pick.files ?? [])]));
    const head = el(
      'div',
      { className: 'gpunb-view-head' },
      this.where,
      this.status,
      el('label', { className: 'gpunb-right' }, this.hidden, this.hiddenText),
      iconButton(newFolderIcon, trans.__('New folder…'), () => this.makeFolder()),
      iconButton(fileUploadIcon, trans.__('Upload…'), () => pick.click()),
      iconButton(refreshIcon, trans.__('Refresh'), () => this.open(this.path)),
      pick
    );
    this.list = el('div', { className: 'gpunb-file-list' });
    this.viewer = el('div', { className: 'gpunb-file-view' });
    this.viewer.hidden = true;
    const hint = el('div', {
      className: 'gpunb-hint gpunb-file-hint',
      text: trans.__('Drop files here, from the desktop or from the file browser, to copy them to this folder.')
    });
    this.node.append(head, this.list, this.viewer, hint);
    this.drop = acceptFiles(services, this.node, session.id, () => this.path, () => this.open(this.path));
    void this.open('');
  }

  override dispose(): void {
    this.drop.dispose();
    super.dispose();
  }

  /** Show a folder of the host. */
  async open(path: string): Promise<void> {
    const asked = (this.asked += 1);
    put(this.status, this.services.trans.__('Reading…'));
    try {
      const found = await this.services.store.api.files(this.session.id, path);
      if (asked !== this.asked || this.isDisposed) return;
      this.path = path;
      this.viewer.hidden = true;
      this.crumbs();
      this.entries = found.entries;
      this.rows();
      put(this.status, found.truncated ? this.services.trans.__('the first 10,000') : '');
    } catch (error) {
      if (asked === this.asked) put(this.status, String((error as Error).message));
    }
  }

  private crumbs(): void {
    const rooted = this.path.startsWith('/');
    const parts = this.path.split('/').filter(Boolean);
    const crumb = (text: string, path: string): HTMLElement =>
      button(text, () => this.open(path), { className: 'gpunb-crumb' });
    const made: HTMLElement[] = [rooted ? crumb('/', '/') : crumb('~', '')];
    parts.forEach((part, at) => made.push(crumb(part, (rooted ? '/' : '') + parts.slice(0, at + 1).join('/'))));
    if (!rooted) made.push(crumb('/', '/'));
    this.where.replaceChildren(...made);
    if (!rooted) made[made.length - 1]?.classList.add('gpunb-crumb-root');
  }

  private rows(): void {
    const { trans } = this.services;
    const dotted = this.entries.filter(one => one.name.startsWith('.'));
    put(this.hiddenText, trans.__('hidden files (%1)', dotted.length));
    const shown = this.hidden.checked ? this.entries : this.entries.filter(one => !one.name.startsWith('.'));
    const sorted = [...shown].sort(this.order());
    const table = el('table', { label: trans.__('Files') });
    const head = table.createTHead().insertRow();
    head.append(
      this.heading('name', trans.__('Name')),
      this.heading('size', trans.__('Size')),
      this.heading('mtime', trans.__('Modified')),
      el('th', { text: trans.__('Actions') })
    );
    const body = table.createTBody();
    for (const one of sorted) this.row(body.insertRow(), one);
    const none = dotted.length ? trans.__('Only hidden files here.') : trans.__('Nothing here.');
    this.list.replaceChildren(sorted.length ? table : el('div', { className: 'gpunb-hint', text: none }));
  }

  /** Folders first, then as a heading says. */
  private order(): (a: FileEntry, b: FileEntry) => number {
    const { key, down } = this.sort;
    const sign = down ? -1 : 1;
    const late = (one: FileEntry): number => (one.type === 'directory' ? 0 : 1);
    const named = (a: FileEntry, b: FileEntry): number => a.name.localeCompare(b.name, undefined, { numeric: true });
    return (a, b) => late(a) - late(b) || sign * (key === 'name' ? named(a, b) : a[key] - b[key]) || named(a, b);
  }

  private heading(key: SortKey, text: string): HTMLElement {
    const mine = this.sort.key === key;
    const press = el('button', { className: 'gpunb-file-sort gpunb-with-icon', text });
    press.type = 'button';
    if (mine) press.append((this.sort.down ? caretDownIcon : caretUpIcon).element({ tag: 'span', className: 'gpunb-icon' }));
    press.addEventListener('click', () => {
      // sizes and times: the biggest and the latest first
      this.sort = { key, down: mine ? !this.sort.down : key !== 'name' };
      this.rows();
      this.list.querySelector<HTMLElement>(`th[data-key=${key}] button`)?.focus();
    });
    const made = el('th', { className: key === 'name' ? '' : 'gpunb-num' }, press);
    made.dataset['key'] = key;
    made.setAttribute('aria-sort', mine ? (this.sort.down ? 'descending' : 'ascending') : 'none');
    return made;
  }

  private row(row: HTMLTableRowElement, one: FileEntry): void {
    const { trans } = this.services;
    const folder = one.type === 'directory';
    const name = iconButton(ICONS[one.type], folder ? `${one.name}/` : one.name, () => (folder ? this.open(one.path) : this.read(one)), {
      className: 'gpunb-file-name',
      label: folder ? trans.__('Open folder %1', one.name) : trans.__('Open %1', one.name)
    });
    row.insertCell().append(name);
    const size = row.insertCell();
    size.append(folder ? '' : bytes(one.size));
    const at = row.insertCell();
    at.append(new Date(one.mtime * 1000).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' }));
    size.className = at.className = 'gpunb-num';
    const does = row.insertCell();
    if (one.type === 'file') {
      const load = el('a', { className: 'gpunb-button gpunb-with-icon', label: trans.__('Download %1', one.name) });
      load.append(downloadIcon.element({ tag: 'span', className: 'gpunb-icon' }), trans.__('Download'));
      load.href = this.services.store.api.fileUrl(this.session.id, one.path);
      load.download = one.name;
      does.append(load);
    }
    does.append(
      button(trans.__('Copy to notebook folder'), () => this.bring(one), {
        label: trans.__('Copy to notebook folder: %1', one.name),
        title: trans.__('To the folder that the file browser shows')
      }),
      button(trans.__('Rename…'), () => this.rename(one), { label: trans.__('Rename… %1', one.name) }),
      button(trans.__('Delete…'), () => this.remove(one), { label: trans.__('Delete… %1', one.name) })
    );
  }

  /** The beginning of a file, as text. */
  private async read(one: FileEntry): Promise<void> {
    const { trans } = this.services;
    put(this.status, trans.__('Reading…'));
    try {
      const got = await this.services.store.api.read(this.session.id, one.path, READ_MAX);
      const text = new TextDecoder().decode(got.bytes);
      const binary = got.bytes.subarray(0, 4096).includes(0);
      const says = binary ? trans.__('Not text. Download it, or copy it to the notebook folder.') : text;
      const pre = el('pre', { className: 'gpunb-log', text: got.cut && !binary ? `${says}\n…` : says, label: one.name });
      pre.tabIndex = 0;
      const close = button(trans.__('Close'), () => (this.viewer.hidden = true));
      this.viewer.replaceChildren(
        el('div', { className: 'gpunb-view-head' }, el('strong', { text: one.name }), el('span', { text: bytes(one.size) }), close),
        pre
      );
      this.viewer.hidden = false;
      put(this.status, '');
    } catch (error) {
      put(this.status, String((error as Error).message));
    }
  }

  private async makeFolder(): Promise<void> {
    const { trans } = this.services;
    const title = trans.__('New folder on %1', this.session.name);
    const answer = await InputDialog.getText({ title, label: trans.__('Name'), okLabel: trans.__('Make') });
    const name = answer.value?.trim();
    if (answer.button.accept && name) await this.change(api => api.makeFolder(this.session.id, join(this.path, name)));
  }

  private async rename(one: FileEntry): Promise<void> {
    const { trans } = this.services;
    const title = trans.__('Rename %1', one.name);
    const answer = await InputDialog.getText({ title, text: one.name, label: trans.__('Name'), okLabel: trans.__('Rename') });
    const name = answer.value?.trim();
    if (answer.button.accept && name && name !== one.name) {
      await this.change(api => api.rename(this.session.id, one.path, join(this.path, name)));
    }
  }

  private async remove(one: FileEntry): Promise<void> {
    const { trans } = this.services;
    const all = one.type === 'directory' ? trans.__('It goes with all that is in it. ') : '';
    const answer = await showDialog({
      title: trans.__('Delete %1 on %2?', one.name, this.session.name),
      body: all + trans.__('There is no undo, and no copy here unless you made one.'),
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Delete') })]
    });
    if (answer.button.accept) await this.change(api => api.remove(this.session.id, one.path));
  }

  /** Change something in the folder that is shown, and show it anew. */
  private async change(does: (api: IServices['store']['api']) => Promise<void>): Promise<void> {
    try {
      await does(this.services.store.api);
      await this.open(this.path);
    } catch (error) {
      trouble(this.services, error);
    }
  }

  private async bring(one: FileEntry): Promise<void> {
    try {
      const job = await this.services.store.api.transfer(this.session.id, `:${one.path}`, join(this.here(), one.name));
      this.services.store.begin(job);
    } catch (error) {
      trouble(this.services, error);
    }
  }

  private async send(files: File[]): Promise<void> {
    await uploadAll(this.services, this.session.id, this.path, files);
    await this.open(this.path);
  }

  private readonly where: HTMLElement;
  private readonly status: HTMLElement;
  private readonly list: HTMLElement;
  private readonly hidden: HTMLInputElement;
  private readonly hiddenText = el('span');
  private entries: FileEntry[] = [];
  private sort: { key: SortKey; down: boolean } = { key: 'name', down: false };
  private readonly viewer: HTMLElement;
  private readonly drop: IDisposable;
  private path = '';
  private asked = 0;
}
