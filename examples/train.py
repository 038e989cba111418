"""Train a small network on handwritten digits: an ordinary script that knows nothing of gpunb.

It reads ``data/digits.npz`` and writes ``out/metrics.json`` and ``out/model.npz``.
The model is saved as plain arrays: a file from a rented machine should never need unpickling.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/digits.npz"))
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()

    digits = np.load(args.data, allow_pickle=False)
    model = MLPClassifier(hidden_layer_sizes=(64,), learning_rate_init=0.003, random_state=0)
    history = []
    begin = time.perf_counter()
    for epoch in range(1, args.epochs + 1):
        model.partial_fit(digits["x_train"], digits["y_train"], classes=np.arange(10))
        accuracy = accuracy_score(digits["y_test"], model.predict(digits["x_test"]))
        history.append({"epoch": epoch, "loss": float(model.loss_), "accuracy": float(accuracy)})
        print(f"epoch {epoch:2}  loss {model.loss_:.3f}  accuracy {accuracy:.3f}", flush=True)

    args.out.mkdir(parents=True, exist_ok=True)
    weights = {f"w{i}": w for i, w in enumerate(model.coefs_)}
    biases = {f"b{i}": b for i, b in enumerate(model.intercepts_)}
    np.savez(args.out / "model.npz", **weights, **biases)
    metrics = {"history": history, "seconds": round(time.perf_counter() - begin, 3)}
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2), encoding="utf-8")
    print(f"saved {args.out}/model.npz and {args.out}/metrics.json")


if __name__ == "__main__":
    main()
