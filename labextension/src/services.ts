/** What the parts of the extension share. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';
import type { Widget } from '@lumino/widgets';

import type { Store } from './store';

export interface IServices {
  readonly app: JupyterFrontEnd;
  readonly store: Store;
  readonly trans: TranslationBundle;
  /** The user's choice, or what the schema says. */
  setting<T>(name: string, otherwise: T): T;
  /** Show a widget of ours where this front end has room for one. */
  show(widget: Widget): void;
}

export const IServices = new Token<IServices>('gpunb:IServices', 'Sessions on rented GPUs, and what can be done with them.');

export type Settings = ISettingRegistry.ISettings | null;

export const Ids = {
  rent: 'gpunb:rent',
  panel: 'gpunb:panel',
  receipts: 'gpunb:receipts',
  extend: 'gpunb:extend',
  stop: 'gpunb:stop',
  start: 'gpunb:start',
  down: 'gpunb:down',
  terminal: 'gpunb:terminal',
  files: 'gpunb:files',
  forward: 'gpunb:forward',
  log: 'gpunb:log',
  newNotebook: 'gpunb:new-notebook',
  useNotebook: 'gpunb:run-notebook-on',
  refresh: 'gpunb:refresh'
} as const;
