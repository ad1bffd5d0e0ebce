"""The discussion: why does distillation help? Experiments, and what they say of explanations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import pandas as pd

from darkknowledge import statistics as st
from darkknowledge.answers.common import ARM_NAMES, HARD, KD, errors_of
from darkknowledge.claims import Arm, Claim, adjusted, paired
from darkknowledge.wording import adjusted_p, joined, number, sentence, share, signed

#: Arms of the discussion that Q2 does not have; its own names come first.
NAMES = ARM_NAMES | {
    "kd_parts": "distilled, both parts",
    "target_part": "target part alone",
    "nontarget_part": "non-target part alone",
    "decoupled": "both parts, equal weight",
    "teacher_smoothed": "teacher trained with label smoothing",
    "kd_smoothed_teacher": "distilled from the smoothed teacher",
    "hard_jitter": "true labels",
    "kd_same_view": "distilled, same view",
    "kd_other_view": "distilled, other view",
    "hard_jitter_longer": "true labels, longer",
    "kd_same_view_longer": "distilled, same view, longer",
    "kd_other_view_longer": "distilled, other view, longer",
}
#: The arms of each experiment, in the order of its figure.
EXPERIMENTS: dict[str, tuple[Arm, ...]] = {
    "labels": (
        *(HARD, KD),
        *map(Arm, ("permuted_teacher", "label_smoothing", "uniform_teacher", "shuffled_teacher")),
    ),
    "parts": (HARD, *map(Arm, ("kd_parts", "target_part", "nontarget_part", "decoupled"))),
    "views": tuple(
        Arm(name + suffix, "jitter")
        for suffix in ("", "_longer")
        for name in ("hard_jitter", "kd_same_view", "kd_other_view")
    ),
    "teachers": (
        *(Arm("teacher"), Arm("teacher_smoothed")),
        *(KD, Arm("kd_smoothed_teacher")),
    ),
}
#: id of a claim → (subject, reference), by experiment.
COMPARISONS: dict[str, dict[str, tuple[str, str]]] = {
    "labels": {
        "kd_vs_permuted": ("kd", "permuted_teacher"),
        "kd_vs_smoothing": ("kd", "label_smoothing"),
        "kd_vs_uniform": ("kd", "uniform_teacher"),
        "kd_vs_shuffled": ("kd", "shuffled_teacher"),
        "permuted_vs_hard": ("permuted_teacher", "hard"),
        "smoothing_vs_hard": ("label_smoothing", "hard"),
    },
    "parts": {
        "target_vs_hard": ("target_part", "hard"),
        "nontarget_vs_hard": ("nontarget_part", "hard"),
        "target_vs_both": ("target_part", "kd_parts"),
        "nontarget_vs_both": ("nontarget_part", "kd_parts"),
        "decoupled_vs_both": ("decoupled", "kd_parts"),
    },
    "views": {
        "same_vs_other": ("kd_same_view", "kd_other_view"),
        "same_vs_hard": ("kd_same_view", "hard_jitter"),
        "same_vs_other_longer": ("kd_same_view_longer", "kd_other_view_longer"),
        "same_vs_hard_longer": ("kd_same_view_longer", "hard_jitter_longer"),
        "same_longer_vs_same": ("kd_same_view_longer", "kd_same_view"),
        "hard_longer_vs_hard": ("hard_jitter_longer", "hard_jitter"),
    },
    "teachers": {
        "teacher_smoothed_vs_plain": ("teacher_smoothed", "teacher"),
        "kd_smoothed_vs_plain": ("kd_smoothed_teacher", "kd"),
    },
}
UNMEASURED = "Not measured at these settings."


def make_claims(frame: pd.DataFrame, labels: str) -> dict[str, Claim]:
    """All claims of the discussion, Holm-adjusted together."""
    found = []
    for experiment, comparisons in COMPARISONS.items():
        protocol = "jitter" if experiment == "views" else "hinton"
        for name, arms in comparisons.items():
            subject, reference = (Arm(arm, protocol) for arm in arms)
            found.append(paired(f"q7.{name}", frame, subject, reference, labels))
    return adjusted(found)


# -- fidelity: over the students of all questions ---------------------------------------------------


def students(frames: dict[str, pd.DataFrame], labels: str) -> pd.DataFrame:
    """Distilled students of Q2, Q3 and the discussion that saw all classes, one row a setting: its
    net, mean test errors, mean agreement with the own teacher on the test images, and the mean share
    of the teacher's errors that the student repeats."""
    columns = ["model", "setting", "test_errors", "agreement", "repeated"]
    rows = [frame for q, frame in frames.items() if q in ("q2", "q3", "q7")]
    if not rows:
        return pd.DataFrame(columns=columns)
    every = pd.concat(rows, ignore_index=True).drop_duplicates("run_id")
    done = every[every["record"].notna()].set_index("run_id")["record"]
    answers = {run: record["predictions"] for run, record in done.items()}
    mine = every[(every["mode"] == "kd") & every["test_errors"].notna()]
    mine = mine[mine["teacher_run_id"].isin(answers)]
    settings = ["temperature", "w_soft", "epochs", "lr", "protocol", "arm"]
    found = pd.DataFrame(
        {
            "model": mine["model"],
            "setting": [" ".join(map(str, row)) for row in mine[settings].itertuples(index=False)],
            "test_errors": mine["test_errors"],
            "agreement": mine["teacher_agreement"],
            "repeated": [
                repeated(answers[own], answers[teacher], labels)
                for own, teacher in zip(mine["run_id"], mine["teacher_run_id"], strict=True)
            ],
        },
        columns=columns,
    )
    return found.groupby(["model", "setting"], sort=False).mean().reset_index()


def repeated(student: str, teacher: str, labels: str) -> float:
    """Share of the images that the teacher gets wrong on which the student gives the same answer;
    NaN where the teacher makes no error. Strings of one digit an image."""
    answers = zip(student, teacher, labels, strict=True)
    same = [own == theirs for own, theirs, truth in answers if theirs != truth]
    return sum(same) / len(same) if same else float("nan")


def fidelity(table: pd.DataFrame, column: str) -> dict[str, st.Correlation]:
    """For each net with enough settings, the rank correlation over settings of ``column`` with the
    number of test errors, p Holm-adjusted over the nets; negative: the more faithful, the fewer."""
    found = {
        model: st.rank_correlation(rows[column].tolist(), rows["test_errors"].tolist())
        for model, rows in table.groupby("model", sort=False)
        if len(rows) >= FEWEST_SETTINGS
    }
    adjusted_values = st.holm([c.p for c in found.values()])
    return {m: replace(c, p=p) for (m, c), p in zip(found.items(), adjusted_values, strict=True)}


#: Fewer settings of a net than this say nothing of a correlation.
FEWEST_SETTINGS = 6


# -- what each experiment says ----------------------------------------------------------------------

FOR, AGAINST, UNDECIDED, MISSING = "speaks for it", "speaks against it", "undecided", "not measured"


def speaks(claim: Claim, *expected: str) -> str:
    """What a claim says of an explanation that expects one of these verdicts on its subject."""
    if not claim.measured:
        return MISSING
    verdict = claim.verdict.split(",")[0]
    if verdict in expected:
        return FOR
    return UNDECIDED if verdict == "inconclusive" else AGAINST


def speaks_of_fidelity(found: dict[str, st.Correlation]) -> str:
    """For the explanation by fidelity: for every net the more faithful settings make fewer errors;
    against it as soon as for one net they make more."""
    signs = [(-1) ** (c.rho > 0) if c.p < st.SIGNIFICANT else 0 for c in found.values()]
    if not signs:
        return MISSING
    if -1 in signs:
        return AGAINST
    return FOR if all(signs) else UNDECIDED


@dataclass(frozen=True)
class Explanation:
    """An explanation of the literature, who proposed it, what it predicts here, and what was seen."""

    name: str
    source: str
    predicts: str
    verdict: str
    claim: Claim | None = None


def explanations(claims: dict[str, Claim], found: dict[str, st.Correlation]) -> list[Explanation]:
    """The closing table: explanation against evidence."""

    def row(name, source, claim_id, words="better than", expected=("better",)):
        claim = claims[f"q7.{claim_id}"]
        subject, reference = (NAMES[arm.name] for arm in (claim.subject, claim.reference))
        predicts = f"{subject} {words} {reference}"
        return Explanation(name, source, predicts, speaks(claim, *expected), claim)

    return [
        row("the wrong classes' similarities (dark knowledge)", "hinton2015", "kd_vs_permuted"),
        row("the teacher's confidence weighs the images", "furlanello2018", "permuted_vs_hard"),
        row(
            "any smoother label of that weight would do",
            "yuan2020",
            "kd_vs_smoothing",
            "no better than",
            ("alike", "worse"),
        ),
        row("the non-target part carries it", "zhao2022", "nontarget_vs_hard"),
        row("the target part carries it", "zhao2022", "target_vs_hard"),
        row("a sure teacher holds the non-target part down", "zhao2022", "decoupled_vs_both"),
        Explanation(
            "students are better the nearer they come to their teacher",
            "stanton2021",
            "the more of their teacher's errors students repeat, the fewer they make",
            speaks_of_fidelity(found),
        ),
        row("teacher and student must see the same view", "beyer2022", "same_vs_other"),
        row("matching a function needs patience", "beyer2022", "same_longer_vs_same"),
        row(
            "smoothing the teacher's labels wipes its knowledge out",
            "muller2019",
            "kd_smoothed_vs_plain",
            "worse than",
            ("worse",),
        ),
    ]


@dataclass(frozen=True)
class Discussion:
    """The paragraphs by experiment (``labels``, ``parts``, ``fidelity``, ``views``, ``teachers``),
    the claims that they rest on, and the closing table."""

    paragraphs: dict[str, str]
    claims: dict[str, Claim] = field(default_factory=dict)
    explanations: tuple[Explanation, ...] = ()

    @property
    def markdown(self) -> str:
        """All paragraphs, for a notebook."""
        return "\n\n".join(f"**{k.capitalize()}.** {v}" for k, v in self.paragraphs.items())


def discuss(
    frame: pd.DataFrame,
    frames: dict[str, pd.DataFrame],
    labels: str,
    claims: dict[str, Claim],
    networks: dict[str, Claim] | None = None,
) -> Discussion:
    """The discussion; ``frames`` are all questions' (fidelity is asked of all students), and
    ``networks`` the claims of Q5 and Q6, whose controls ask the first experiment's question too."""
    table = students(frames, labels)
    agreement, repeats = (fidelity(table, column) for column in ("agreement", "repeated"))
    write: dict[str, Callable[[], str]] = {
        name: partial(_paragraph, frame, claims, name) for name in EXPERIMENTS
    }
    write["fidelity"] = lambda: _fidelity(agreement, repeats)
    write["labels"] = lambda: " ".join(
        filter(
            None,
            (_paragraph(frame, claims, "labels"), collapse(frame), _elsewhere(networks or {})),
        )
    )
    order = ("labels", "parts", "fidelity", "views", "teachers")
    paragraphs = {name: write[name]() for name in order}
    return Discussion(paragraphs, claims, tuple(explanations(claims, repeats)))


def _paragraph(frame: pd.DataFrame, claims: dict[str, Claim], experiment: str) -> str:
    own = {name: claims[f"q7.{name}"] for name in COMPARISONS[experiment]}
    if not any(claim.measured for claim in own.values()):
        return UNMEASURED
    means = [(NAMES[arm.name], errors_of(frame, arm)) for arm in EXPERIMENTS[experiment]]
    listed = joined([f"{name} {number(e.mean)}" for name, e in means if e.n])
    compared = "; ".join(_compared(c) for c in own.values() if c.measured)
    parts = (f"mean test errors: {listed}.", f"{compared}.", _meaning(own, experiment))
    return " ".join(map(sentence, filter(None, parts)))


def collapse(frame: pd.DataFrame) -> str:
    """Why students of a shuffled teacher fail, where they call most images by few classes."""
    rows = frame[frame["arm"].eq("shuffled_teacher") & frame["test_errors"].notna()]
    shares = [_favoured(record["test"]["confusion"]) for record in rows["record"]]
    if not shares or min(shares) < 2 / 3:
        return ""
    loss = rows.iloc[0]
    lift = 10 * loss["w_hard"] / loss["w_soft"]
    return (
        f"Students of the shuffled teacher call {number(100 * st.mean(shares).mean, 0)} % of the test "
        "images by three of the ten classes: all that they can learn from it is its mean logit of each "
        "class, and beside that, for large T, the true label lifts its class by at most K "
        f"w~hard~/w~soft~ = {number(lift)} (@eq-limit), which does not outweigh how far the means of "
        "the classes lie apart."
    )


def _favoured(confusion: list[list[int]]) -> float:
    """The share of the images that are called by one of the three most called classes; ``confusion``
    has a row a true class and a column a predicted one."""
    called = sorted((sum(column) for column in zip(*confusion, strict=True)), reverse=True)
    return sum(called[:3]) / sum(called)


def _elsewhere(networks: dict[str, Claim]) -> str:
    """The same comparisons between the nets of Q5 and Q6, on their data."""
    parts = []
    for control in ("permuted_teacher", "label_smoothing"):
        groups: dict[str, list[str]] = {}
        for name, claim in networks.items():
            if name.endswith(f".kd_vs_{control}") and claim.measured:
                title = claim.subject.name.partition(":")[0]
                groups.setdefault(claim.verdict, []).append(title)
        listed = "; ".join(f"**{v}** for {joined(titles)}" for v, titles in groups.items())
        if listed:
            parts.append(f"against *{NAMES[control]}* {listed}")
    return f"In Q5 and Q6 distillation is, {'; and '.join(parts)}." if parts else ""


def _compared(claim: Claim) -> str:
    subject, reference = (NAMES[arm.name] for arm in (claim.subject, claim.reference))
    than = "than" if claim.verdict.startswith(("better", "worse")) else "against"
    n = share(claim.effect.n, claim.planned, claim.unit)
    return (
        f"*{subject}* is **{claim.verdict}** {than} *{reference}* ({signed(claim.effect.mean)}, "
        f"n = {n}, {adjusted_p(claim.p_adjusted)})"
    )


def _meaning(own: dict[str, Claim], experiment: str) -> str:
    """What the verdicts say, read by the same rule as the closing table."""
    say = {
        "labels": [
            ("kd_vs_permuted", "better", "what the teacher knows of the wrong classes"),
            ("permuted_vs_hard", "better", "how sure the teacher is of each image, by itself,"),
            ("smoothing_vs_hard", "better", "an equally weighted label without any teacher"),
        ],
        "parts": [
            ("nontarget_vs_hard", "better", "the part about the wrong classes, by itself,"),
            ("target_vs_hard", "better", "the part about the true class, by itself,"),
            ("decoupled_vs_both", "better", "giving the wrong classes' part its full weight"),
        ],
        "views": [
            ("same_vs_other", "better", "labelling the very view that the student sees"),
            ("same_longer_vs_same", "better", "training the distilled net longer"),
            ("hard_longer_vs_hard", "better", "training on true labels longer"),
        ],
        "teachers": [
            ("teacher_smoothed_vs_plain", "better", "label smoothing of the teacher"),
            ("kd_smoothed_vs_plain", "better", "learning from the smoothed teacher"),
        ],
    }[experiment]
    words = {
        FOR: "{} helps",
        AGAINST: "{} does not help",
        UNDECIDED: "whether {} helps is not decided",
    }
    said = [words[speaks(own[k], d)].format(what) for k, d, what in say if own[k].measured]
    return sentence(f"{'; '.join(said)}.") if said else ""


def _fidelity(agreement: dict[str, st.Correlation], repeats: dict[str, st.Correlation]) -> str:
    if not agreement:
        return UNMEASURED

    def listed(found: dict[str, st.Correlation]) -> str:
        return joined(
            [
                f"{number(c.rho, 2)} over {c.n} settings of {model} "
                f"(95 % interval {number(c.low, 2)} to {number(c.high, 2)}, {adjusted_p(c.p)})"
                for model, c in found.items()
            ]
        )

    verdict = {
        FOR: "for every net the students that repeat more of them make fewer errors of their own",
        AGAINST: "there is a net whose students make more errors of their own if they repeat more",
        UNDECIDED: "it is not decided for every net that students which repeat more are better",
    }[speaks_of_fidelity(repeats)]
    return (
        "Spearman's rank correlation of agreement with the own teacher and number of test errors is "
        f"{listed(agreement)}. But two accurate nets agree because they are accurate, so the share of "
        "the teacher's errors that a student repeats is the stricter measure: its correlation with "
        f"the number of errors is {listed(repeats)}, so {verdict}."
    )
