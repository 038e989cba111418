// The session card and the panel of all sessions. No framework, no imports; text by textContent only.
//
// Used by the notebook's widget (`%gpu panel`) and by JupyterLab's left panel.

const STRINGS = {
  title: "Sessions",
  none: "No sessions. %gpu rent opens the offers.",
  time: "Time",
  idle: "Idle",
  money: "Money",
  left: "{left} left",
  never: "no limit",
  over: "over",
  busy: "working",
  of: "{spent} of {budget}",
  spent: "{spent} so far",
  hour: "{usd}/h",
  extend: "Extend",
  extend_time: "1 h more",
  extend_idle: "30 min more",
  extend_money: "{usd} more",
  stop: "Stop",
  start: "Start",
  down: "Down",
  sure: "Yes, {action}",
  no: "No",
  asking: "Asking …",
  confirm_stop: "Stop {name}? Its disk is kept, and usually billed; what runs there ends.",
  confirm_start: "Start {name} again? It is billed from then on.",
  confirm_down: "End {name} for good? Its disk goes too; what --save named is brought back first.",
  confirm_extend: "Extend {name}: {what}?",
  confirm_cancel: "End the run {what} on {name}?",
  gpu: "GPU {n}",
  load: "load",
  memory: "memory",
  no_load: "No GPU figures yet.",
  runs: "Runs",
  no_runs: "nothing was run yet",
  log: "Log",
  cancel: "Cancel it",
  cancel_run: "Cancel",
  transfers: "Transfers",
  simulated: "simulated",
  more: "Details of {name}",
  log_of: "Log of {name}",
  close: "Close",
};

// control characters, and the marks that hide or reorder text
// eslint-disable-next-line no-control-regex
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const LOG_MAX = 200000;
const RUNS_MAX = 8;
const POINTS_MAX = 120;
const MANY = 3; // so many sessions are shown opened, more are closed
const SVG = "http://www.w3.org/2000/svg";

function clean(value, max = 160) {
  if (value === null || value === undefined) return "";
  const raw = String(value);
  const cut = raw.length > max * 4 ? raw.slice(0, max * 4) : raw;
  const text = cut.replace(HIDDEN, "").replace(/\s+/g, " ").trim();
  return text.length > max || raw.length > cut.length ? `${text.slice(0, max - 1)}…` : text;
}

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

function money(value) {
  const usd = number(value);
  if (usd === null) return "?";
  const digits = usd !== 0 && Math.abs(usd) < 1 ? 3 : 2;
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

function duration(seconds) {
  const s = number(seconds);
  if (s === null) return "?";
  if (s < 90) return `${Math.max(0, Math.round(s))} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${+(s / 3600).toFixed(1)} h`;
  return `${+(s / 86400).toFixed(1)} d`;
}

function node(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(className, text, onClick) {
  const made = node("button", `gpunb-button ${className}`, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function speaker(strings) {
  const words = { ...STRINGS, ...(strings || {}) };
  return (key, values = {}) =>
    String(words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

let made = 0;

/** One series as a line; values are 0 to 100. */
function sparkline(label) {
  const box = node("div", "gpunb-spark");
  const name = node("span", "gpunb-spark-name", label);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 120 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const area = document.createElementNS(SVG, "polygon");
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("vector-effect", "non-scaling-stroke");
  svg.append(area, line);
  const value = node("span", "gpunb-spark-value");
  box.append(name, svg, value);
  return {
    box,
    update(values, text) {
      const seen = values.slice(-POINTS_MAX).map((one) => number(one));
      const step = 120 / Math.max(1, seen.length - 1);
      const points = seen
        .map((one, at) => (one === null ? "" : `${(at * step).toFixed(1)},${(23 - 0.22 * Math.min(100, Math.max(0, one))).toFixed(1)}`))
        .filter(Boolean);
      line.setAttribute("points", points.join(" "));
      area.setAttribute("points", points.length > 1 ? `0,24 ${points.join(" ")} 120,24` : "");
      put(value, text);
      svg.setAttribute("aria-label", `${label} ${text}`);
    },
  };
}

/** One limit of the lease, how much of it is used, and a button that gives more. */
function leaseBar(name, t, extend) {
  const box = node("div", "gpunb-lease");
  const label = node("span", "gpunb-lease-name", t(name));
  const track = node("div", "gpunb-track");
  track.setAttribute("role", "meter");
  track.setAttribute("aria-label", t(name));
  track.setAttribute("aria-valuemin", "0");
  track.setAttribute("aria-valuemax", "100");
  const fill = node("div", "gpunb-fill");
  track.append(fill);
  const text = node("span", "gpunb-lease-text");
  const press = button("gpunb-extend", t("extend"), extend);
  box.append(label, track, text, press);
  return {
    box,
    update({ used, says, more, can }) {
      const share = used === null ? 0 : Math.min(1, Math.max(0, used));
      fill.style.width = `${(100 * share).toFixed(1)}%`;
      track.setAttribute("aria-valuenow", String(Math.round(100 * share)));
      track.setAttribute("aria-valuetext", says);
      track.classList.toggle("gpunb-near", share > 0.9);
      put(text, says);
      press.hidden = !can;
      const what = `${t("extend")}: ${more}`;
      if (press.title !== what) {
        press.title = what;
        press.setAttribute("aria-label", what);
      }
    },
  };
}

export function createSessionCard(el, options = {}) {
  const t = speaker(options.strings);
  const id = `gpunb-card-${(made += 1)}`;
  const can = options.actions ?? ["extend", "stop", "start", "down", "log", "cancel"];
  const clock = options.now ?? (() => Date.now() / 1000);
  let session = null;
  let question = null;
  let gone = false;
  let openedLog = null;

  const root = node("article", "gpunb gpunb-card");
  root.setAttribute("aria-labelledby", `${id}-name`);
  const head = node("div", "gpunb-card-head");
  const toggle = button("gpunb-fold", "▸", () => fold(!opened()));
  toggle.setAttribute("aria-controls", `${id}-body`);
  const dot = node("span", "gpunb-dot");
  dot.setAttribute("aria-hidden", "true");
  const name = node("strong", "gpunb-card-name");
  name.id = `${id}-name`;
  const state = node("span", "gpunb-state");
  const cost = node("span", "gpunb-cost");
  head.append(toggle, dot, name, state, cost);
  const facts = node("div", "gpunb-facts");
  const body = node("div", "gpunb-card-body");
  body.id = `${id}-body`;
  body.hidden = true;
  const next = node("div", "gpunb-next");
  const leases = node("div", "gpunb-leases");
  const bars = {
    time: leaseBar("time", t, () => extend({ hours: 1 }, t("extend_time"))),
    idle: leaseBar("idle", t, () => extend({ idle_s: (session?.lease?.idle_s ?? 0) + 1800 }, t("extend_idle"))),
    money: leaseBar("money", t, () => extend({ add_usd: more() }, t("extend_money", { usd: money(more()) }))),
  };
  leases.append(bars.time.box, bars.idle.box, bars.money.box);
  const sparks = node("div", "gpunb-sparks");
  const actions = node("div", "gpunb-buttons gpunb-actions");
  const presses = {};
  for (const action of ["stop", "start", "down"]) {
    presses[action] = button(`gpunb-${action}`, t(action), () => act(action));
    actions.append(presses[action]);
  }
  const ask = node("div", "gpunb-dialog");
  ask.hidden = true;
  ask.setAttribute("role", "alertdialog");
  ask.setAttribute("aria-labelledby", `${id}-says`);
  const notice = node("div", "gpunb-note");
  notice.hidden = true;
  notice.setAttribute("role", "status");
  const runs = node("div", "gpunb-runs");
  const transfers = node("div", "gpunb-transfers");
  const log = node("div", "gpunb-logbox");
  log.hidden = true;
  body.append(next, leases, sparks, actions, ask, notice, runs, log, transfers);
  root.append(head, facts, body);
  el.append(root);
  // JupyterLab's one-key commands must not run while somebody works here
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (question) close();
    else if (!log.hidden) closeLog();
    else return;
    event.stopPropagation();
    event.preventDefault();
  });

  const opened = () => !body.hidden;
  const more = () => Math.max(1, Math.ceil(number(session?.usd_h) ?? 1));

  function fold(open) {
    body.hidden = !open;
    toggle.textContent = open ? "▾" : "▸";
    toggle.setAttribute("aria-expanded", String(open));
    root.classList.toggle("gpunb-opened", open);
    options.onOpen?.(session?.id, open);
  }

  function extend(what, words) {
    act("extend", what, words);
  }

  /** Ask first; then `onAction(action, session, args)`. */
  async function act(action, args = {}, words = "") {
    if (question || !session) return;
    const mine = (question = { action });
    const subject = clean(session.name, 60);
    let said = { says: t(`confirm_${action}`, { name: subject, what: words }) };
    notice.hidden = true;
    if (options.onConfirm) {
      showQuestion(t("asking"), null);
      try {
        const answer = await options.onConfirm(action, session.id, args);
        if (answer) said = { says: clean(answer.says, 600) || said.says, token: answer.token };
      } catch (err) {
        if (question === mine) close();
        tell(err);
        return;
      }
      if (question !== mine || gone) return;
    }
    const shownAt = performance.now();
    showQuestion(said.says, (event) => {
      // neither a held key nor the second half of a double click is an answer
      if (event.detail > 1 || performance.now() - shownAt < 400) return;
      close();
      const full = said.token === undefined ? args : { ...args, token: said.token };
      busy(action, true);
      Promise.resolve(options.onAction?.(action, session.id, full))
        .catch(tell)
        .finally(() => busy(action, false));
    }, action);
  }

  function showQuestion(says, yes, action) {
    ask.textContent = "";
    const text = node("p", "gpunb-says", says);
    text.id = `${id}-says`;
    ask.append(text);
    const line = node("div", "gpunb-buttons");
    if (yes) {
      const press = button(action === "down" ? "gpunb-danger gpunb-yes" : "gpunb-primary gpunb-yes", t("sure", { action: t(action).toLowerCase() }), yes);
      press.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
      line.append(press);
    }
    const no = button("gpunb-no", t("no"), () => close());
    line.append(no);
    ask.append(line);
    ask.hidden = false;
    no.focus({ preventScroll: true });
  }

  function close() {
    const action = question?.action;
    question = null;
    ask.hidden = true;
    (presses[action] ?? toggle).focus({ preventScroll: true });
  }

  function busy(action, on) {
    if (presses[action]) presses[action].disabled = on;
  }

  function tell(error) {
    if (gone) return;
    notice.textContent = "";
    notice.className = "gpunb-note gpunb-bad";
    notice.append(node("span", "", clean(error?.message ?? error, 600)));
    if (error?.bill) notice.append(node("span", "gpunb-bill", clean(error.bill, 300)));
    if (error?.hint) notice.append(node("span", "gpunb-hint", clean(error.hint, 300)));
    notice.hidden = false;
  }

  function setNote(text) {
    if (gone) return;
    notice.className = "gpunb-note";
    notice.textContent = clean(text, 600);
    notice.hidden = !text;
  }

  /** What changes by the second; the rest comes with `update`. */
  function tick() {
    if (!session || body.hidden) return;
    const now = clock();
    const lease = session.lease ?? {};
    const live = !["gone", "failed"].includes(session.state);
    const extensible = live && session.state !== "ending" && can.includes("extend");
    const deadline = number(lease.deadline);
    const begun = number(session.ready) ?? number(session.created) ?? now;
    const timeLeft = deadline === null ? null : deadline - now;
    bars.time.update({
      used: deadline === null ? null : (now - begun) / Math.max(1, deadline - begun),
      says: deadline === null ? t("never") : timeLeft > 0 ? t("left", { left: duration(timeLeft) }) : t("over"),
      more: t("extend_time"),
      can: extensible && deadline !== null,
    });
    const idle = number(lease.idle_s);
    const ends = number(lease.idle_ends);
    const working = (number(session.runs_active) ?? 0) > 0;
    bars.idle.update({
      used: idle === null || ends === null || working ? null : 1 - (ends - now) / Math.max(1, idle),
      says: idle === null ? t("never") : working ? t("busy") : ends === null ? duration(idle) : ends > now ? t("left", { left: duration(ends - now) }) : t("over"),
      more: t("extend_idle"),
      can: extensible && idle !== null,
    });
    const budget = number(lease.budget_usd);
    const spent = number(session.cost?.total);
    bars.money.update({
      used: budget === null || spent === null ? null : spent / Math.max(1e-9, budget),
      says: budget === null ? t("never") : t("of", { spent: money(spent), budget: money(budget) }),
      more: t("extend_money", { usd: money(more()) }),
      can: extensible && budget !== null,
    });
  }

  const lines = new Map();

  function showLoad(telemetry) {
    const gpu = Array.isArray(telemetry?.gpu) ? telemetry.gpu.slice(0, 16) : [];
    const memory = Array.isArray(telemetry?.memory) ? telemetry.memory : [];
    if (!gpu.length) {
      lines.clear();
      sparks.textContent = "";
      if (telemetry && session?.state === "ready") sparks.append(node("span", "gpunb-hint", t("no_load")));
      return;
    }
    if (lines.size !== gpu.length * 2) {
      lines.clear();
      sparks.textContent = "";
      for (const at of gpu.keys()) {
        const label = gpu.length > 1 ? `${t("gpu", { n: at })} ` : "GPU ";
        for (const kind of ["load", "memory"]) {
          const line = sparkline(`${label}${t(kind)}`);
          lines.set(`${at}/${kind}`, line);
          sparks.append(line.box);
        }
      }
    }
    for (const at of gpu.keys()) {
      for (const [kind, series] of [["load", gpu[at]], ["memory", memory[at]]]) {
        const values = Array.isArray(series) ? series : [];
        const last = number(values[values.length - 1]);
        lines.get(`${at}/${kind}`).update(values, last === null ? "?" : `${Math.round(last)} %`);
      }
    }
  }

  let runsShown = "";

  function showRuns(given) {
    const kept = (Array.isArray(given) ? given : []).slice(0, RUNS_MAX);
    const key = JSON.stringify(kept.map((one) => [one.id, one.state, one.name, Math.round((number(one.seconds) ?? 0) / 5)]));
    if (key === runsShown) return; // what has the focus stays as it is
    runsShown = key;
    const focused = root.contains(document.activeElement) ? document.activeElement?.dataset?.key : null;
    runs.textContent = "";
    runs.append(node("div", "gpunb-title", t("runs")));
    if (!kept.length) runs.append(node("span", "gpunb-hint", t("no_runs")));
    for (const one of kept) {
      const line = node("div", "gpunb-run");
      line.dataset.state = clean(one.state, 20);
      const ident = clean(one.id, 40);
      const label = clean(one.name, 120) || ident;
      const text = node("span", "gpunb-run-name", label);
      text.title = `${ident} ${label}`;
      const seconds = number(one.seconds);
      const price = number(one.usd);
      const info = [clean(one.state, 20), seconds === null ? "" : duration(seconds), price === null ? "" : money(price)];
      line.append(text, node("span", "gpunb-run-state", info.filter(Boolean).join(" · ")));
      if (can.includes("log")) line.append(keyed(button("gpunb-small", t("log"), () => openLog(one)), `log/${ident}`, label));
      if (can.includes("cancel") && ["running", "queued"].includes(one.state)) {
        const press = button("gpunb-small", t("cancel_run"), () => act("cancel", { run: one.id }, label));
        line.append(keyed(press, `cancel/${ident}`, label));
      }
      runs.append(line);
    }
    if (focused) [...runs.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus({ preventScroll: true });
  }

  function keyed(press, key, label) {
    press.dataset.key = key;
    press.setAttribute("aria-label", `${press.textContent}: ${label}`);
    return press;
  }

  function openLog(run) {
    openedLog = run.id;
    log.textContent = "";
    const line = node("div", "gpunb-log-head");
    line.append(node("span", "gpunb-title", t("log_of", { name: clean(run.name, 80) || clean(run.id, 40) })), button("gpunb-small", t("close"), closeLog));
    const text = node("pre", "gpunb-log", "…");
    text.tabIndex = 0;
    log.append(line, text);
    log.hidden = false;
    Promise.resolve(options.onAction?.("log", session.id, { run: run.id })).then(
      (answer) => {
        if (typeof answer === "string") setLog(run.id, answer);
      },
      (err) => {
        closeLog();
        tell(err);
      },
    );
  }

  function setLog(run, text) {
    const pre = log.querySelector("pre");
    if (!pre || openedLog !== run) return;
    const bottom = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 8;
    const raw = String(text).replace(HIDDEN, "");
    put(pre, raw.length > LOG_MAX ? `…${raw.slice(-LOG_MAX)}` : raw);
    if (bottom) pre.scrollTop = pre.scrollHeight;
  }

  function closeLog() {
    openedLog = null;
    log.hidden = true;
    log.textContent = "";
    options.onAction?.("log-closed", session?.id, {});
  }

  function showTransfers(given) {
    const kept = (Array.isArray(given) ? given : []).slice(0, RUNS_MAX);
    transfers.textContent = "";
    if (!kept.length) return;
    transfers.append(node("div", "gpunb-title", t("transfers")));
    for (const one of kept) {
      const line = node("div", "gpunb-run");
      const done = number(one.done);
      const all = number(one.total);
      const share = done !== null && all ? Math.min(1, done / all) : null;
      const text = node("span", "gpunb-run-name", clean(one.title, 120) || clean(one.id, 40));
      text.title = text.textContent;
      line.append(text, node("span", "gpunb-run-state", [clean(one.says || one.state, 80), share === null ? "" : `${Math.round(100 * share)} %`].filter(Boolean).join(" · ")));
      transfers.append(line);
    }
  }

  function update(given, telemetry, runsGiven, transfersGiven) {
    if (gone || !given) return;
    session = given;
    const now = clean(given.state, 20);
    const gpus = number(given.gpus) ?? 0;
    root.dataset.state = now;
    root.dataset.tone = given.lease?.soon ? "bad" : clean(given.tone, 10);
    root.dataset.session = clean(given.id, 40);
    put(name, clean(given.name, 60));
    name.title = name.textContent;
    put(state, `${now}${given.simulated ? ` (${t("simulated")})` : ""}`);
    toggle.setAttribute("aria-label", t("more", { name: name.textContent }));
    toggle.setAttribute("aria-expanded", String(opened()));
    const soFar = t("spent", { spent: money(given.cost?.total) });
    put(cost, `${soFar} · ${t("hour", { usd: money(given.usd_h) })}`);
    const machine = clean(given.gpu, 40);
    put(facts, [gpus > 1 ? `${gpus}× ${machine}` : machine, clean(given.provider, 30), clean(given.trust, 20)].filter(Boolean).join(" · "));
    put(next, [clean(given.detail, 300), clean(given.next, 300)].filter(Boolean).join(" · "));
    const live = !["gone", "failed"].includes(now);
    const show = { stop: now === "ready" || now === "reachable", start: now === "stopped", down: live && now !== "ending" };
    for (const [action, shown] of Object.entries(show)) {
      const able = Array.isArray(given.can) ? given.can.includes(action) : true;
      presses[action].hidden = !(shown && able && can.includes(action));
    }
    leases.hidden = !live;
    if (telemetry !== undefined) showLoad(telemetry);
    if (runsGiven !== undefined) showRuns(runsGiven);
    if (transfersGiven !== undefined) showTransfers(transfersGiven);
    tick();
  }

  fold(options.open ?? true);

  return {
    update,
    setLog,
    setNote,
    setError: tell,
    tick,
    fold,
    element: root,
    destroy() {
      gone = true;
      question = null;
      root.remove();
    },
  };
}

/** All sessions, one card each; cards of many sessions are closed until they are clicked. */
export function createPanel(el, options = {}) {
  const t = speaker(options.strings);
  const root = node("section", "gpunb gpunb-panel");
  root.setAttribute("aria-label", t("title"));
  const sum = node("div", "gpunb-sum");
  sum.setAttribute("role", "status");
  const list = node("div", "gpunb-cards");
  const none = node("div", "gpunb-hint", t("none"));
  const trouble = node("div", "gpunb-note gpunb-bad");
  trouble.hidden = true;
  trouble.setAttribute("role", "alert");
  root.append(sum, trouble, none, list);
  el.append(root);
  const cards = new Map();
  const looked = new Set();

  function look() {
    options.onLook?.([...looked]);
  }

  function update(sessions, more = {}) {
    const given = Array.isArray(sessions) ? sessions : [];
    none.hidden = given.length > 0;
    const seen = new Set();
    let changed = false;
    for (const one of given) {
      seen.add(one.id);
      let card = cards.get(one.id);
      if (!card) {
        card = createSessionCard(list, {
          ...options,
          open: options.open ?? given.length <= MANY,
          onOpen(ident, open) {
            if (ident === undefined) return;
            if (open) looked.add(ident);
            else looked.delete(ident);
            look();
          },
        });
        cards.set(one.id, card);
        if (options.open ?? given.length <= MANY) {
          looked.add(one.id);
          changed = true;
        }
      }
      card.update(one, more.telemetry?.[one.id], more.runs?.[one.id], more.transfers?.[one.id]);
    }
    for (const [ident, card] of cards) {
      if (seen.has(ident)) continue;
      card.destroy();
      cards.delete(ident);
      changed = looked.delete(ident) || changed;
    }
    const spent = given.reduce((all, one) => all + (number(one.cost?.total) ?? 0), 0);
    const hourly = given.reduce((all, one) => all + (number(one.usd_h) ?? 0), 0);
    put(sum, given.length ? `${given.length} · ${t("spent", { spent: money(spent) })} · ${t("hour", { usd: money(hourly) })}` : "");
    if (changed) look();
  }

  const timer = setInterval(() => {
    if (document.visibilityState !== "hidden") for (const card of cards.values()) card.tick();
  }, 1000);

  return {
    update,
    card: (ident) => cards.get(ident),
    setError(error) {
      trouble.textContent = [clean(error?.message, 400), clean(error?.hint, 300)].filter(Boolean).join(" · ");
      trouble.hidden = !error;
    },
    destroy() {
      clearInterval(timer);
      for (const card of cards.values()) card.destroy();
      root.remove();
    },
  };
}
