"""What the scripts of ``report/page.html`` need: soft labels for any temperature, and networks that
read a drawn digit, each as JSON within the page."""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import load_file

from darkknowledge.evidence.claims import Findings
from darkknowledge.records import Store

#: The networks that read a drawn digit: question and arm, and what the page calls them.
READERS = {
    ("q2", "teacher"): "The teacher",
    ("q2", "hard"): "The student, on hard labels",
    ("q4", "kd"): "A distilled student that never saw a",
}


def script(name: str, body: Mapping[str, Any]) -> str:
    """Markdown that puts JSON into an HTML page, where the script for ``name`` looks for it."""
    text = json.dumps(body, separators=(",", ":")).replace("</", "<\\/")
    return f'```{{=html}}\n<script type="application/json" data-live="{name}">{text}</script>\n```'


def samples(sheet: Path, classes: int) -> list[str]:
    """The first image of each class on a contact sheet, as PNGs that a page can hold."""
    pixels = Image.open(sheet)
    side, found = pixels.height // classes, []
    for row in range(classes):
        content = io.BytesIO()
        pixels.crop((0, row * side, side, (row + 1) * side)).save(content, "png")
        found.append("data:image/png;base64," + encoded(content.getvalue()))
    return found


def networks(findings: Mapping[str, Findings], store: Store) -> list[dict[str, Any]]:
    """The networks of the first block that read a drawn digit, those whose weights are here. One that
    never saw a class comes with the shift of its bias that its record found without labels."""
    found = []
    for (question, arm), name in READERS.items():
        rows = findings[question].rows(arm=arm) if question in findings else pd.DataFrame()
        if question == "q4" and len(rows):
            lacking = rows[rows["omitted"] != ""]
            rows = lacking.sort_values("omitted", key=lambda omitted: omitted != "3", kind="stable")
        record = rows["record"].iloc[0] if len(rows) else None
        kind = record and record["spec"]["model"]["name"]
        if not record or kind != "mlp" or not store.weights_match(record):
            continue
        net = network(name, store.weights_path(record["run_id"]))
        if lost := record["unseen"]:
            (one,) = lost["classes"]
            net["name"] = f"{name} {one}"
            net["shift"] = {
                "name": "The same, with that bias shifted",
                "unseen": one,
                "by": lost["label_free"]["bias"],
            }
        found.append(net)
    return found


def network(name: str, weights: Path) -> dict[str, Any]:
    """A multilayer perceptron for the page: each row of a matrix as whole multiples of its largest
    absolute weight / 127, as records count it too; the mean image is drawn off by the first biases."""
    state = load_file(weights)
    keys = sorted((k for k in state if k.endswith(".weight")), key=lambda k: int(k.split(".")[-2]))
    mean = state["mean"].astype(np.float32).ravel()
    layers: list[dict[str, str]] = []
    for key in keys:
        matrix = state[key].astype(np.float32)
        bias = state[key.replace(".weight", ".bias")].astype(np.float32)
        step = np.maximum(np.abs(matrix).max(1) / 127, 1e-12).astype(np.float32)
        whole = np.rint(matrix / step[:, None]).astype(np.int8)
        if not layers:
            bias = bias - step * (whole.astype(np.float32) @ mean)
        parts = {"weight": whole, "step": step, "bias": bias.astype(np.float32)}
        layers.append({k: encoded(np.ascontiguousarray(v).tobytes()) for k, v in parts.items()})
    return {"name": name, "layers": layers}


def encoded(content: bytes) -> str:
    """Bytes in base 64."""
    return base64.b64encode(content).decode()
