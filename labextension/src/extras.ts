/** Below a session's card: its files, a terminal, and its ports. Files dropped on the card go to the host. */

import { Notification } from '@jupyterlab/apputils';
import { Drag } from '@lumino/dragdrop';
import type { IDisposable } from '@lumino/disposable';

import { trouble } from './actions';
import { button, el } from './dom';
import { Ids, type IHub } from './hub';
import type { Job, Session } from './types';

/** What JupyterLab's file browser drags. */
export const CONTENTS = 'application/x-jupyter-icontents';

export class Extras implements IDisposable {
  constructor(
    private readonly hub: IHub,
    private readonly id: string
  ) {
    const { trans, app } = hub;
    const args = { session: id };
    this.buttons = el(
      'div',
      { className: 'gpunb-buttons gpunb-extra-buttons' },
      button(trans.__('Files'), () => app.commands.execute(Ids.files, args), { className: 'gpunb-open-files' }),
      button(trans.__('Terminal'), () => app.commands.execute(Ids.terminal, args), { className: 'gpunb-open-terminal' }),
      button(trans.__('Port …'), () => app.commands.execute(Ids.forward, args), {
        className: 'gpunb-open-port',
        label: trans.__('Forward a port')
      })
    );
    this.ports = el('div', { className: 'gpunb-ports', label: trans.__('Forwarded ports'), role: 'group' });
    this.node = el('div', { className: 'gpunb-extras' }, this.buttons, this.ports);
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
    const key = JSON.stringify(session.ports);
    if (key === this.shown) return;
    this.shown = key;
    this.ports.replaceChildren(...session.ports.map(port => this.line(port)));
  }

  dropOn(target: HTMLElement): void {
    this.drop?.dispose();
    this.drop = acceptFiles(this.hub, target, this.id, () => '');
  }

  private line(port: Session['ports'][number]): HTMLElement {
    const { trans, store } = this.hub;
    const says = port.reverse
      ? trans.__('%1 here → %2 on the host', port.local_port, port.host_port)
      : trans.__('port %1', port.host_port);
    const link = el('a', { text: says, title: port.link });
    // a host may be called anything; a link leads to a forwarded port or nowhere
    if (/^https?:\/\/(localhost|127\.0\.0\.1)[:/]/.test(port.link)) link.href = port.link;
    link.target = '_blank';
    link.rel = 'noopener noreferrer';
    const close = button(
      '×',
      async () => {
        try {
          await store.api.unforward(this.id, port.host_port);
        } catch (error) {
          trouble(this.hub, error);
        }
      },
      { className: 'gpunb-small', label: trans.__('Close port %1', port.host_port) }
    );
    return el('div', { className: 'gpunb-port' }, link, close);
  }

  private readonly buttons: HTMLElement;
  private readonly ports: HTMLElement;
  private shown = '[]';
  private drop: IDisposable | undefined;
}

/** Take files that are dropped on `target`, from the desktop or from JupyterLab's file browser. */
export function acceptFiles(
  hub: IHub,
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
    void uploadAll(hub, session, folder(), files).then(done);
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
    void syncAll(hub, session, folder(), paths).then(done);
  });
  return {
    isDisposed: false,
    dispose: () => {
      off.abort();
    }
  };
}

export function join(folder: string, name: string): string {
  return folder && folder !== '/' ? `${folder.replace(/\/+$/, '')}/${name}` : `${folder}${name}`;
}

export async function uploadAll(hub: IHub, session: string, folder: string, files: File[]): Promise<void> {
  for (const file of files) {
    const work = hub.store.api.upload(session, join(folder, file.name), file);
    Notification.promise(
      work.then(() => null),
      {
        pending: { message: hub.trans.__('Copying %1 to the host …', file.name) },
        success: { message: () => hub.trans.__('%1 is on the host', file.name) },
        error: { message: reason => String((reason as Error).message ?? reason) }
      }
    );
    await work.catch(() => undefined);
  }
}

/** Files and folders of the Jupyter server, as `gpunb sync` does it; the job's events tell of its progress. */
async function syncAll(hub: IHub, session: string, folder: string, paths: string[]): Promise<void> {
  for (const path of paths) {
    try {
      const name = path.split('/').pop() ?? path;
      await ended(hub, await hub.store.api.transfer(session, path, `:${join(folder, name)}`));
    } catch (error) {
      trouble(hub, error);
    }
  }
}

/** When the job is over. */
export function ended(hub: IHub, job: Job): Promise<void> {
  return new Promise(resolve => {
    const look = (_: unknown, seen: Job): void => {
      if (seen.id !== job.id || ['queued', 'running', 'cancelling'].includes(seen.state)) return;
      hub.store.worked.disconnect(look);
      resolve();
    };
    hub.store.worked.connect(look);
    hub.store.begin(job);
  });
}
