/** Rented GPUs in JupyterLab 4 and Notebook 7. What a front end lacks is left out. */

import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, IToolbarWidgetRegistry } from '@jupyterlab/apputils';
import { IDefaultFileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { Widget } from '@lumino/widgets';

import { announceJobs } from './actions';
import { Api } from './api';
import { addCommands } from './commands';
import { IServices, type Settings } from './services';
import { addNotebookCommands } from './notebooks';
import { connectNotices } from './notices';
import { GpuPanel } from './panel';
import { RunTarget } from './runTarget';
import { CostItem } from './status';
import { Store } from './store';

const services: JupyterFrontEndPlugin<IServices> = {
  id: 'gpunb:plugin',
  description: 'The sessions on rented GPUs, kept true by the server.',
  autoStart: true,
  provides: IServices,
  optional: [ISettingRegistry, ITranslator, ILabShell],
  activate: (
    app: JupyterFrontEnd,
    registry: ISettingRegistry | null,
    translator: ITranslator | null,
    lab: ILabShell | null
  ): IServices => {
    const store = new Store(new Api(app.serviceManager.serverSettings));
    let settings: Settings = null;
    void registry
      ?.load('gpunb:plugin')
      .then(found => void (settings = found))
      .catch(error => console.warn('gpunb: settings could not be read:', error));
    const made: IServices = {
      app,
      store,
      trans: (translator ?? nullTranslator).load('gpunb'),
      setting: <T>(name: string, otherwise: T) => (settings?.get(name).composite as T | undefined) ?? otherwise,
      show: widget => place(app, lab, widget)
    };
    void app.started.then(() => store.start());
    return made;
  }
};

const commands: JupyterFrontEndPlugin<void> = {
  id: 'gpunb:commands',
  description: 'Rent, extend, stop, start and end from the command palette.',
  autoStart: true,
  requires: [IServices],
  optional: [ICommandPalette, IFileBrowserFactory, INotebookTracker, ILabShell, IDefaultFileBrowser],
  activate: (
    _: JupyterFrontEnd,
    found: IServices,
    palette: ICommandPalette | null,
    browser: IFileBrowserFactory | null,
    notebooks: INotebookTracker | null,
    lab: ILabShell | null
  ) => {
    addCommands(found, palette, browser);
    addNotebookCommands(found, palette, notebooks, lab !== null);
  }
};

const panel: JupyterFrontEndPlugin<void> = {
  id: 'gpunb:panel',
  description: 'The left panel.',
  autoStart: true,
  requires: [IServices],
  optional: [ILayoutRestorer],
  activate: (app: JupyterFrontEnd, found: IServices, restorer: ILayoutRestorer | null) => {
    const widget = new GpuPanel(found);
    app.shell.add(widget, 'left', { rank: 600, type: 'gpunb' });
    restorer?.add(widget, 'gpunb-panel');
  }
};

const status: JupyterFrontEndPlugin<void> = {
  id: 'gpunb:status',
  description: 'The running cost in the status bar.',
  autoStart: true,
  requires: [IServices],
  optional: [IStatusBar], // Notebook 7 has none
  activate: (_: JupyterFrontEnd, found: IServices, bar: IStatusBar | null) =>
    void bar?.registerStatusItem('gpunb:cost', { item: new CostItem(found), align: 'right', rank: 20 })
};

const notices: JupyterFrontEndPlugin<void> = {
  id: 'gpunb:notices',
  description: 'Warnings before a lease ends, with a button to extend it.',
  autoStart: true,
  requires: [IServices],
  activate: (_: JupyterFrontEnd, found: IServices) => {
    connectNotices(found);
    announceJobs(found);
  }
};

const runTarget: JupyterFrontEndPlugin<void> = {
  id: 'gpunb:run-on',
  description: 'Each notebook: run its cells here, or on a rented GPU.',
  autoStart: true,
  requires: [IServices, IToolbarWidgetRegistry],
  activate: (_: JupyterFrontEnd, found: IServices, toolbars: IToolbarWidgetRegistry) =>
    void toolbars.addFactory<NotebookPanel>('Notebook', 'gpunb-run-on', notebook => new RunTarget(found, notebook))
};

const launcher: JupyterFrontEndPlugin<void> = {
  id: 'gpunb:kernels',
  description: 'A kernel in the launcher for each session, as long as it lives.',
  autoStart: true,
  requires: [IServices],
  activate: (app: JupyterFrontEnd, found: IServices) =>
    // the server writes a kernelspec for each session; the list of them is read again when one comes or goes
    void found.store.turned.connect(() => void app.serviceManager.kernelspecs.refreshSpecs().catch(() => undefined))
};

/** In the middle of JupyterLab; Notebook 7 has one document there, and room below it. */
function place(app: JupyterFrontEnd, lab: ILabShell | null, widget: Widget): void {
  for (const area of ['main', 'down', 'right'] as const) {
    for (const one of app.shell.widgets(area)) {
      if (one.id !== widget.id) continue;
      widget.dispose();
      app.shell.activateById(one.id);
      return;
    }
  }
  app.shell.add(widget, lab ? 'main' : 'down');
  app.shell.activateById(widget.id);
}

const plugins: JupyterFrontEndPlugin<unknown>[] = [services, commands, panel, status, notices, runTarget, launcher];
export default plugins;
