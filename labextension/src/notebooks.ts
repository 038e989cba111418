/** A notebook whose plain cells run on a session: a new one, or the one in front. */

import type { ICommandPalette } from '@jupyterlab/apputils';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';

import { pickSession, trouble } from './actions';
import { Ids, type IServices } from './services';
import { RunTarget } from './runTarget';
import type { Session } from './types';

/** `opens`: whether this front end has room for another notebook; Notebook 7 has a window for each. */
export function addNotebookCommands(
  services: IServices,
  palette: ICommandPalette | null,
  notebooks: INotebookTracker | null,
  opens: boolean
): void {
  if (!notebooks) return;
  const { app, store, trans } = services;
  const category = trans.__('GPU');
  const add = (id: string, label: (name: string) => string, able: () => boolean, work: (session: Session) => Promise<void>): void => {
    app.commands.addCommand(id, {
      describedBy: { args: { type: 'object', properties: { session: { type: 'string' } } } },
      label: args => label(store.named(String(args['session']))?.name ?? trans.__('a GPU session')),
      isEnabled: () => store.usable && store.live.some(one => one.state === 'ready') && able(),
      execute: async args => {
        const session = await pickSession(services, args);
        if (session) await work(session).catch(error => trouble(services, error));
      }
    });
    palette?.addItem({ command: id, category });
  };

  add(
    Ids.useNotebook,
    name => trans.__('Run this notebook on %1', name),
    () => Boolean(notebooks.currentWidget && RunTarget.of(notebooks.currentWidget)?.able),
    async session => {
      const panel = notebooks.currentWidget;
      if (!panel) return;
      app.shell.activateById(panel.id);
      await RunTarget.of(panel)?.turn(session.id);
    }
  );
  if (!opens) return;
  add(
    Ids.newNotebook,
    name => trans.__('Open a notebook on %1', name),
    () => app.commands.hasCommand('notebook:create-new'),
    async session => {
      // the kernel is a local one: the notebook can be turned back, and outlives the session
      const kernelName = app.serviceManager.kernelspecs.specs?.default ?? 'python3';
      const panel = (await app.commands.execute('notebook:create-new', { kernelName })) as NotebookPanel;
      await RunTarget.of(panel)?.turn(session.id);
    }
  );
}
