// The picker as a notebook's widget.

import { createPicker } from "./picker.js";
import { talk, unpack } from "./talk.js";

function render({ model, el }) {
  let parts = [];
  let gone = false;
  const picker = createPicker(el, {
    hours: 1,
    askKey: true,
    onConfirm: (offer, terms) => line.ask("confirm", { offer: offer.key, hours: terms.hours, budget: terms.budget }),
    onRent: (offer, terms) =>
      line.ask("rent", { offer: offer.key, hours: terms.hours, budget: terms.budget, token: terms.token }),
    onCancel: () => line.ask("cancel"),
    onSearch: ({ hours }) => line.ask("search", { hours }).catch((err) => gone || picker.setError(err)),
    onLogin: (provider, key) => line.ask("login", { provider, key }),
  });
  const line = talk(model, async (message, buffers) => {
    if (message.kind === "offers") {
      if (message.part === 0) parts = [];
      const mine = parts;
      mine.push(unpack(buffers[0], message.zipped));
      if (!message.last) return;
      const rows = (await Promise.all(mine)).flat();
      if (gone || mine !== parts) return; // newer ones have come
      picker.setOffers(rows, message.facets, message.failed, { hours: message.hours, disk_gb: message.disk_gb });
    } else if (message.kind === "busy") picker.setBusy(message.text);
    else if (message.kind === "progress") picker.setProgress(message);
    else if (message.kind === "error") picker.setError(message);
  });
  picker.setBusy("asking the clouds…");
  line.ask("hello", { zipped: typeof DecompressionStream === "function" }).then(
    (known) => {
      if (gone) return;
      picker.setTerms(known);
      if (known.progress) picker.setProgress(known.progress);
    },
    (err) => gone || picker.setError(err),
  );
  return () => {
    gone = true;
    line.end();
    picker.destroy();
  };
}

export default { render };
