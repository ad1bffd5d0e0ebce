"""The written answers: sentences composed from claims, so that new numbers change the words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from darkknowledge import statistics as st
from darkknowledge.claims import (
    Arm,
    Claim,
    adjusted,
    paired,
    runs_of,
    shrinkage,
    to_teacher,
    unpaired,
)
from darkknowledge.wording import (
    interval,
    joined,
    number,
    p_value,
    seconds,
    sentence,
    share,
    signed,
)

TEACHER, HARD, KD, SOFT = Arm("teacher"), Arm("hard"), Arm("kd"), Arm("soft_only")

#: What each arm is called in sentences, tables and figures.
ARM_NAMES = {
    "teacher": "cumbersome net (teacher)",
    "hard": "true labels",
    "kd": "distilled",
    "soft_only": "distilled, soft labels only",
    "label_smoothing": "label smoothing, same weight",
    "label_smoothing_mild": "label smoothing, usual weight",
    "uniform_teacher": "uniform teacher",
    "tfkd_reg": "virtual teacher (Tf-KD_reg)",
    "shuffled_teacher": "shuffled teacher",
    "untrained_teacher": "untrained teacher",
    "hard_jitter": "true labels, jittered inputs",
}


CONTROLS = tuple(ARM_NAMES)[4:]
#: The published error counts are of MNIST's whole test set.
PUBLISHED_IMAGES = 10_000
#: What Q1 calls its two arms: there they stand for networks, not for ways to train one.
NETS = {TEACHER: "cumbersome net", HARD: "small net"}


@dataclass(frozen=True)
class Answer:
    """A question's claims and its four paragraphs, in the order in which they are read."""

    expected: str
    found: str
    gap: str
    open: str
    claims: dict[str, Claim] = field(default_factory=dict)

    @property
    def markdown(self) -> str:
        """The answer as Markdown."""
        parts = {
            "Expected.": self.expected,
            "Found.": self.found,
            "Gap.": self.gap,
            "Open.": self.open,
        }
        return "\n\n".join(f"**{head}** {sentence(text)}" for head, text in parts.items() if text)


def literature(root: Path) -> pd.DataFrame:
    """The published numbers of ``report/literature.csv``, by id."""
    return pd.read_csv(root / "report" / "literature.csv", index_col="id")


def errors_of(frame: pd.DataFrame, arm: Arm) -> st.Effect:
    """Mean test errors of an arm with interval; students are averaged within their teacher."""
    rows = runs_of(frame, arm).dropna(subset=["test_errors"])
    clusters = rows["teacher_seed"].fillna(rows["seed"])
    return st.mean(rows["test_errors"].tolist(), clusters.tolist())


def images_of(labels: str) -> str:
    """``10,000`` as in ‘errors of 10,000’."""
    return number(len(labels), 0)


def _mean(rows: pd.DataFrame, column: str) -> float:
    return float(rows[column].dropna().mean()) if rows[column].notna().any() else math.nan


def _from_cost(frame: pd.DataFrame, arm: Arm, name: str) -> float:
    record = first_record(frame, arm)
    return record["cost"][name] if record else math.nan


def first_record(frame: pd.DataFrame, arm: Arm) -> dict | None:
    """The record of the first run of an arm that has one."""
    found = [r for r in runs_of(frame, arm)["record"] if r]
    return found[0] if found else None


def _ours_and_theirs(what: str, ours: st.Effect, theirs: pd.Series) -> str:
    """Our mean beside a published single run, with the run's own sampling interval."""
    if not ours.n:
        return f"the {what} is not measured at these settings"
    low, high = st.wilson(theirs["value"], PUBLISHED_IMAGES)
    inside = low <= ours.mean <= high
    place = "inside" if inside else "outside"
    return (
        f"for the {what} our mean of {number(ours.mean)} lies {place} the sampling interval of the "
        f"published single run ({number(theirs['value'], 0)}, Wilson "
        f"{number(low, 0)} to {number(high, 0)})"
    )


# -- Q1 ------------------------------------------------------------------------------------------


def q1_claims(frame: pd.DataFrame, labels: str) -> dict[str, Claim]:
    """Q1's single claim: the cumbersome net against the small one."""
    return adjusted([unpaired("q1.teacher_vs_small", frame, TEACHER, HARD, labels)])


def q1(
    frame: pd.DataFrame, labels: str, latency: pd.DataFrame | None, published: pd.DataFrame
) -> Answer:
    """Q1: what the cumbersome net costs, and what it buys."""
    claims = q1_claims(frame, labels)
    claim = claims["q1.teacher_vs_small"]
    big, small = errors_of(frame, TEACHER), errors_of(frame, HARD)
    n = images_of(labels)
    theirs = published.loc["hinton-teacher"], published.loc["hinton-hard"]
    expected = (
        f"Hinton et al. (2015) report {number(theirs[0]['value'], 0)} test errors for the cumbersome "
        f"net and {number(theirs[1]['value'], 0)} for the small one, one run each, "
        f"of 10,000 test images."
    )
    if not claim.measured:
        return Answer(expected, "Not measured at these settings.", "", "", claims)
    ratio = {
        k: _from_cost(frame, TEACHER, k) / _from_cost(frame, HARD, k)
        for k in ("parameters", "flops")
    }
    time = {a: _mean(runs_of(frame, a), "seconds") for a in (TEACHER, HARD)}
    epochs = {a: runs_of(frame, a)["epochs"].iloc[0] for a in (TEACHER, HARD)}
    found = (
        f"the cumbersome net makes {number(big.mean)} errors of {n} on average "
        f"({share(big.n, len(runs_of(frame, TEACHER)), 'seed')}), the small net {number(small.mean)} "
        f"({share(small.n, len(runs_of(frame, HARD)), 'seed')}): by the rule of @sec-statistics the "
        f"cumbersome net is **{claim.verdict}** {claim.evidence}. It has "
        f"{number(ratio['parameters'], 2)} times the parameters and {number(ratio['flops'], 2)} times "
        f"the FLOPs of the small one; its training took {seconds(time[TEACHER])} "
        f"({epochs[TEACHER]} epochs) against {seconds(time[HARD])} ({epochs[HARD]} epochs)."
    )
    if latency is not None:
        found += " " + _latency_sentence(latency)
    if _is_mnist(frame):
        gap = (
            _ours_and_theirs("cumbersome net", big, theirs[0])
            + "; "
            + _ours_and_theirs("small net", small, theirs[1])
            + ". Optimiser, learning rate, batch size and number of epochs of the original are not "
            "published, so a difference cannot be traced to one of them, and none was tested; nor was "
            f"training the cumbersome net for more than {epochs[TEACHER]} epochs."
        )
    else:
        gap = _other_data(frame)
    open_ = (
        "The two nets differ in more than size: the cumbersome one has dropout and sees jittered "
        "inputs, the small one has neither. How much of the difference is size is not tested here; "
        "what jitter alone does for the small net is a control of @sec-q2."
    )
    return Answer(expected, found, gap, open_, claims)


def _latency_sentence(latency: pd.DataFrame) -> str:
    parts = []
    for batch, rows in latency.groupby("batch"):
        by_arm = rows.set_index("arm")["median"]
        images = "one image" if batch == 1 else f"a batch of {batch}"
        parts.append(
            f"{images} takes {seconds(by_arm['teacher'])} against {seconds(by_arm['hard'])}"
        )
    row = latency.iloc[0]
    return sentence(
        f"{joined(parts)} (medians, {share(row['threads'], row['threads'], 'thread')} of "
        f"{row['device_name']})."
    )


def _is_mnist(frame: pd.DataFrame) -> bool:
    return frame["dataset"].iloc[0] == "mnist"


def _other_data(frame: pd.DataFrame) -> str:
    record = next(r for r in frame["record"] if r)
    return (
        f"these runs learn from {number(record['provenance']['training_images'], 0)} images and are "
        f"tested on {number(record['test']['n'], 0)}, so their errors are not comparable with the "
        "published ones; only the direction of an effect is."
    )


# -- Q2 ------------------------------------------------------------------------------------------


def q2_claims(frame: pd.DataFrame, labels: str) -> dict[str, Claim]:
    """All claims of Q2, Holm-adjusted together."""
    jitter_kd, jitter_hard = Arm("kd", "jitter"), Arm("hard", "jitter")
    claims = [
        paired("q2.kd_vs_hard", frame, KD, HARD, labels),
        paired("q2.soft_only_vs_hard", frame, SOFT, HARD, labels),
        paired("q2.soft_only_vs_kd", frame, SOFT, KD, labels),
        to_teacher("q2.kd_vs_teacher", frame, KD, labels),
        *(
            paired(f"q2.kd_vs_{arm}", frame, KD, Arm(arm), labels)
            for arm in frame.loc[frame["role"] == "control", "arm"].unique()
        ),
        paired("q2.kd_vs_hard_jitter_protocol", frame, jitter_kd, jitter_hard, labels),
        shrinkage("q2.gain_without_vs_with_jitter", frame, KD, HARD, "jitter", labels),
    ]
    return adjusted(claims)


def q2(frame: pd.DataFrame, labels: str, published: pd.DataFrame) -> Answer:
    """Q2: is the distilled net better than the same net on true labels, and how near its teacher?"""
    claims = q2_claims(frame, labels)
    main = claims["q2.kd_vs_hard"]
    theirs = {k: published.loc[f"hinton-{k}"] for k in ("teacher", "hard", "kd")}
    expected = (
        f"Hinton et al. (2015) report {number(theirs['hard']['value'], 0)} test errors for the small "
        f"net on true labels, {number(theirs['kd']['value'], 0)} for the same net regularised solely "
        f"by soft targets at T = 20, and {number(theirs['teacher']['value'], 0)} for its teacher: one "
        "run each, too few to tell the last two apart. Where everybody saw jittered inputs, the course "
        f"project behind this study counted {number(published.loc['course-hard', 'value'], 0)} errors "
        f"on true labels and {number(published.loc['course-kd', 'value'], 0)} distilled, one run each."
    )
    if not main.measured:
        return Answer(expected, "Not measured at these settings.", "", "", claims)
    found = " ".join(
        sentence(text)
        for text in (
            _main_sentence(frame, main, labels),
            _soft_sentence(frame, claims, labels),
            _teacher_sentence(frame, claims["q2.kd_vs_teacher"]),
            _mcnemar_sentence(main),
            _calibration_sentence(frame),
            _controls_sentence(claims),
            _jitter_sentence(claims),
        )
        if text
    )
    return Answer(expected, found, _q2_gap(frame, claims, theirs), _q2_open(claims), claims)


def _main_sentence(frame: pd.DataFrame, claim: Claim, labels: str) -> str:
    row = runs_of(frame, KD).iloc[0]
    kd, hard = errors_of(frame, KD), errors_of(frame, HARD)
    return (
        f"at T = {row['temperature']:g} and α = {row['alpha']:g} the distilled net makes "
        f"{number(kd.mean)} errors of {images_of(labels)} on average, the same net on true labels "
        f"{number(hard.mean)}: distillation is **{claim.verdict}** {claim.evidence}."
    )


def _soft_sentence(frame: pd.DataFrame, claims: dict[str, Claim], labels: str) -> str:
    against_hard, against_kd = claims["q2.soft_only_vs_hard"], claims["q2.soft_only_vs_kd"]
    if not against_hard.measured:
        return (
            "" if not against_hard.planned else "training on soft labels only is not measured yet."
        )
    return (
        f"On soft labels only the net makes {number(errors_of(frame, SOFT).mean)} errors: "
        f"{_compared('true labels', against_hard)}, and "
        f"{_compared('the mixture of both', against_kd)}."
    )


def _compared(reference: str, claim: Claim) -> str:
    """``it is better than …``, or that nothing can be said, with the evidence."""
    if not claim.measured:
        return f"against {reference} it is not measured"
    verdict = claim.verdict.split(",")[0]
    words = {
        "better": f"it is **{claim.verdict}** than {reference}",
        "worse": f"it is **{claim.verdict}** than {reference}",
        "alike": f"it and {reference} are **alike**",
    }
    return f"{words.get(verdict, f'the comparison with {reference} is **{verdict}**')} {claim.evidence}"


def _teacher_sentence(frame: pd.DataFrame, claim: Claim) -> str:
    if not claim.measured:
        return ""
    teacher = errors_of(frame, TEACHER)
    agreement = 100 * _mean(runs_of(frame, KD), "teacher_agreement")
    return (
        f"Its teachers make {number(teacher.mean)}; {_compared('its own teacher', claim)}, and it "
        f"predicts the teacher's class on {number(agreement, 2)} % of the test images."
    )


def _mcnemar_sentence(claim: Claim) -> str:
    wins = sum(t.p < st.SIGNIFICANT and t.only_first > t.only_second for t in claim.mcnemar)
    losses = sum(t.p < st.SIGNIFICANT and t.only_first < t.only_second for t in claim.mcnemar)
    total = len(claim.mcnemar)
    return (
        f"Image by image, McNemar's test favours the distilled net in {wins} of {total} pairs of "
        f"runs, and the other in {losses}."
    )


def _calibration_sentence(frame: pd.DataFrame) -> str:
    kd, hard = runs_of(frame, KD), runs_of(frame, HARD)
    return (
        f"Its negative log-likelihood on the test set is {number(_mean(kd, 'nll'), 4)} nats against "
        f"{number(_mean(hard, 'nll'), 4)}, its expected calibration error "
        f"{number(100 * _mean(kd, 'ece'), 2)} % against {number(100 * _mean(hard, 'ece'), 2)} %."
    )


def _against_controls(claims: dict[str, Claim]) -> list[Claim]:
    return [c for c in claims.values() if c.subject == KD and c.reference.name in CONTROLS]


def _controls_sentence(claims: dict[str, Claim]) -> str:
    groups: dict[str, list[str]] = {}
    for claim in _against_controls(claims):
        text = ARM_NAMES[claim.reference.name]
        if claim.measured:
            text += f" ({signed(claim.effect.mean)}, n = {claim.effect.n})"
        groups.setdefault(claim.verdict, []).append(text)
    if not groups:
        return ""
    parts = []
    for verdict, names in groups.items():
        than = "than" if verdict.startswith(("better", "worse")) else "against"
        parts.append(f"**{verdict}** {than} {joined(names)}")
    return (
        "Beside its controls, which have the same net, data order and number of epochs, distillation is "
        f"{'; '.join(parts)} (mean difference in errors in parentheses)."
    )


def _jitter_sentence(claims: dict[str, Claim]) -> str:
    claim = claims["q2.kd_vs_hard_jitter_protocol"]
    if not claim.planned:
        return ""
    if not claim.measured:
        return "The protocol with jitter for everybody is not measured yet."
    shrink = claims["q2.gain_without_vs_with_jitter"]
    words = {
        "better": "the gain shrinks when the student sees the augmentation itself",
        "worse": "the gain grows when the student sees the augmentation itself",
    }
    change = words.get(
        shrink.verdict.split(",")[0],
        f"whether the gain shrinks when the student sees the augmentation itself is {shrink.verdict}",
    )
    return (
        f"Where everybody sees jittered inputs, distillation is **{claim.verdict}** {claim.evidence}; "
        f"{change} (difference of the gains {signed(shrink.effect.mean)} errors, interval "
        f"{interval(shrink.effect)}, adjusted {p_value(shrink.p_adjusted)})."
    )


def _q2_gap(frame: pd.DataFrame, claims: dict[str, Claim], theirs: dict[str, pd.Series]) -> str:
    if not _is_mnist(frame):
        return _other_data(frame)
    arms = {"distilled net": KD, "net on soft labels only": SOFT}
    means = {name: errors_of(frame, arm) for name, arm in arms.items()}
    means = {name: effect for name, effect in means.items() if effect.n}
    best = min(means, key=lambda name: means[name].mean)
    published_gain = theirs["hard"]["value"] - theirs["kd"]["value"]
    gain = errors_of(frame, HARD).mean - means[best].mean
    reason = (
        "The published recipe does not name its optimiser, learning rate, number of epochs or the "
        "weight of the true labels; ours was chosen on validation among few candidates "
        "(@tbl-tuning), and longer training was not tested."
    )
    return (
        _ours_and_theirs(best, means[best], theirs["kd"])
        + f". The published gain over true labels is {number(published_gain, 0)} errors, ours "
        f"{number(gain)}. {reason}"
    )


def _q2_open(claims: dict[str, Claim]) -> str:
    undecided = [
        ARM_NAMES[c.reference.name]
        for c in _against_controls(claims)
        if c.verdict == "inconclusive"
    ]
    text = (
        "One temperature and few weights are compared here, and the controls share the main arm's "
        "large weight; a smaller one is tested for label smoothing only."
    )
    if undecided:
        text += f" Undecided at this number of seeds: distillation against {joined(undecided)}."
    return text


# -- abstract ------------------------------------------------------------------------------------


def abstract(answers: dict[str, Answer], frames: dict[str, pd.DataFrame], labels: str) -> str:
    """The findings in two or three sentences, as far as they are measured."""
    parts = []
    if "q1" in answers:
        claim = answers["q1"].claims["q1.teacher_vs_small"]
        if claim.measured:
            means = [errors_of(frames["q1"], arm).mean for arm in (TEACHER, HARD)]
            parts.append(
                f"A cumbersome net with dropout and jittered inputs makes {number(means[0])} errors "
                f"on {images_of(labels)} test images, a small one on true labels {number(means[1])}."
            )
    if "q2" in answers:
        claim = answers["q2"].claims["q2.kd_vs_hard"]
        if claim.measured:
            kd = errors_of(frames["q2"], KD)
            parts.append(
                f"Distilled from the cumbersome net, the small one makes {number(kd.mean)}: "
                f"{claim.verdict} than on true labels {claim.evidence}."
                if claim.verdict.split(",")[0] in ("better", "worse")
                else f"Distilled from the cumbersome net, the small one makes {number(kd.mean)}; "
                f"against true labels this is {claim.verdict} {claim.evidence}."
            )
    return " ".join(parts) or "Nothing is measured at these settings yet."
