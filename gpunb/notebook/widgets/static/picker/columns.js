// Made by `make types` from gpunb/presentation/offer_columns.py: change that.

export const COLUMNS = [
  {"key": "gpu", "label": "GPU", "form": "gpu", "px": 114, "grow": 1.3, "card": "1 / 1 / 2 / 3", "tone": "strong"},
  {"key": "vram_gb", "label": "VRAM", "unit": "GB", "form": "number", "px": 104, "grow": 0.4, "drop": 2, "more": true, "right": true},
  {"key": "provider", "label": "Cloud", "form": "cloud", "px": 94, "grow": 0.8, "card": "2 / 1"},
  {"key": "region", "label": "Region", "form": "place", "px": 92, "grow": 1.7, "drop": 1, "card": "2 / 2"},
  {"key": "cores", "label": "Cores", "form": "number", "px": 70, "grow": 0.4, "drop": 8, "more": true, "right": true},
  {"key": "ram_gb", "label": "RAM", "unit": "GB", "form": "whole", "px": 96, "grow": 0.4, "drop": 7, "more": true, "right": true},
  {"key": "trust", "label": "Host", "form": "text", "px": 102, "grow": 0.7, "drop": 6, "tone": "dim"},
  {"key": "reliability", "label": "Reliable", "form": "percent", "px": 88, "grow": 0.6, "drop": 10, "more": true, "tone": "dim", "right": true},
  {"key": "usd_h", "label": "$/h", "form": "price", "px": 68, "grow": 0.6, "card": "2 / 3", "right": true},
  {"key": "total_usd", "label": "Total", "form": "money", "px": 78, "grow": 0.7, "card": "1 / 3", "tone": "strong", "right": true},
  {"key": "ready_s", "label": "Ready in", "form": "duration", "px": 96, "grow": 0.6, "drop": 4, "right": true},
];
