/** Elements in a line. Text is set as text, always: hosts and clouds are strangers. */

import type { LabIcon } from '@jupyterlab/ui-components';

export interface Look {
  className?: string;
  text?: string;
  /** For screen readers, where the text does not say it. */
  label?: string;
  title?: string;
  role?: string;
}

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  look: Look = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (look.className) made.className = look.className;
  if (look.text !== undefined) made.textContent = look.text;
  if (look.label) made.setAttribute('aria-label', look.label);
  if (look.title) made.title = look.title;
  if (look.role) made.setAttribute('role', look.role);
  made.append(...children);
  return made;
}

export function button(text: string, onClick: () => unknown, look: Look = {}): HTMLButtonElement {
  const made = el('button', { ...look, text, className: `gpunb-button ${look.className ?? ''}`.trim() });
  made.type = 'button';
  made.addEventListener('click', () => void onClick());
  return made;
}

/** A button with one of JupyterLab's icons before its text. */
export function iconButton(icon: LabIcon, text: string, onClick: () => unknown, look: Look = {}): HTMLButtonElement {
  const made = button('', onClick, { ...look, className: `gpunb-with-icon ${look.className ?? ''}` });
  made.append(icon.element({ tag: 'span', className: 'gpunb-icon' }), text);
  return made;
}

export function field(label: string, value: string, look: Look & { type?: string; max?: number } = {}): {
  label: HTMLLabelElement;
  input: HTMLInputElement;
} {
  const input = el('input', { className: `gpunb-input ${look.className ?? ''}`.trim() });
  input.type = look.type ?? 'text';
  input.value = value;
  input.maxLength = look.max ?? 64;
  input.autocomplete = 'off';
  return { label: el('label', { className: 'gpunb-field' }, el('span', { text: label }), input), input };
}

export function put(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function bytes(size: number): string {
  if (!Number.isFinite(size)) return '?';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  let left = size;
  while (left >= 1000 && at < units.length - 1) {
    left /= 1000;
    at += 1;
  }
  return `${at === 0 || left >= 100 ? Math.round(left) : left.toFixed(1)} ${units[at]}`;
}

/** Let the browser keep `data` as a file. */
export function save(name: string, data: Blob): void {
  const link = el('a');
  link.href = URL.createObjectURL(data);
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
