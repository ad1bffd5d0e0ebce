"""A table a question."""

from __future__ import annotations

import math

import pandas as pd

from darkknowledge import statistics as st
from darkknowledge.answers import networks
from darkknowledge.answers import q3 as temperature
from darkknowledge.answers import q4 as omitted
from darkknowledge.answers.common import (
    ARM_NAMES,
    HARD,
    NETS,
    TEACHER,
    errors_of,
    first_record,
    rows_mean,
)
from darkknowledge.answers.q7 import EXPERIMENTS, NAMES
from darkknowledge.claims import Arm, matches, runs_of
from darkknowledge.tables.common import breakable, k_of_n, of_planned, percent
from darkknowledge.wording import measured, number, seconds, signed

#: How arms of another protocol than Hinton's are marked.
PROTOCOL_PREFIX = {"jitter": "jitter for all: ", "unjittered": "same recipe, no jitter: "}


def q1(frame: pd.DataFrame, latency: pd.DataFrame | None) -> pd.DataFrame:
    """Q1: one row a quantity, one column a net."""
    columns = {}
    for arm in (TEACHER, HARD):
        rows = runs_of(frame, arm)
        record = first_record(frame, arm)
        cost = record["cost"] if record else {}
        cells = {
            "parameters": number(cost.get("parameters", math.nan), 0),
            "FLOPs an image": number(cost.get("flops", math.nan), 0),
            "weights, fp32 (MB)": number(cost.get("bytes_fp32", math.nan) / 1e6, 2),
            "file, fp16 (MB)": number(cost.get("bytes_fp16", math.nan) / 1e6, 2),
            "training time (mean)": seconds(rows["seconds"].mean()),
            "epochs": str(rows["epochs"].iloc[0]),
        }
        if latency is not None:
            for _, row in latency[latency["arm"] == arm.name].sort_values("batch").iterrows():
                images = "1 image" if row["batch"] == 1 else f"{row['batch']} images"
                cells[f"latency, {images} (median, IQR)"] = (
                    f"{seconds(row['median'])} ({seconds(row['iqr'])})"
                )
        cells["test errors (95 % interval)"] = measured(errors_of(frame, arm))
        cells["test accuracy"] = f"{number(100 * rows['test_accuracy'].mean(), 2)} %"
        cells["runs"] = of_planned(rows)
        columns[f"{NETS[arm]}, {rows['model'].iloc[0]}"] = cells
    return pd.DataFrame(columns).rename_axis("what").reset_index()


def q2(frame: pd.DataFrame) -> pd.DataFrame:
    """Q2: one row an arm; the difference is to true labels under the same protocol, seed by seed."""
    rows = []
    for (protocol, arm), runs in frame.groupby(["protocol", "arm"], sort=False):
        who = Arm(arm, protocol)
        claim = _against_hard(frame, who)
        first = runs.iloc[0]
        rows.append(
            {
                "arm": PROTOCOL_PREFIX.get(protocol, "") + ARM_NAMES.get(arm, arm),
                "T": f"{first['temperature']:g}" if first["w_soft"] else "",
                "weights hard, soft": f"{first['w_hard']:g}, {first['w_soft']:g}",
                "runs": of_planned(runs),
                "test errors": measured(errors_of(frame, who)),
                "to true labels": signed(claim.mean) if claim and claim.n else "",
                "NLL": number(runs["nll"].mean(), 4),
                "ECE (%)": number(100 * runs["ece"].mean(), 2),
                "agreement (%)": percent(runs["teacher_agreement"].mean()),
            }
        )
    return pd.DataFrame(rows)


def _against_hard(frame: pd.DataFrame, arm: Arm) -> st.Effect | None:
    if arm.name in ("hard", "teacher"):
        return None
    done = [m for m in matches(frame, arm, Arm("hard", arm.protocol)) if m.measured]
    return st.mean([m.difference for m in done], [m.cluster for m in done])


def q3(frame: pd.DataFrame) -> pd.DataFrame:
    """Q3: one row a temperature, one column a width; ``*`` marks the T chosen on validation."""
    widths = temperature.widths(frame)
    every = sorted({t for w in widths for t in temperature.temperatures(frame, w)})
    rows = []
    for t in [None, *every]:
        cells = {"T": "true labels" if t is None else f"{t:g}"}
        for width in widths:
            planned = t is None or t in temperature.temperatures(frame, width)
            runs = temperature.at(frame, width, t)
            mark = " *" if t is not None and t == temperature.best(frame, width) else ""
            cells[f"{width} units"] = f"{_with_gaps(runs)}{mark}" if planned else ""
        rows.append(cells)
    return pd.DataFrame(rows)


def _with_gaps(runs: pd.DataFrame) -> str:
    """Mean errors with interval, and how many of the planned runs they rest on if not on all."""
    missing = runs["test_errors"].isna().any()
    return measured(rows_mean(runs)) + (f", {of_planned(runs)}" if missing else "")


def _recall(effect: st.Effect) -> str:
    return "—" if effect.n == 0 else number(100 * effect.mean)


def q4(frame: pd.DataFrame) -> pd.DataFrame:
    """Q4: one row a transfer set and way to train; errors in all, and recall on unseen digits,
    without a shift and with the bias chosen in three ways."""
    plans = [(omitted.WHOLE, "kd", *omitted.main_settings(frame))]
    plans += [(omitted.WHOLE, "hard", 1.0, 0.0)]
    singles = omitted.single_digits(frame)[:1]
    for transfer in (*singles, *omitted.kept_sets(frame)):
        plans.append((transfer, "kd", *omitted.main_settings(frame)))
        if transfer in singles:
            plans += [(transfer, "kd", *pair) for pair in omitted.details(frame)]
        plans.append((transfer, "hard", 1.0, 0.0))
    rows = []
    for transfer, arm, t, alpha in plans:
        runs = transfer.rows(frame, arm, t, alpha)
        whole = transfer == omitted.WHOLE
        cells = {
            "transfer set": transfer.name,
            "T, α": "true labels" if arm == "hard" else f"{t:g}, {alpha:g}",
            "runs": of_planned(runs),
        }
        for shift, head in (
            ("none", "as trained"),
            ("validation", "shifted"),
            ("label_free", "label-free"),
            ("oracle", "hindsight"),
        ):
            effect = rows_mean(runs, "test_errors" if whole else f"errors_{shift}")
            cells[head] = "" if whole and shift != "none" else measured(effect, 0)
            if effect.n and not whole:
                recall = _recall(rows_mean(runs, f"unseen_recall_{shift}"))
                cells[head] += f"; {recall}\N{NO-BREAK SPACE}%"
        rows.append(cells)
    return pd.DataFrame(rows)


def q4_digits(frame: pd.DataFrame) -> pd.DataFrame:
    """Q4: one row an omitted digit."""
    table = omitted.by_digit(frame)
    return pd.DataFrame(
        [
            {
                "omitted": str(row.digit),
                "runs": k_of_n(row.runs, row.planned),
                "teacher's soft mass": number(row.mass, 4),
                "true labels": number(row.hard.mean),
                "errors": number(row.errors.mean),
                "recall (%)": _recall(row.recall),
                "bias chosen": number(row.bias.mean, 2),
                "errors, shifted": measured(row.errors_shifted),
                "recall (%), shifted": _recall(row.recall_shifted),
            }
            for row in table.sort_values("digit").itertuples()
        ]
    )


def pairs(frame: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """Q5 and Q6: for each pair a row with its nets' names and one an arm, with the gain over true
    labels on the same net and what changes besides accuracy. What has no record has no row; the
    answer names it."""
    rows = []
    for pair in networks.pairs(frame, labels):
        arms: list[tuple[str, float | None]] = [("teacher", None), ("hard", None)]
        if pair.measured:
            every = [*arms, *pair.arms]
            rows.append({"arm": f"**{breakable(pair.title)}**"})
            rows += [_pair_row(pair, *a) for a in every if pair.rows(*a)["record"].notna().any()]
    return pd.DataFrame(rows).fillna("")


def _pair_row(pair: networks.Pair, arm: str, temperature: float | None) -> dict[str, str]:
    runs = pair.rows(arm, temperature)
    first = runs.iloc[0]
    gain = None if arm in ("teacher", "hard") else networks.gain(pair, arm, temperature)
    return {
        "arm": "teacher" if arm == "teacher" else networks.ARMS[arm],
        "T": f"{first['temperature']:g}" if first["w_soft"] else "",
        "weights hard, soft": f"{first['w_hard']:g}, {first['w_soft']:g}",
        "runs": of_planned(runs),
        "accuracy (%)": measured(networks.accuracy(runs), 2),
        "gain (points)": "" if gain is None else measured(gain, 2),
        "NLL": number(runs["nll"].mean(), 4),
        "ECE (%)": number(100 * runs["ece"].mean(), 2),
        "agreement (%)": percent(runs["teacher_agreement"].mean()),
    }


def yuan(frame: pd.DataFrame, labels: dict[str, str], published: pd.DataFrame) -> pd.DataFrame:
    """Q5 in the form of table 2 of Yuan et al. (2020), theirs beside ours, accuracies in percent;
    only pairs that one of us has measured."""
    rows = []
    for pair in networks.pairs(frame, labels):
        key = f"yuan-{pair.name}"
        theirs = {
            k: number(published.loc[f"{key}-{k}", "value"], 2)
            if f"{key}-{k}" in published.index
            else "—"
            for k in ("weak", "strong", "forward", "reversed")
        }
        ours = {
            "weak": networks.accuracy(pair.rows("hard_forward")),
            "strong": networks.accuracy(pair.rows("hard")),
            "forward": networks.accuracy(pair.rows("kd_forward")),
            "reversed": networks.accuracy(pair.rows("kd")),
        }
        heads = {
            "weak": "weak net",
            "strong": "strong net",
            "forward": "weak net, normal KD",
            "reversed": "strong net, reversed KD",
        }
        cells = {head: f"{measured(ours[k], 2)} [{theirs[k]}]" for k, head in heads.items()}
        if set(cells.values()) != {"— [—]"}:
            rows.append({"weak > strong": breakable(pair.title)} | cells)
    return pd.DataFrame(rows)


def q7(frame: pd.DataFrame) -> pd.DataFrame:
    """The discussion: one row an arm, by experiment."""
    rows = []
    for experiment, arms in EXPERIMENTS.items():
        for arm in arms:
            runs = runs_of(frame, arm)
            if not len(runs):
                continue
            first = runs.iloc[0]
            rows.append(
                {
                    "experiment": experiment,
                    "arm": NAMES[arm.name],
                    "T": f"{first['temperature']:g}" if first["w_soft"] else "",
                    "weights hard, soft": f"{first['w_hard']:g}, {first['w_soft']:g}",
                    "epochs": str(first["epochs"]),
                    "runs": of_planned(runs),
                    "test errors": measured(errors_of(frame, arm)),
                    "NLL": number(runs["nll"].mean(), 4),
                    "agreement (%)": percent(runs["teacher_agreement"].mean()),
                }
            )
    return pd.DataFrame(rows)


def tuning(frame: pd.DataFrame) -> pd.DataFrame:
    """The search: validation errors of every candidate for both arms."""
    rows = []
    students = frame[frame["role"] != "teacher"]
    for candidate, runs in students.groupby("pair", sort=False):
        cells = {"candidate": candidate}
        for arm in ("hard", "kd"):
            cells[f"validation errors, {ARM_NAMES[arm]}"] = number(
                runs.loc[runs["arm"] == arm, "validation_errors"].mean(), 0
            )
        rows.append(cells)
    return pd.DataFrame(rows)
