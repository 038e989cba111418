/** Text with ANSI colours as elements that have JupyterLab's own classes for them. */

const NAMES = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];
// eslint-disable-next-line no-control-regex
const SEQUENCE = /\u001b\[([0-9;:]*)m/g;

interface Look {
  fg: string;
  bg: string;
  marks: Set<string>;
}

const plain = (): Look => ({ fg: '', bg: '', marks: new Set() });

/** Takes text piece by piece; a colour goes on in the next piece. */
export class Ansi {
  private look = plain();

  /** Elements that show `text`; it is set as text, whatever it is. */
  feed(text: string): (Text | HTMLSpanElement)[] {
    const made: (Text | HTMLSpanElement)[] = [];
    let at = 0;
    for (const found of text.matchAll(SEQUENCE)) {
      if (found.index > at) made.push(this.shown(text.slice(at, found.index)));
      this.turn(found[1] ?? '');
      at = found.index + found[0].length;
    }
    if (at < text.length) made.push(this.shown(text.slice(at)));
    return made;
  }

  private shown(text: string): Text | HTMLSpanElement {
    const { fg, bg, marks } = this.look;
    if (!fg && !bg && !marks.size) return document.createTextNode(text);
    const span = document.createElement('span');
    span.textContent = text;
    for (const [colour, way] of [[fg, 'fg'], [bg, 'bg']] as const) {
      if (colour.startsWith('rgb')) span.style.setProperty(way === 'fg' ? 'color' : 'background-color', colour);
      else if (colour) span.classList.add(`ansi-${colour}-${way}`);
    }
    for (const one of marks) span.classList.add(`ansi-${one}`);
    return span;
  }

  private turn(given: string): void {
    const codes = given.split(/[;:]/).map(Number);
    for (let at = 0; at < codes.length; at += 1) {
      const code = codes[at] ?? 0;
      const { look } = this;
      if (code === 0) this.look = plain();
      else if (code === 1) look.marks.add('bold');
      else if (code === 4) look.marks.add('underline');
      else if (code === 7) look.marks.add('inverse');
      else if (code === 22) look.marks.delete('bold');
      else if (code === 24) look.marks.delete('underline');
      else if (code === 27) look.marks.delete('inverse');
      else if (code === 39) look.fg = '';
      else if (code === 49) look.bg = '';
      else if (code === 38 || code === 48) {
        const wide = codes[at + 1] === 2;
        const colour = wide ? rgb(codes.slice(at + 2, at + 5)) : ofTable(codes[at + 2] ?? 0);
        if (code === 38) look.fg = colour;
        else look.bg = colour;
        at += wide ? 4 : 2;
      } else if (code >= 30 && code <= 37) look.fg = NAMES[code - 30] ?? '';
      else if (code >= 40 && code <= 47) look.bg = NAMES[code - 40] ?? '';
      else if (code >= 90 && code <= 97) look.fg = `${NAMES[code - 90] ?? ''}-intense`;
      else if (code >= 100 && code <= 107) look.bg = `${NAMES[code - 100] ?? ''}-intense`;
    }
  }
}

function rgb(parts: number[]): string {
  const [r, g, b] = [0, 1, 2].map(at => Math.min(255, Math.max(0, Math.trunc(parts[at] ?? 0) || 0)));
  return `rgb(${r}, ${g}, ${b})`;
}

/** A colour of xterm's 256. */
function ofTable(code: number): string {
  if (code < 8) return NAMES[code] ?? '';
  if (code < 16) return `${NAMES[code - 8] ?? ''}-intense`;
  if (code >= 232) return rgb([8 + 10 * (code - 232), 8 + 10 * (code - 232), 8 + 10 * (code - 232)]);
  const step = (value: number): number => (value ? 55 + 40 * value : 0);
  const left = code - 16;
  return rgb([step(Math.floor(left / 36) % 6), step(Math.floor(left / 6) % 6), step(left % 6)]);
}
