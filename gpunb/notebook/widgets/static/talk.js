// Between a page and its kernel, for all widgets: messages, answers, and who may still be there.

const ANSWER_MS = 600000; // a kernel that runs a cell answers after it

/** `ask(kind, fields)` is a promise of the answer; `heard` gets every other message. */
export function talk(model, heard) {
  const open = new Map();
  let number = 0;
  const hear = (message, buffers) => {
    if (message?.kind !== "answer") {
      heard(message, buffers);
      return;
    }
    const waiting = open.get(message.id);
    if (!waiting) return; // asked by another page that shows the same
    open.delete(message.id);
    clearTimeout(waiting.timer);
    if (message.error) waiting.reject(message.error);
    else waiting.resolve(message.said);
  };
  model.on("msg:custom", hear);
  // numbers of their own, so that two pages never take each other's answers
  const first = Math.floor(Math.random() * 1e12) * 1000;
  return {
    ask(kind, fields = {}) {
      const id = first + (number += 1);
      return new Promise((resolve, reject) => {
        const late = () => {
          open.delete(id);
          reject({ message: "the kernel does not answer", hint: "is it running? restart it, and run the cell again" });
        };
        open.set(id, { resolve, reject, timer: setTimeout(late, ANSWER_MS) });
        model.send({ kind, id, ...fields });
      });
    },
    end() {
      model.off("msg:custom", hear);
      for (const { timer } of open.values()) clearTimeout(timer);
      open.clear();
    },
  };
}

export async function unpack(buffer, zipped) {
  const bytes = buffer instanceof DataView ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer);
  if (!zipped) return JSON.parse(new TextDecoder().decode(bytes));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
