"""Tables of the supplement that belong to no question: where the records come from, what recipes were
tried, how others write the loss, training speed, and the runs behind every claim."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from darkknowledge.evidence import text
from darkknowledge.evidence.claims import Claim
from darkknowledge.layout import made_on
from darkknowledge.records import read_csv
from darkknowledge.spec import ModelSpec

#: How the search for recipes names what it tried.
NAMES = {"hard": "hard labels", "kd": "distilled", "tfkd_reg": "Tf-KD~reg~"}
OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW", "muon": "Muon"}
#: What may differ between runs of one candidate.
OF_A_RUN = ("run_id", "seed", "teacher_run_id", "validation_errors", "validation_nll")


def provenance(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Where the records of all questions come from, one column per data set."""
    every = _stored(frames)
    if every.empty:
        return pd.DataFrame()
    sets = every.groupby("dataset", sort=False)
    named = {text.DATASETS.get(str(name), str(name)): _facts(rows) for name, rows in sets}
    return pd.DataFrame(named).rename_axis("item").reset_index()


def moved(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any] | None:
    """The runs that come from another type of processor than most of their data set: how many, and
    their families with their blocks, in words; None if there is none."""
    every = _stored(frames)
    if every.empty:
        return None
    types = pd.Series([made_on(record) for record in every["record"]], every.index)
    usual = types.groupby(every["dataset"]).transform(lambda some: some.value_counts().idxmax())
    rows = every[types != usual]
    families = [
        f"{str(family).replace('_', ' ')} ({len(of)} in block{'s' * (of.nunique() > 1)} {_span(of)})"
        for family, of in rows.groupby("family", sort=False)["block"]
    ]
    return {"runs": len(rows), "families": families} if len(rows) else None


def _stored(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows that have a record, each run once."""
    shown = [frame for frame in frames.values() if any(frame["record"])]
    if not shown:
        return pd.DataFrame()
    every = pd.concat(shown, ignore_index=True).dropna(subset="record")
    return every.drop_duplicates("run_id")


def _facts(rows: pd.DataFrame) -> dict[str, str]:
    records = list(rows["record"])
    about = [record["provenance"] for record in records]

    def versions(of: dict[str, str]) -> str:
        named = {"Python": "python", "PyTorch": "torch", "torchvision": "torchvision"}
        return ", ".join(f"{name} {of[key].split('+')[0]}" for name, key in named.items())

    return {
        "data": _counted(p["data"] for p in about),
        "fingerprint (SHA-256)": _counted(r["spec"]["data"]["fingerprint"][:16] for r in records),
        "training images": _span(p["training_images"] for p in about),
        "validation images": _span(r["validation"]["n"] for r in records),
        "test images": _span(r["test"]["n"] for r in records),
        "records": text.number(len(records), 0),
        "blocks": _span(rows["block"]),
        "processors": _counted(map(made_on, records)),
        "machines": _counted(f"{p['device_name']}, threads per run: {p['threads']}" for p in about),
        "precision": _counted(r["spec"]["precision"] for r in records),
        "versions": _counted(versions(p["versions"]) for p in about),
        "hours of training": text.number(sum(p["training_seconds"] for p in about) / 3600),
    }


def _counted(values: Iterable[str]) -> str:
    """What occurs, the most frequent first, each with its number of runs where they differ."""
    found = Counter(values).most_common()
    runs = {n: f" ({n} run{'s' * (n > 1)})" * (len(found) > 1) for _, n in found}
    return "; ".join(value + runs[n] for value, n in found)


def _span(values: Iterable[int]) -> str:
    """The smallest and the largest."""
    found = sorted(values)
    return " to ".join(dict.fromkeys(text.number(end, 0) for end in (found[0], found[-1])))


def recipes(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Every recipe that networks were trained with."""
    found: Counter[tuple[str, ...]] = Counter()
    for spec in (record["spec"] for record in records):
        name, recipe = spec["data"]["name"], spec["model"] | spec["recipe"]
        what = text.DATASETS.get(name, name), text.network(ModelSpec(**spec["model"]).label)
        learns = "hard labels" if spec["loss"]["mode"] == "hard" else "soft labels"
        sizes = str(recipe["epochs"]), str(recipe["batch_size"])
        found[*what, learns, _recipe(recipe), *sizes] += 1
    names = ["data", "network", "learns from", "recipe", "epochs", "batch", "runs"]
    return pd.DataFrame([[*row, str(n)] for row, n in sorted(found.items())], columns=names)


#: Texts and numbers of the table of the search.
SEARCHED = (
    ("run_id", "teacher_run_id", "dataset", "model", "optimiser", "schedule", "augmentation", "mode"),
    ("lr", "momentum", "weight_decay", "dropout_input", "dropout_hidden", "epochs", "batch_size",
     "temperature", "w_soft", "validation_errors", "validation_nll"),
)  # fmt: skip


def search(path: Path, images: int = 5000) -> pd.DataFrame:
    """The search for recipes, one row per candidate: its errors of so many validation images, a mean
    where it was tried with several seeds."""
    if not path.exists():
        return pd.DataFrame()
    frame = read_csv(path, *SEARCHED, "copy it again")
    settings = [column for column in frame if column not in OF_A_RUN]
    frame["candidate"] = frame[settings].astype(str).agg(" ".join, axis=1)
    teachers = frame.set_index("run_id").reindex(frame["teacher_run_id"]).reset_index(drop=True)
    frame["of"] = teachers["candidate"].fillna(frame["teacher_run_id"])
    frame["teacher"] = teachers["model"]
    rows = []
    for _, runs in frame.groupby(["candidate", "of"], sort=False, dropna=False):
        one, more = runs.iloc[0], int(len(runs) > 1)
        names = _part(one["dataset"]), text.network(one["model"])
        numbers = one["epochs"], one["batch_size"], len(runs)
        errors = text.number(runs["validation_errors"].mean(), more)
        nll = text.number(runs["validation_nll"].mean(), 3)
        rows.append([*names, _loss(one), _recipe(one), *map(str, numbers), errors, nll])
    columns = ["data", "network", "learns from", "recipe", "epochs", "batch", "seeds"]
    found = pd.DataFrame(rows, columns=[*columns, f"errors of {images:,}", "NLL"])
    return found.drop(columns="seeds") if {*found["seeds"]} == {"1"} else found


def _part(name: str) -> str:
    """A data set as the search names it, with what of it a run was trained on: ``mnist share 0.1``."""
    name, *part = name.split()
    match part:
        case ["share", share]:
            rest = f", {text.percent(float(share))} of the images"
        case ["only", *classes]:
            rest = f", only the classes {text.joined(classes)}"
        case _:
            rest = ""
    return text.DATASETS.get(name, name) + rest


def _loss(run: Any) -> str:
    name = NAMES.get(run["mode"], run["mode"].replace("_", " "))
    taught = "" if pd.isna(run["teacher"]) else f" from the {text.network(run['teacher'])}"
    heat = f", T = {run['temperature']:g}" if run["temperature"] != 1 or taught else ""
    return name if run["mode"] == "hard" else f"{name}{taught}{heat}, α = {run['w_soft']:g}"


def _recipe(run: Any) -> str:
    dropout = [f"{run[f'dropout_{where}']:g}" for where in ("input", "hidden")]
    said = {
        f"{OPTIMISERS.get(run['optimiser'], run['optimiser'])} {run['lr']:g}": True,
        f"momentum {run['momentum']:g}": run["optimiser"] != "adamw",
        f"weight decay {run['weight_decay']:g}": run["weight_decay"],
        run["schedule"].replace("one_cycle", "one-cycle"): True,
        run["augmentation"].replace("_", " and "): run["augmentation"] != "none",
        f"dropout {' and '.join(dropout)}": dropout != ["0", "0"],
        f"images at {text.values(run.get('sides', []))} pixels": len(run.get("sides", [])),
    }
    return ", ".join(words for words, due in said.items() if due)


def speed(bench: pd.DataFrame | None) -> pd.DataFrame:
    """Training speed against the usual way, as ``make bench`` stored it."""
    rows = [
        [f"{row['device_name']}, {row['threads']:g} threads", row["case"], row["variant"]]
        + [text.number(row["images_per_second"], 0), text.number(row["ratio"], 2)]
        + [text.number(100 * row[share], 0) for share in ("spread", "share")]
        for row in ([] if bench is None else bench.to_dict("records"))
    ]
    names = ["machine", "case", "way", "images per second", "ratio", "spread (%)"]
    return pd.DataFrame(rows, columns=[*names, "share of matrix products (%)"])


def run_ids(claims: Mapping[str, Mapping[str, Claim]]) -> pd.DataFrame:
    """Every measured claim of the questions, with the first six digits of the names of its runs."""
    found = [claim for some in claims.values() for claim in some.values() if claim.measured]
    rows = [[claim.id, " ".join(run[:6] for run in claim.run_ids)] for claim in found]
    return pd.DataFrame(rows, columns=["claim", "runs"])
