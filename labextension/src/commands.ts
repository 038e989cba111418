/** The commands of the palette; each takes `{session}`, and asks which one where that is left out. */

import { InputDialog, Notification, type ICommandPalette } from '@jupyterlab/apputils';
import type { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import type { CommandRegistry } from '@lumino/commands';

import { askAndDo, pickSession, trouble, type Spending } from './actions';
import { reachable } from './sessionDetails';
import { FilesView } from './files';
import { Ids, type IServices } from './services';
import { gpuIcon } from './icon';
import { LogView } from './log';
import { ReceiptsView } from './receipts';
import { rentDialog } from './rent';
import type { Session } from './types';

export function addCommands(services: IServices, palette: ICommandPalette | null, browser: IFileBrowserFactory | null): void {
  const { trans, store, app } = services;
  const category = trans.__('GPU');
  const usable = (): boolean => store.usable;
  const some = (): boolean => store.usable && store.live.length > 0;

  const add = (id: string, options: CommandRegistry.ICommandOptions): void => {
    // what it takes is the same everywhere: a session's id or name
    const described = { describedBy: { args: ARGS }, ...options };
    app.commands.addCommand(id, described);
    palette?.addItem({ command: id, category });
  };
  /** A command about one session; errors are shown. */
  const about = (id: string, label: string, work: (session: Session, args: Args) => unknown): void =>
    add(id, {
      label: args => {
        const named = typeof args['session'] === 'string' ? store.named(args['session'])?.name : undefined;
        return named ? `${label}: ${named}` : `${label}…`;
      },
      isEnabled: some,
      execute: async given => {
        const args = given as Args;
        const session = await pickSession(services, args);
        if (!session) return;
        try {
          await work(session, args);
        } catch (error) {
          trouble(services, error);
        }
      }
    });

  add(Ids.rent, {
    label: trans.__('Rent a GPU…'),
    caption: trans.__('What the clouds offer now, and what it costs'),
    icon: gpuIcon,
    isEnabled: usable,
    execute: () => rentDialog(services)
  });
  add(Ids.panel, {
    label: trans.__('Show the rented GPUs'),
    execute: () => app.shell.activateById('gpunb-panel')
  });
  add(Ids.receipts, {
    label: trans.__('GPU receipts'),
    isEnabled: usable,
    execute: () => services.show(new ReceiptsView(services))
  });
  add(Ids.refresh, {
    label: trans.__('Connect to the GPU server extension again'),
    execute: () => store.start()
  });

  const spend = (id: string, action: Spending, label: string, args: Args = {}): void =>
    about(id, label, session => askAndDo(services, action, session, args));
  spend(Ids.extend, 'extend', trans.__('Extend a GPU session by an hour'), { hours: 1 });
  spend(Ids.stop, 'stop', trans.__('Stop a GPU session'));
  spend(Ids.start, 'start', trans.__('Start a stopped GPU session'));
  spend(Ids.down, 'down', trans.__('End a GPU session for good'));

  about(Ids.terminal, trans.__('Terminal on a GPU session'), async session => {
    const name = await store.api.terminal(session.id);
    const made = (await app.commands.execute('terminal:open', { name })) as Titled | undefined;
    if (made) callTerminal(made, session.name, trans.__('Terminal on %1 (%2)', session.name, session.gpu || session.provider));
  });
  about(Ids.files, trans.__('Files of a GPU session'), session =>
    services.show(new FilesView(services, session, () => browser?.tracker.currentWidget?.model.path.replace(/^[^:/]*:/, '') ?? ''))
  );
  about(Ids.forward, trans.__('Forward a port of a GPU session'), async session => {
    const answer = await InputDialog.getNumber({
      title: trans.__('Which port of %1?', session.name),
      label: trans.__('A port of the host, 1 to 65535'),
      value: 6006
    });
    if (!answer.button.accept || answer.value === null) return;
    const port = answer.value;
    const opening = Notification.emit(trans.__('Opening port %1 of %2…', port, session.name), 'in-progress', { autoClose: false });
    store.openingPort(session.id, port, true);
    try {
      const ports = await store.api.forward(session.id, port);
      const link = reachable(ports.find(one => one.host_port === port && !one.reverse)?.link);
      Notification.update({
        id: opening,
        type: 'success',
        message: trans.__('Port %1 of %2 is open', port, session.name),
        autoClose: 8000,
        actions: link ? [{ label: trans.__('Open'), callback: () => void window.open(link, '_blank', 'noopener,noreferrer') }] : []
      });
    } catch (error) {
      Notification.dismiss(opening);
      throw error;
    } finally {
      store.openingPort(session.id, port, false);
    }
  });
  about(Ids.log, trans.__('Log of a run on a GPU session'), async (session, args) => {
    const run = args.run ?? (await pickRun(services, session));
    if (run) services.show(new LogView(services, run, session.name));
  });
}

interface Args {
  session?: string;
  run?: string;
  [more: string]: string | number | undefined;
}

const ARGS = {
  type: 'object',
  properties: { session: { type: 'string' }, run: { type: 'string' } }
} as const;

interface Titled {
  title: { label: string; caption: string; changed: { connect(slot: () => void): void } };
}

/** The shell there names its tab itself, "Terminal 1" or by what runs; the session's name stays before that. */
function callTerminal(made: Titled, name: string, caption: string): void {
  const { title } = made;
  const call = (): void => {
    const own = title.label.startsWith(`${name}: `) || title.label === name ? '' : title.label;
    const label = !own || /^(Terminal \d+|…|\.\.\.)$/.test(own) ? name : `${name}: ${own}`;
    if (own && title.label !== label) title.label = label;
    if (title.caption !== caption) title.caption = caption;
  };
  title.changed.connect(call);
  call();
}

async function pickRun(services: IServices, session: Session): Promise<string | undefined> {
  const runs = await services.store.api.runs(session.id);
  const labels = runs.map(one => [one.id, one.state, one.name ?? ''].join(' ').trim().slice(0, 80));
  const answer = await InputDialog.getItem({ title: services.trans.__('Which run?'), items: labels });
  return answer.button.accept ? runs[labels.indexOf(answer.value ?? '')]?.id : undefined;
}
