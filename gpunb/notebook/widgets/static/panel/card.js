// The card of one session: state, money, lease, load, runs, and what can be done about them.

import { button, clean, errorParts, money, node, number, put, translator } from "../common.js";
import { Leases } from "./lease.js";
import { Load } from "./load.js";
import { RunLog } from "./log.js";
import { ActionQuestion } from "./question.js";
import { Runs, Transfers } from "./runs.js";
import { CARD_WORDS } from "./words.js";

const BUTTONS = ["stop", "start", "down"];

let cards = 0;

const dotted = (...parts) => parts.filter(Boolean).join(" · ");

/** Which of the buttons the state and what the cloud can do allow. */
function offered({ state, can }) {
  const live = !["gone", "failed"].includes(state);
  const shown = { stop: state === "ready" || state === "reachable", start: state === "stopped", down: live && state !== "ending" };
  return BUTTONS.filter((action) => shown[action] && (!Array.isArray(can) || can.includes(action)));
}

export function createSessionCard(el, options = {}) {
  const t = translator(CARD_WORDS, options.strings);
  const id = `gpunb-card-${(cards += 1)}`;
  const can = options.actions ?? ["extend", "stop", "start", "down", "log", "cancel"];
  const clock = options.now ?? (() => Date.now() / 1000);
  let session = null;
  let gone = false;

  // -- what is seen

  const root = node("article", "gpunb gpunb-card");
  root.setAttribute("aria-labelledby", `${id}-name`);
  // JupyterLab's one-key commands must not run while somebody works here
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  const toggle = button("gpunb-fold", "▸", () => fold(body.hidden));
  toggle.setAttribute("aria-controls", `${id}-body`);
  const dot = node("span", "gpunb-dot");
  dot.setAttribute("aria-hidden", "true");
  const name = node("strong", "gpunb-card-name");
  name.id = `${id}-name`;
  const state = node("span", "gpunb-state");
  const cost = node("span", "gpunb-cost");
  const head = node("div", "gpunb-card-head");
  head.append(toggle, dot, name, state, cost);
  const facts = node("div", "gpunb-facts");
  const next = node("div", "gpunb-next");
  const leases = new Leases(t, (args, words) => act("extend", args, words));
  const load = new Load(t);
  const presses = Object.fromEntries(BUTTONS.map((action) => [action, button(`gpunb-${action}`, t(action), () => act(action))]));
  const actions = node("div", "gpunb-buttons gpunb-actions");
  actions.append(...Object.values(presses));
  const question = new ActionQuestion({ t, id, onClose: (action) => (presses[action] ?? toggle).focus({ preventScroll: true }) });
  const notice = node("div", "gpunb-note");
  notice.hidden = true;
  notice.setAttribute("role", "status");
  const log = new RunLog(t, {
    read: (run) => options.onAction?.("log", session.id, { run }),
    closed: () => options.onAction?.("log-closed", session?.id, {}),
    failed: setError,
  });
  const runs = new Runs({
    t,
    can,
    onLog: (run) => log.open(run),
    onCancel: (run, label) => act("cancel", { run: run.id }, label),
  });
  const transfers = new Transfers(t);
  const body = node("div", "gpunb-card-body");
  body.id = `${id}-body`;
  body.hidden = true;
  body.append(next, leases.element, load.element, actions, question.element, notice, runs.element, log.element, transfers.element);
  root.append(head, facts, body);
  el.append(root);

  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (question.open) question.close();
    else if (log.isOpen) log.close();
    else return;
    event.stopPropagation();
    event.preventDefault();
  });

  function fold(open) {
    body.hidden = !open;
    toggle.textContent = open ? "▾" : "▸";
    toggle.setAttribute("aria-expanded", String(open));
    root.classList.toggle("gpunb-opened", open);
    options.onOpen?.(session?.id, open);
  }

  // -- what is done

  /** Ask first; then `onAction(action, session, args)`. */
  function act(action, args = {}, words = "") {
    if (question.open || !session) return;
    const says = t(`confirm_${action}`, { name: clean(session.name, 60), what: words });
    const confirm = options.onConfirm && (() => options.onConfirm(action, session.id, args));
    notice.hidden = true;
    question.ask(action, says, confirm, (token) => carryOut(action, token === undefined ? args : { ...args, token })).catch(setError);
  }

  function carryOut(action, args) {
    const press = presses[action] ?? {};
    press.disabled = true;
    Promise.resolve(options.onAction?.(action, session.id, args))
      .catch(setError)
      .finally(() => (press.disabled = false));
  }

  function setError(error) {
    if (gone) return;
    notice.className = "gpunb-note gpunb-bad";
    notice.replaceChildren(...errorParts(error, 600));
    notice.hidden = false;
  }

  function setNote(text) {
    if (gone) return;
    notice.className = "gpunb-note";
    notice.textContent = clean(text, 600);
    notice.hidden = !text;
  }

  // -- what is known

  /** What changes by the second; the rest comes with `update`. */
  function tick() {
    if (session && !body.hidden) leases.update(clock(), can.includes("extend"));
  }

  function update(given, telemetry, runsGiven, transfersGiven) {
    if (gone || !given) return;
    session = leases.session = given;
    const now = clean(given.state, 20);
    const gpus = number(given.gpus) ?? 0;
    root.dataset.state = now;
    root.dataset.tone = given.lease?.soon ? "bad" : clean(given.tone, 10);
    root.dataset.session = clean(given.id, 40);
    put(name, clean(given.name, 60));
    name.title = name.textContent;
    put(state, `${now}${given.simulated ? ` (${t("simulated")})` : ""}`);
    toggle.setAttribute("aria-label", t("more", { name: name.textContent }));
    toggle.setAttribute("aria-expanded", String(!body.hidden));
    put(cost, dotted(t("spent", { spent: money(given.cost?.total) }), t("hour", { usd: money(given.usd_h) })));
    const machine = clean(given.gpu, 40);
    put(facts, dotted(gpus > 1 ? `${gpus}× ${machine}` : machine, clean(given.provider, 30), clean(given.trust, 20)));
    put(next, dotted(clean(given.detail, 300), clean(given.next, 300)));
    const able = offered({ state: now, can: given.can });
    for (const action of BUTTONS) presses[action].hidden = !(able.includes(action) && can.includes(action));
    leases.element.hidden = ["gone", "failed"].includes(now);
    if (telemetry !== undefined) load.show(telemetry, given.state === "ready");
    if (runsGiven !== undefined) runs.show(runsGiven);
    if (transfersGiven !== undefined) transfers.show(transfersGiven);
    tick();
  }

  fold(options.open ?? true);

  return {
    update,
    setLog: (run, text) => log.set(run, text),
    setNote,
    setError,
    tick,
    fold,
    element: root,
    destroy() {
      gone = true;
      question.drop();
      root.remove();
    },
  };
}
