// The load and memory of a host's GPUs, a line each.

import { list, node, number, put } from "../common.js";

const SVG = "http://www.w3.org/2000/svg";
const POINTS_MAX = 120;
const GPUS_MAX = 16;

/** One series as a line; values are 0 to 100. */
class Sparkline {
  element = node("div", "gpunb-spark");
  #label;
  #svg = document.createElementNS(SVG, "svg");
  #area = document.createElementNS(SVG, "polygon");
  #line = document.createElementNS(SVG, "polyline");
  #value = node("span", "gpunb-spark-value");

  constructor(label) {
    this.#label = label;
    this.#svg.setAttribute("viewBox", "0 0 120 24");
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#svg.setAttribute("role", "img");
    this.#line.setAttribute("vector-effect", "non-scaling-stroke");
    this.#svg.append(this.#area, this.#line);
    this.element.append(node("span", "gpunb-spark-name", label), this.#svg, this.#value);
  }

  update(values, text) {
    const seen = values.slice(-POINTS_MAX).map((one) => number(one));
    const step = 120 / Math.max(1, seen.length - 1);
    const height = (one) => (23 - 0.22 * Math.min(100, Math.max(0, one))).toFixed(1);
    const points = seen.map((one, at) => (one === null ? "" : `${(at * step).toFixed(1)},${height(one)}`)).filter(Boolean);
    this.#line.setAttribute("points", points.join(" "));
    this.#area.setAttribute("points", points.length > 1 ? `0,24 ${points.join(" ")} 120,24` : "");
    put(this.#value, text);
    this.#svg.setAttribute("aria-label", `${this.#label} ${text}`);
  }
}

export class Load {
  element = node("div", "gpunb-sparks");
  #t;
  #lines = new Map(); // "GPU/kind" -> Sparkline

  constructor(t) {
    this.#t = t;
  }

  /** `telemetry` is `{gpu, memory}`: for each GPU its percents, oldest first; a `ready` host without is told. */
  show(telemetry, ready) {
    const gpu = list(telemetry?.gpu).slice(0, GPUS_MAX);
    const memory = list(telemetry?.memory);
    if (!gpu.length) {
      this.#clear();
      if (telemetry && ready) this.element.append(node("span", "gpunb-hint", this.#t("no_load")));
      return;
    }
    if (this.#lines.size !== gpu.length * 2) this.#build(gpu.length);
    for (const at of gpu.keys()) {
      this.#update(`${at}/load`, list(gpu[at]));
      this.#update(`${at}/memory`, list(memory[at]));
    }
  }

  #clear() {
    this.#lines.clear();
    this.element.textContent = "";
  }

  #build(gpus) {
    this.#clear();
    for (let at = 0; at < gpus; at += 1) {
      const label = gpus > 1 ? `${this.#t("gpu", { n: at })} ` : "GPU ";
      for (const kind of ["load", "memory"]) {
        const line = new Sparkline(`${label}${this.#t(kind)}`);
        this.#lines.set(`${at}/${kind}`, line);
        this.element.append(line.element);
      }
    }
  }

  #update(key, values) {
    const last = number(values[values.length - 1]);
    this.#lines.get(key).update(values, last === null ? "?" : `${Math.round(last)}%`);
  }
}
