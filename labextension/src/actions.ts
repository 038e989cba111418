/** What can be done with a session, each with its question first. */

import { Dialog, InputDialog, Notification, showDialog } from '@jupyterlab/apputils';

import { ApiError } from './api';
import type { IServices } from './services';
import type { Job, Receipt, Session } from './types';
import { price } from '../../gpunb/notebook/widgets/static/common.js';

export type Spending = 'extend' | 'stop' | 'start' | 'down';

/** The arguments that the server knows, from what a card or a notice asks for. */
export function serverArgs(session: Session, args: Record<string, unknown>): Record<string, unknown> {
  const known: Record<string, unknown> = {};
  if (typeof args['hours'] === 'number') known['hours'] = args['hours'];
  if (typeof args['idle_s'] === 'number') known['idle_s'] = args['idle_s'];
  if (typeof args['add_usd'] === 'number') {
    known['budget_usd'] = (session.lease.budget_usd ?? session.cost.total ?? 0) + args['add_usd'];
  }
  return known;
}

/** Carry out what the user has said yes to. */
export async function carryOut(
  services: IServices,
  action: Spending,
  session: Session,
  args: Record<string, unknown>,
  token: string
): Promise<void> {
  const answer = await services.store.api.act(action, session.id, { ...args, token });
  if (answer.job) services.store.begin(answer.job);
}

/** Ask, with the server's own sentence about the money; then do it. */
export async function askAndDo(
  services: IServices,
  action: Spending,
  session: Session,
  args: Record<string, unknown> = {}
): Promise<boolean> {
  const { trans } = services;
  const names: Record<Spending, string> = {
    extend: trans.__('Extend'),
    stop: trans.__('Stop'),
    start: trans.__('Start'),
    down: trans.__('Down')
  };
  const known = serverArgs(session, args);
  try {
    const said = await services.store.api.confirm(action, { session: session.id, ...known });
    const yes = { label: names[action] };
    const answer = await showDialog({
      title: `${names[action]}: ${session.name}`,
      body: said.says,
      buttons: [
        Dialog.cancelButton({ label: trans.__('No') }),
        action === 'down' || action === 'stop' ? Dialog.warnButton(yes) : Dialog.okButton(yes)
      ],
      // Enter must not spend by accident
      defaultButton: 0
    });
    if (!answer.button.accept) return false;
    await carryOut(services, action, session, known, said.token);
    if (action === 'extend') Notification.success(trans.__('%1 is extended', session.name), { autoClose: 5000 });
    return true;
  } catch (error) {
    trouble(services, error);
    return false;
  }
}

/** Which session is meant: the one named, the only one, or the one that is chosen from a list. */
export async function pickSession(services: IServices, args: Record<string, unknown>): Promise<Session | undefined> {
  const named = args['session'];
  if (typeof named === 'string') return services.store.named(named);
  const live = services.store.live;
  if (live.length < 2) return live[0];
  const answer = await InputDialog.getItem({
    title: services.trans.__('Which session?'),
    items: live.map(one => one.name)
  });
  return answer.button.accept && answer.value ? services.store.named(answer.value) : undefined;
}

/** Say what went wrong, with what it means for the bill. */
export function trouble(services: IServices, error: unknown): void {
  const text = error instanceof ApiError ? error.whole : String((error as Error)?.message ?? error);
  Notification.error(services.trans.__('GPU: %1', text), { autoClose: false });
}

/** Tell of jobs' ends, each once. */
export function announceJobs(services: IServices): void {
  const told = new Set<string>();
  const begun = Date.now() / 1000 - 2;
  services.store.worked.connect((_, job) => {
    if (!['done', 'failed', 'cancelled'].includes(job.state) || told.has(job.id)) return;
    told.add(job.id);
    if ((job.ended ?? Infinity) < begun) return; // over before this page came
    tellEnd(services, job);
  });
}

function tellEnd(services: IServices, job: Job): void {
  const { trans, app } = services;
  if (job.state === 'failed') {
    const why = [job.error?.message ?? job.says, job.error?.bill, job.error?.hint].filter(Boolean).join('\n');
    Notification.error(trans.__('%1 failed: %2', job.title, why), { autoClose: false });
  } else if (job.kind === 'down' && job.state === 'done' && job.result) {
    const receipt = job.result as unknown as Receipt;
    Notification.success(trans.__('%1 ended: %2 in all', receipt.name ?? '', price(receipt.cost?.total)), {
      autoClose: 20_000,
      actions: [{ label: trans.__('Receipt'), callback: () => void app.commands.execute('gpunb:receipts') }]
    });
  } else if (job.kind === 'rent' && job.state === 'done') {
    const name = job.session ? services.store.named(job.session)?.name : undefined;
    Notification.success(trans.__('%1 is ready', name ?? job.title), { autoClose: 8000 });
  } else if (job.state === 'done') {
    Notification.success(trans.__('%1: done', job.title), { autoClose: 5000 });
  } else {
    Notification.info(trans.__('%1: cancelled. %2', job.title, job.says), { autoClose: 15_000 });
  }
}
