/** Below a session's card: its files, a terminal, and its ports. Files dropped on the card go to the host. */

import { Notification } from '@jupyterlab/apputils';
import { folderIcon, linkIcon, terminalIcon } from '@jupyterlab/ui-components';
import { Drag } from '@lumino/dragdrop';
import type { IDisposable } from '@lumino/disposable';

import { trouble } from './actions';
import { button, bytes, el, iconButton } from './dom';
import { Ids, type IServices } from './services';
import type { Job, Session } from './types';

/** What JupyterLab's file browser drags. */
export const CONTENTS = 'application/x-jupyter-icontents';

export class SessionDetails implements IDisposable {
  constructor(
    private readonly services: IServices,
    private readonly id: string
  ) {
    const { trans, app } = services;
    const args = { session: id };
    this.buttons = el(
      'div',
      { className: 'gpunb-buttons gpunb-extra-buttons' },
      iconButton(folderIcon, trans.__('Files'), () => app.commands.execute(Ids.files, args), { className: 'gpunb-open-files' }),
      iconButton(terminalIcon, trans.__('Terminal'), () => app.commands.execute(Ids.terminal, args), {
        className: 'gpunb-open-terminal'
      }),
      iconButton(linkIcon, trans.__('Port…'), () => app.commands.execute(Ids.forward, args), {
        className: 'gpunb-open-port',
        title: trans.__('Make a port of the host a link here')
      })
    );
    this.ports = el('div', { className: 'gpunb-ports', label: trans.__('Forwarded ports'), role: 'group' });
    this.node = el('div', { className: 'gpunb-details' }, this.buttons, this.ports);
  }

  readonly node: HTMLElement;
  isDisposed = false;

  dispose(): void {
    this.isDisposed = true;
    this.drop?.dispose();
    this.node.remove();
  }

  update(session: Session): void {
    this.buttons.hidden = session.state !== 'ready';
    const there = new Set(session.ports.map(port => port.host_port));
    const opening = [...(this.services.store.opening.get(this.id) ?? [])].filter(port => !there.has(port));
    // of a stopped machine nothing answers: a link to it would only fail
    const ports = session.state === 'ready' ? session.ports : [];
    const key = JSON.stringify([ports, opening]);
    if (key === this.shown) return;
    this.shown = key;
    this.ports.replaceChildren(
      ...ports.map(port => this.line(port)),
      ...opening.map(port =>
        el('div', { className: 'gpunb-port gpunb-hint', text: this.services.trans.__('opening port %1…', port), role: 'status' })
      )
    );
  }

  dropOn(target: HTMLElement): void {
    this.drop?.dispose();
    this.drop = acceptFiles(this.services, target, this.id, () => '');
  }

  private line(port: Session['ports'][number]): HTMLElement {
    const { trans, store } = this.services;
    const says = port.reverse
      ? trans.__('%1 here → %2 on the host', port.local_port, port.host_port)
      : trans.__('port %1', port.host_port);
    const href = port.reverse ? undefined : reachable(port.link);
    const link = href === undefined ? el('span', { text: says, title: port.link }) : el('a', { text: says, title: port.link });
    if (link instanceof HTMLAnchorElement && href !== undefined) {
      link.href = href;
      link.target = '_blank';
      link.rel = 'noopener noreferrer';
    }
    const close = button(
      '×',
      async () => {
        try {
          await store.api.unforward(this.id, port.host_port);
        } catch (error) {
          trouble(this.services, error);
        }
      },
      { className: 'gpunb-small', label: trans.__('Close port %1', port.host_port) }
    );
    const line = el('div', { className: 'gpunb-port' }, link, close);
    if (href === undefined && !port.reverse) line.append(this.elsewhere(port.local_port));
    return line;
  }

  /** The way in where the browser is on another computer than the Jupyter server. */
  private elsewhere(port: number): HTMLElement {
    const host = window.location.hostname;
    const line = `ssh -L ${port}:127.0.0.1:${port} ${host}`;
    return el(
      'div',
      { className: 'gpunb-hint gpunb-port-way' },
      this.services.trans.__('It is open on the computer where Jupyter runs. From yours:'),
      ' ',
      el('code', { text: line }),
      ' ',
      this.services.trans.__('then http://localhost:%1', port)
    );
  }

  private readonly buttons: HTMLElement;
  private readonly ports: HTMLElement;
  private shown = '[]';
  private drop: IDisposable | undefined;
}

/** Take files that are dropped on `target`, from the desktop or from JupyterLab's file browser. */
export function acceptFiles(
  services: IServices,
  target: HTMLElement,
  session: string,
  folder: () => string,
  done: () => unknown = () => undefined
): IDisposable {
  const lit = (on: boolean): void => void target.classList.toggle('gpunb-drop', on);
  const ours = (event: Drag.Event): boolean => event.mimeData.hasData(CONTENTS);
  const off = new AbortController();
  const on = (type: string, handler: (event: never) => void): void =>
    target.addEventListener(type, handler as EventListener, { signal: off.signal });
  const stop = (event: Event): void => {
    event.preventDefault();
    event.stopPropagation();
  };
  on('dragover', (event: DragEvent) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    stop(event);
    lit(true);
  });
  on('dragleave', () => lit(false));
  on('drop', (event: DragEvent) => {
    const files = [...(event.dataTransfer?.files ?? [])];
    lit(false);
    if (!files.length) return;
    stop(event);
    void uploadAll(services, session, folder(), files).then(done);
  });
  const entered = (event: Drag.Event): void => {
    if (!ours(event)) return;
    stop(event);
    lit(true);
  };
  on('lm-dragenter', entered);
  on('lm-dragover', (event: Drag.Event) => {
    if (!ours(event)) return;
    stop(event);
    event.dropAction = event.proposedAction;
  });
  on('lm-dragleave', () => lit(false));
  on('lm-drop', (event: Drag.Event) => {
    lit(false);
    if (!ours(event)) return;
    stop(event);
    event.dropAction = 'copy';
    const paths = event.mimeData.getData(CONTENTS) as string[];
    void syncAll(services, session, folder(), paths).then(done);
  });
  return {
    isDisposed: false,
    dispose: () => {
      off.abort();
    }
  };
}

/** Where a browser on the Jupyter server's own computer finds a forwarded port; a host may be called anything. */
const FORWARDED = /^https?:\/\/(localhost|127\.0\.0\.1|[a-z0-9-]{1,63}\.localhost):\d{1,5}(\/|$)/;
const HERE = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|.*\.localhost)$/;

/** The link of a forwarded port, if this browser can open it. */
export function reachable(link: string | undefined): string | undefined {
  return link !== undefined && FORWARDED.test(link) && HERE.test(window.location.hostname) ? link : undefined;
}

export function join(folder: string, name: string): string {
  return folder && folder !== '/' ? `${folder.replace(/\/+$/, '')}/${name}` : `${folder}${name}`;
}

export async function uploadAll(services: IServices, session: string, folder: string, files: File[]): Promise<void> {
  for (const file of files) {
    const { trans, store } = services;
    const id = Notification.emit(trans.__('Uploading %1…', file.name), 'in-progress', { autoClose: false, progress: 0 });
    let told = 0;
    try {
      await store.api.upload(session, join(folder, file.name), file, sent => {
        if (Date.now() - told < 250) return;
        told = Date.now();
        const share = file.size ? sent / file.size : 1;
        const message = trans.__('Uploading %1: %2 of %3', file.name, bytes(sent), bytes(file.size));
        Notification.update({ id, message, type: 'in-progress', progress: Math.min(1, share) });
      });
      Notification.update({ id, message: trans.__('Uploaded %1', file.name), type: 'success', autoClose: 5000, progress: null as never });
    } catch (error) {
      Notification.dismiss(id);
      trouble(services, error);
    }
  }
}

/** Files and folders of the Jupyter server, as `gpunb sync` does it; the job's events tell of its progress. */
async function syncAll(services: IServices, session: string, folder: string, paths: string[]): Promise<void> {
  for (const path of paths) {
    try {
      const name = path.split('/').pop() ?? path;
      await ended(services, await services.store.api.transfer(session, path, `:${join(folder, name)}`));
    } catch (error) {
      trouble(services, error);
    }
  }
}

/** When the job is over. */
export function ended(services: IServices, job: Job): Promise<void> {
  return new Promise(resolve => {
    const look = (_: unknown, seen: Job): void => {
      if (seen.id !== job.id || ['queued', 'running', 'cancelling'].includes(seen.state)) return;
      services.store.worked.disconnect(look);
      resolve();
    };
    services.store.worked.connect(look);
    services.store.begin(job);
  });
}
