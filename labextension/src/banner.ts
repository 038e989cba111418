/** What somebody must know before they click: no server, another version, nobody who ends leases, orphans. */

import { Widget } from '@lumino/widgets';

import { button, el } from './dom';
import { Ids, type IServices } from './services';
import type { Job } from './types';
import { VERSION } from './version';

interface Line {
  tone: 'bad' | 'warn' | 'info';
  text: string;
  press?: { text: string; click: () => unknown };
}

export class Banner extends Widget {
  constructor(private readonly services: IServices) {
    super();
    this.addClass('gpunb');
    this.addClass('gpunb-banner');
    this.node.setAttribute('role', 'status');
    services.store.changed.connect(this.refresh, this);
    this.refresh();
  }

  override dispose(): void {
    this.services.store.changed.disconnect(this.refresh, this);
    super.dispose();
  }

  private refresh(): void {
    const { store } = this.services;
    document.body.dataset['gpunbLink'] = store.link;
    const lines = this.lines();
    const key = JSON.stringify(lines);
    if (key === this.shown) return; // what has the focus stays
    this.shown = key;
    this.node.replaceChildren(
      ...lines.map(line => {
        const made = el('div', { className: `gpunb-note gpunb-${line.tone}` }, el('span', { text: line.text }));
        if (line.press) made.append(button(line.press.text, line.press.click));
        return made;
      })
    );
    for (const one of this.node.parentElement?.querySelectorAll<HTMLButtonElement>('.gpunb-side-rent') ?? []) {
      one.disabled = !store.usable;
    }
  }

  private lines(): Line[] {
    const { store, trans } = this.services;
    const again = { text: trans.__('Try again'), click: () => store.start() };
    switch (store.link) {
      case 'absent':
        return [
          {
            tone: 'bad',
            text: trans.__(
              'This Jupyter server has no gpunb. In its environment: pip install gpunb, then restart it. (jupyter server extension list says whether it is there.)'
            ),
            press: again
          }
        ];
      case 'other':
        return [
          {
            tone: 'bad',
            text: trans.__(
              'This page has gpunb %1 and the server %2, and they do not understand each other. Reload the page; if that does not help, restart the server after an upgrade. Sessions and leases go on; gpunb ps shows them.',
              VERSION,
              store.serverVersion
            ),
            press: { text: trans.__('Reload'), click: () => window.location.reload() }
          }
        ];
      case 'connecting':
        return [{ tone: 'info', text: trans.__('Connecting…') }];
      default:
        return this.found();
    }
  }

  private found(): Line[] {
    const { store, trans } = this.services;
    const lines: Line[] = [];
    if (store.link === 'polling') {
      lines.push({ tone: 'warn', text: trans.__('No line to the server. Trying again; what is shown may be old.') });
    }
    if (store.serverVersion && store.serverVersion !== VERSION) {
      lines.push({
        tone: 'info',
        text: trans.__('This page has gpunb %1, the server %2. Reload the page.', VERSION, store.serverVersion),
        press: { text: trans.__('Reload'), click: () => window.location.reload() }
      });
    }
    if (store.supervisor && !store.supervisor.alive && store.live.length) {
      const why = store.supervisor.error ? ` ${store.supervisor.error}` : '';
      lines.push({ tone: 'bad', text: trans.__('No supervisor watches the leases now.') + why });
    }
    for (const one of store.found.orphans) lines.push({ tone: 'bad', text: one.says });
    for (const one of store.found.unknown) lines.push({ tone: 'warn', text: one.says });
    if (store.status && !store.status.clouds.some(cloud => cloud.key)) {
      lines.push({
        tone: 'info',
        text: trans.__('No cloud has a key yet.'),
        press: { text: trans.__('Log in…'), click: () => this.services.app.commands.execute(Ids.rent) }
      });
    }
    for (const job of store.jobs.values()) {
      const going = ['queued', 'running', 'cancelling'].includes(job.state);
      if (going && !(job.session && store.sessions.has(job.session))) lines.push(this.going(job));
    }
    return lines;
  }

  private going(job: Job): Line {
    return {
      tone: 'info',
      text: [job.title, job.says].filter(Boolean).join(': '),
      press: { text: this.services.trans.__('Cancel'), click: () => this.services.store.api.cancelJob(job.id) }
    };
  }

  private shown = '';
}
