// The session panel as a notebook's widget. Only while somebody looks does the kernel ask the hosts.

import { createPanel } from "./panel.js";
import { talk } from "./talk.js";

const LOOK_MS = 10000;

function render({ model, el }) {
  let gone = false;
  let looked = [];
  const known = new Map();
  const more = { telemetry: {}, runs: {}, transfers: {} };
  const panel = createPanel(el, {
    onConfirm: (action, session, args) => line.ask("confirm", { action, session, ...args }),
    onAction(action, session, args) {
      if (action === "log") return line.ask("log", { session, run: args.run });
      if (action === "log-closed") return line.ask("log_closed").catch(() => {});
      return line.ask("act", { action, session, ...args });
    },
    onLook(sessions) {
      looked = sessions;
      look();
    },
  });
  const line = talk(model, (message) => {
    if (message.kind === "sessions") {
      for (const one of message.changed) known.set(one.id, one);
      const order = new Map(message.order.map((id, at) => [id, at]));
      for (const id of [...known.keys()]) if (!order.has(id)) known.delete(id);
      for (const id of Object.keys(message.runs)) more.runs[id] = message.runs[id];
      for (const id of Object.keys(message.transfers)) more.transfers[id] = message.transfers[id];
      panel.update([...known.values()].sort((a, b) => order.get(a.id) - order.get(b.id)), more);
    } else if (message.kind === "telemetry") {
      more.telemetry[message.session] = message.series;
      const session = known.get(message.session);
      if (session) panel.card(message.session)?.update(session, message.series);
    } else if (message.kind === "log") panel.card(message.session)?.setLog(message.run, message.text);
    else if (message.kind === "says") panel.card(message.session)?.setNote(message.text);
    else if (message.kind === "error") panel.setError(message);
  });
  function look() {
    if (!gone && document.visibilityState !== "hidden") line.ask("look", { sessions: looked }).catch((err) => gone || panel.setError(err));
  }
  const timer = setInterval(look, LOOK_MS);
  document.addEventListener("visibilitychange", look);
  line.ask("hello").catch((err) => gone || panel.setError(err));
  return () => {
    gone = true;
    clearInterval(timer);
    document.removeEventListener("visibilitychange", look);
    line.end();
    panel.destroy();
  };
}

export default { render };
