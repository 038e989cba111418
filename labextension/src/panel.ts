/** The left panel: what runs, what it costs, and everything that can be done with it. */

import { addIcon, listIcon } from '@jupyterlab/ui-components';
import { Panel, Widget } from '@lumino/widgets';

import { createPanel, type PanelHandle, type Telemetry, type Transfer as Shown } from '../../gpunb/notebook/widgets/static/panel.js';
import { carryOut, serverArgs, type Spending } from './actions';
import { Banner } from './banner';
import { el, iconButton } from './dom';
import { SessionDetails } from './sessionDetails';
import { Ids, type IServices } from './services';
import { gpuIcon } from './icon';
import type { Run, Session } from './types';
import { cardWords } from './words';

const TICK_MS = 5000;

class Cards extends Widget {
  constructor(private readonly services: IServices) {
    super();
    this.addClass('gpunb-side-cards');
    this.panel = createPanel(this.node, {
      strings: cardWords(services.trans),
      // the server's own sentence about the money, and its token
      onConfirm: async (action, id, args) => {
        const session = this.session(id);
        const known = serverArgs(session, args as Record<string, unknown>);
        const said = await services.store.api.confirm(action, { session: id, ...known });
        return { says: said.says, token: JSON.stringify([said.token, known]) };
      },
      onAction: (action, id, args) => this.act(action, id, args),
      onLook: ids => this.look(ids)
    });
    services.store.changed.connect(this.refresh, this);
    this.ticker = window.setInterval(() => {
      if (this.isVisible && services.store.live.some(one => Number(one.runs_active) > 0)) this.refresh();
    }, TICK_MS);
    this.refresh();
  }

  override dispose(): void {
    clearInterval(this.ticker);
    this.services.store.changed.disconnect(this.refresh, this);
    this.panel.destroy();
    super.dispose();
  }

  private async act(action: string, id: string, args: { run?: string; token?: string }): Promise<unknown> {
    const { services } = this;
    if (action === 'log-closed') return undefined;
    if (action === 'log') {
      // in a tab of its own, with room, rather than in the card
      void services.app.commands.execute(Ids.log, { run: args.run ?? '', session: id });
      this.closeLog(id);
      return undefined;
    }
    if (action === 'cancel') {
      await services.store.api.cancelRun(args.run ?? '');
      return services.store.loadRuns(id);
    }
    const [token, known] = JSON.parse(args.token ?? '[]') as [string, Record<string, unknown>];
    return carryOut(services, action as Spending, this.session(id), known, token);
  }

  private closeLog(id: string): void {
    window.setTimeout(() => {
      const close = this.panel.card(id)?.element.querySelector<HTMLElement>('.gpunb-log-head button');
      close?.click();
    });
  }

  private look(ids: string[]): void {
    for (const id of ids) if (!this.looked.has(id)) this.asked.delete(id);
    this.looked = new Set(ids);
    window.setTimeout(() => this.refresh());
  }

  private session(id: string): Session {
    const found = this.services.store.sessions.get(id);
    if (!found) throw new Error(this.services.trans.__('This session is over.'));
    return found;
  }

  private refresh(): void {
    if (this.isDisposed) return;
    const { store } = this.services;
    const sessions = store.live;
    // "no sessions" is only said by somebody who knows
    this.setHidden(!sessions.length && !store.usable);
    const telemetry: Record<string, Telemetry> = {};
    const runs: Record<string, Run[]> = {};
    const transfers: Record<string, Shown[]> = {};
    for (const one of sessions) {
      const load = store.telemetry.get(one.id);
      if (one.state !== 'ready') telemetry[one.id] = { at: [], gpu: [], memory: [] };
      else if (load) telemetry[one.id] = { at: load.at, gpu: load.gpu, memory: load.gpu_memory };
      const ran = store.runs.get(one.id);
      if (ran) runs[one.id] = ran.map(run => upToNow(run, one.usd_h));
      transfers[one.id] = this.moving(one.id);
    }
    this.panel.update(sessions, { telemetry, runs, transfers });
    for (const one of sessions) {
      this.details(one);
      // its host could not be asked before
      if (one.state === 'ready' && this.looked.has(one.id) && !this.asked.has(one.id)) {
        this.asked.add(one.id);
        void store.loadRuns(one.id);
        void store.loadTelemetry(one.id);
      } else if (one.state !== 'ready') this.asked.delete(one.id);
    }
    for (const [id, details] of this.detailsById) {
      if (store.sessions.has(id)) continue;
      details.dispose();
      this.detailsById.delete(id);
      this.asked.delete(id);
    }
  }

  /** Work that goes on with this session, transfers among it. */
  private moving(id: string): Shown[] {
    const going = ['queued', 'running', 'cancelling'];
    return [...this.services.store.jobs.values()]
      .filter(job => job.session === id && going.includes(job.state))
      .map(job => ({ id: job.id, title: job.title, state: job.state, done: job.done, total: job.total, says: job.says }));
  }

  /** Files, terminal and ports, below what the card itself has. */
  private details(session: Session): void {
    const card = this.panel.card(session.id);
    if (!card) return;
    let details = this.detailsById.get(session.id);
    if (!details || !card.element.contains(details.node)) {
      details?.dispose();
      details = new SessionDetails(this.services, session.id);
      const actions = card.element.querySelector('.gpunb-actions');
      actions?.before(details.node);
      details.dropOn(card.element);
      this.detailsById.set(session.id, details);
    }
    details.update(session);
  }

  private readonly panel: PanelHandle;
  private readonly ticker: number;
  private readonly detailsById = new Map<string, SessionDetails>();
  /** Whose cards are open. */
  private looked = new Set<string>();
  /** Of which of these runs and load were asked. */
  private readonly asked = new Set<string>();
}

/** The server tells of a run when it begins and ends; what it took so far is counted here. */
function upToNow(run: Run, usdPerHour: number | null): Run {
  const { started } = run;
  if (run.state !== 'running' || started === null) return run;
  const seconds = Math.max(0, Date.now() / 1000 - started);
  return { ...run, seconds, usd: usdPerHour === null ? null : (seconds / 3600) * usdPerHour };
}

export class GpuPanel extends Panel {
  constructor(services: IServices) {
    super();
    const { trans, app } = services;
    this.id = 'gpunb-panel';
    this.addClass('gpunb-side');
    this.title.icon = gpuIcon;
    this.title.caption = trans.__('Rented GPUs');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('Rented GPUs'));
    const head = new Widget({
      node: el(
        'div',
        { className: 'gpunb gpunb-side-head' },
        el('h2', { text: trans.__('GPUs') }),
        iconButton(addIcon, trans.__('Rent…'), () => app.commands.execute(Ids.rent), {
          className: 'gpunb-primary gpunb-side-rent',
          title: trans.__('What the clouds offer now, and what it costs')
        }),
        iconButton(listIcon, trans.__('Receipts'), () => app.commands.execute(Ids.receipts), { className: 'gpunb-side-receipts' })
      )
    });
    this.addWidget(head);
    this.addWidget(new Banner(services));
    this.addWidget(new Cards(services));
  }
}
