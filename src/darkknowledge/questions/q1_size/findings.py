"""Q1, what the records say: what size is worth between networks that are trained alike, what training
is worth at one size, and what both cost."""

from typing import Any

from darkknowledge.evidence import samples, text
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.samples import Measure, Sample
from darkknowledge.records import LATENCY, read_csv
from darkknowledge.spec import ModelSpec


def claims(f: Findings) -> None:
    """One primary claim, large against small, both trained like the teacher; the same step and that
    from another size without augmentation and dropout; and what these are worth at one size."""
    large, small, other = nets(f)
    plain = {net: f.sample(arm="hard", model=net) for net in (large, small, other)}
    augmented = f.sample(arm="hard_augmented", model=small)
    f.claim("large_vs_small", "teacher", "hard_augmented", f.sample(arm="teacher") - augmented)
    family = "Q1 sizes", 3
    words = {net: f"{text.network(net)}, plain" for net in plain}
    for name, net in (("large", large), ("other", other)):
        difference = plain[net] - plain[small]
        f.claim(f"{name}_vs_small_plain", words[net], words[small], difference, *family)
    f.claim("augmented_vs_plain", "hard_augmented", "hard", augmented - plain[small], *family)


def nets(f: Findings) -> tuple[str, str, str]:
    """The large net, the small one, and the widest of the others (empty if there is none)."""
    large = f.rows(arm="teacher")["model"].iloc[0]
    small = f.rows(arm="hard", family="size")["model"].iloc[0]
    others = set(f.rows(arm="hard", family="sizes")["model"]) - {large, small}
    return large, small, max(others, key=lambda net: ModelSpec.named(net).hidden, default="")


def values(f: Findings) -> dict[str, Any]:
    """Means in errors, what size and training take away, with eight-bit weights too, and the cost."""
    large, small, other = nets(f)
    where: dict[str, dict[str, str]] = {
        "large": {"arm": "teacher"},
        "augmented": {"arm": "hard_augmented", "model": small},
        "plain": {"arm": "hard", "model": small},
    }
    found = {name: f.sample(**runs) for name, runs in where.items()}
    rounded = {name: eight_bits(f, **runs) for name, runs in where.items()}
    rows = {name: f.rows(**runs) for name, runs in where.items()}
    parameters = (f.sample(cost("parameters"), **where[name]) for name in ("large", "augmented"))
    return {
        "large": large,
        "small": small,
        "other": other,
        "errors": {name: sample.mean for name, sample in found.items()},
        "gain": gains(found),
        "gain_eight_bits": gains(rounded),
        "eight_bits": bool(rounded["plain"].values and rounded["augmented"].values),
        "times_parameters": samples.ratio(*parameters).mean,
        "latency": {net: row for (net, batch), row in latencies(f).items() if batch == 1},
        "first": {name: runs.iloc[0] for name, runs in rows.items()},
        "record": {name: next(filter(None, runs["record"]), {}) for name, runs in rows.items()},
        "images": f.images(f.dataset),
        "extras": extras(f),
        "sizes": sizes(large, small),
        "narrow": narrow(f, small),
        "published": f.dataset == "mnist",
    }


def sizes(*nets: str) -> str:
    """``1,200 and 800 units``, where networks differ in nothing else."""
    hidden = [ModelSpec.named(net).hidden for net in nets]
    plain = all(units and len(set(units)) == 1 for units in hidden)
    return (
        f"{text.joined(f'{h[0]:,}' for h in hidden)} units" if plain else "networks of both sizes"
    )


def narrow(f: Findings, small: str) -> dict[str, int | bool]:
    """Of other networks that are trained like the teacher, but in fewer blocks than ``small`` is: in how
    many at least, and whether with dropout. Empty if there are none."""
    runs = f.rows(arm="hard_augmented").dropna(subset="record")
    blocks = runs.groupby("model")["block"].nunique()
    others = blocks.drop(small, errors="ignore")
    if not len(others) or others.min() >= blocks.get(small, 0):
        return {}
    records = runs.loc[runs["model"] != small, "record"]
    dropped = any(record["spec"]["model"]["dropout_hidden"] for record in records)
    return {"blocks": int(others.min()), "dropout": dropped}


def extras(f: Findings) -> str:
    """What the large network is trained with, and the small one alike, in words."""
    records = (r for arm in ("teacher", "hard_augmented") for r in f.rows(arm=arm)["record"])
    models = [record["spec"]["model"] for record in records if record]
    dropped = any(one["dropout_input"] or one["dropout_hidden"] for one in models)
    return "augmentation and dropout" if dropped else "augmentation"


def gains(found: dict[str, Sample]) -> dict[str, float]:
    """What size, and what training, takes off the errors."""
    return {
        "size": (found["augmented"] - found["large"]).mean,
        "training": (found["plain"] - found["augmented"]).mean,
    }


def cost(key: str) -> Measure:
    """What a run's network costs, as its record has it."""
    return lambda row: row["record"]["cost"][key]


def eight_bits(f: Findings, **where: Any) -> Sample:
    """Test errors with weights rounded to eight bits, of the runs whose record has them."""
    rows = f.rows(**where)
    there = [bool(record) and "test_int8" in record for record in rows["record"]]
    return samples.sample(rows[there], lambda row: row["record"]["test_int8"]["errors"])


def latencies(f: Findings) -> dict[tuple[str, int], dict[str, Any]]:
    """Times of a forward pass, by net and batch; none where they were not measured."""
    path = f.files.get("latency")
    if path is None or not path.exists():
        return {}
    net = dict(zip(f.frame["run_id"], f.frame["model"], strict=True))
    again = "delete it and execute the notebook of q1 again"
    rows = read_csv(path, *LATENCY, again).to_dict("records")
    return {(net[r["run_id"]], int(r["batch"])): r for r in rows if r["run_id"] in net}


#: Rows of ``report/literature.csv`` → the measure that stands beside each, and the arm that it is of.
LITERATURE = {
    "course-teacher": {"arm": "teacher"},
    "hinton-teacher-parameters": {"measure": cost("parameters"), "arm": "teacher"},
    "hinton-student-parameters": {"measure": cost("parameters"), "arm": "hard", "family": "size"},
}
