/** The server's notices as JupyterLab's notifications, with an Extend button where that helps. */

import { Notification } from '@jupyterlab/apputils';

import { askAndDo } from './actions';
import { Ids, type IServices } from './services';
import type { Notice } from './types';

const KINDS = { ok: 'success', info: 'info', warn: 'warning', bad: 'error' } as const;
/** Older ones, from before this page, are no news. */
const NEWS_S = 15 * 60;
const REMEMBERED = 200;

export function connectNotices(services: IServices): void {
  const seen = new Set<string>();
  const shown = new Map<string, string>();

  services.store.noticed.connect((_, notice) => {
    const key = `${notice.at ?? ''}|${notice.session ?? ''}|${notice.text}`;
    if (seen.has(key)) return;
    seen.add(key);
    if (seen.size > REMEMBERED) seen.delete(seen.values().next().value as string);
    if (Date.now() / 1000 - (notice.at ?? Infinity) > NEWS_S) return;
    if (past(services, notice) || !wanted(services, notice)) return;
    const id = show(services, notice);
    if (notice.session && notice.actions.length) {
      // the latest warning about a session is the only one that counts
      const before = shown.get(notice.session);
      if (before) Notification.dismiss(before);
      shown.set(notice.session, id);
    }
  });
  const forget = (session: string): void => {
    const id = shown.get(session);
    if (id) Notification.dismiss(id);
    shown.delete(session);
  };
  services.store.removed.connect((_, gone) => forget(gone.id));
  services.store.turned.connect(() => {
    for (const id of [...shown.keys()]) if (!services.store.named(id)) forget(id);
  });
}

/** Whether its session is over, or was given more time since: a page that is opened later need not tell. */
function past(services: IServices, notice: Notice): boolean {
  if (!notice.session) return false;
  const session = services.store.named(notice.session);
  // one that comes now may come before the session's own news
  const old = Date.now() / 1000 - (notice.at ?? Infinity) > 30;
  return !session || (old && notice.actions.includes('extend') && !session.lease.soon);
}

function wanted(services: IServices, notice: Notice): boolean {
  const level = services.setting<string>('notifications', 'all');
  if (level === 'all') return true;
  return level === 'warnings' && (notice.tone === 'warn' || notice.tone === 'bad');
}

function show(services: IServices, notice: Notice): string {
  const { trans, app, store } = services;
  const session = notice.session ? store.named(notice.session) : undefined;
  const actions: Notification.IAction[] = [];
  if (session && notice.actions.includes('extend')) {
    actions.push({
      label: trans.__('Extend'),
      caption: trans.__('1 h more for %1', session.name),
      displayType: 'accent',
      callback: () => void askAndDo(services, 'extend', store.named(session.id) ?? session, { hours: 1 })
    });
  }
  if (session && notice.actions.includes('start')) {
    actions.push({ label: trans.__('Start'), callback: () => void askAndDo(services, 'start', session) });
  }
  if (session && notice.actions.includes('down')) {
    actions.push({ label: trans.__('Down'), callback: () => void askAndDo(services, 'down', session) });
  }
  if (notice.actions.includes('login')) {
    actions.push({ label: trans.__('Log in'), callback: () => void app.commands.execute(Ids.rent) });
  }
  const stays = notice.tone === 'warn' || notice.tone === 'bad' || actions.length > 0;
  return Notification.emit(notice.text, KINDS[notice.tone] ?? 'default', {
    autoClose: stays ? false : 8000,
    actions
  });
}
