"""Q4: what does the student know of a digit that its transfer set lacks?"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from darkknowledge import statistics as st
from darkknowledge.answers.common import (
    PUBLISHED_IMAGES,
    Answer,
    compared,
    is_mnist,
    other_data,
    rows_mean,
)
from darkknowledge.claims import Arm, Claim, adjusted, between
from darkknowledge.wording import adjusted_p, joined, number, p_value, share, signed

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def plural(digit: int) -> str:
    """``threes``."""
    return DIGITS[digit] + ("es" if DIGITS[digit].endswith("x") else "s")


@dataclass(frozen=True)
class Transfer:
    """A transfer set: the classes that it lacks, or the only ones that it keeps."""

    omitted: str = ""
    kept: str = ""

    @property
    def name(self) -> str:
        """In words, as ``no threes``."""
        digits = [plural(int(d)) for d in (self.omitted or self.kept).split()]
        if not digits:
            return "all digits"
        return f"no {joined(digits)}" if self.omitted else f"only {joined(digits)}"

    def rows(
        self,
        frame: pd.DataFrame,
        arm: str = "kd",
        temperature: float | None = None,
        alpha: float | None = None,
    ) -> pd.DataFrame:
        """The runs on this set; distilled ones by default with the question's main T and α."""
        main = main_settings(frame)
        rows = frame[
            (frame["omitted"] == self.omitted)
            & (frame["kept"] == self.kept)
            & (frame["arm"] == arm)
        ]
        if arm != "kd":
            return rows
        wanted = (
            (main[0] if temperature is None else temperature),
            (main[1] if alpha is None else alpha),
        )
        return rows[(rows["temperature"] == wanted[0]) & (rows["alpha"] == wanted[1])]


WHOLE = Transfer()


def main_settings(frame: pd.DataFrame) -> tuple[float, float]:
    """T and α of the distilled net on the whole set, which all sets share."""
    rows = frame[(frame["arm"] == "kd") & (frame["role"] == "baseline")]
    return float(rows["temperature"].iloc[0]), float(rows["alpha"].iloc[0])


def single_digits(frame: pd.DataFrame) -> list[Transfer]:
    """The sets that lack one digit, as planned; the first is the one studied in detail."""
    return [Transfer(omitted=d) for d in dict.fromkeys(frame["omitted"]) if d]


def kept_sets(frame: pd.DataFrame) -> list[Transfer]:
    """The sets that keep only some digits."""
    return [Transfer(kept=d) for d in dict.fromkeys(frame["kept"]) if d]


def details(frame: pd.DataFrame) -> list[tuple[float, float]]:
    """Further (T, α) that the first digit is omitted at."""
    sets = single_digits(frame)
    if not sets:
        return []
    rows = frame[(frame["omitted"] == sets[0].omitted) & (frame["arm"] == "kd")]
    pairs = dict.fromkeys(zip(rows["temperature"], rows["alpha"], strict=True))
    return [pair for pair in pairs if pair != main_settings(frame)]


def make_claims(frame: pd.DataFrame, labels: str) -> dict[str, Claim]:
    """All claims of Q4, Holm-adjusted together."""
    claims = []
    raw, shifted, free = "test_errors", "errors_validation", "errors_label_free"
    for transfer in [*single_digits(frame)[:1], *kept_sets(frame)[:1]]:
        key = (
            f"no{transfer.omitted}" if transfer.omitted else "only" + transfer.kept.replace(" ", "")
        )
        kd, hard, whole = transfer.rows(frame), transfer.rows(frame, "hard"), WHOLE.rows(frame)
        name = transfer.name

        def claim(suffix, first, second, names, columns, key=key):
            arms = (Arm(n) for n in names)
            claims.append(between(f"q4.{key}_{suffix}", first, second, *arms, labels, columns))

        claim("kd_vs_hard", kd, hard, (f"{name}, distilled", f"{name}, true labels"), (raw, raw))
        claim("shift", kd, kd, (f"{name}, shifted", f"{name}, unshifted"), (shifted, raw))
        claim("label_free", kd, kd, (f"{name}, label-free shift", "unshifted"), (free, raw))
        claim(
            "shifted_vs_whole",
            kd,
            whole,
            (f"{name}, shifted", "whole transfer set"),
            (shifted, raw),
        )
        if transfer.omitted:
            for t, alpha in details(frame):
                other = transfer.rows(frame, "kd", t, alpha)
                what = f"T = {t:g}, α = {alpha:g}"
                claim(
                    f"t{t:g}_a{alpha:g}",
                    other,
                    kd,
                    (f"{name}, shifted, {what}", "main settings"),
                    (shifted, shifted),
                )
    return adjusted(claims)


def by_digit(frame: pd.DataFrame) -> pd.DataFrame:
    """One row an omitted digit: recall on it without a shift and after the one chosen on validation,
    the teacher's mean soft probability of it on the transfer set, the counts behind them, and the
    errors of the same net on true labels without the digit."""
    found = []
    for transfer in single_digits(frame):
        rows = transfer.rows(frame)
        done = rows.dropna(subset=["unseen_recall_none"])
        digit = int(transfer.omitted)
        masses = [r["soft_targets"]["mass"][digit] for r in done["record"]]
        found.append(
            {
                "digit": digit,
                "planned": len(rows),
                "runs": len(done),
                "mass": sum(masses) / len(masses) if masses else float("nan"),
                "hard": rows_mean(transfer.rows(frame, "hard")),
                **{
                    name: rows_mean(done, column)
                    for name, column in (
                        ("errors", "errors_none"),
                        ("recall", "unseen_recall_none"),
                        ("bias", "bias_validation"),
                        ("errors_shifted", "errors_validation"),
                        ("recall_shifted", "unseen_recall_validation"),
                    )
                },
            }
        )
    return pd.DataFrame(found)


def prediction_by_mass(frame: pd.DataFrame) -> st.Correlation:
    """Spearman's correlation, over the omitted digits, of the teacher's soft mass on the digit with
    the recall on it without a shift."""
    table = by_digit(frame)
    if not len(table):
        return st.rank_correlation([], [])
    table = table[table["runs"] > 0]
    return st.rank_correlation(table["mass"].tolist(), [e.mean for e in table["recall"]])


def answer(
    frame: pd.DataFrame, labels: str, claims: dict[str, Claim], published: pd.DataFrame
) -> Answer:
    """Q4: the written answer."""
    theirs = {k: published.loc[f"hinton-{k}", "value"] for k in _PUBLISHED}
    expected = (
        f"Hinton et al. (2015) omitted the threes: {number(theirs['omitted'], 0)} test errors, "
        f"{number(theirs['omitted-unseen'], 0)} of them on the 1,010 threes, and with the bias of that "
        f"class raised by a shift chosen on the test set {number(theirs['omitted-shifted'], 0)}, "
        f"{number(theirs['omitted-shifted-unseen'], 0)} of them on threes. From sevens and eights only "
        f"the student made {number(theirs['kept'])} % errors, "
        f"{number(theirs['kept-shifted'])} % after a shift; one run each."
    )
    if not any(claim.measured for claim in claims.values()):
        return Answer(expected, "Not measured at these settings.", "", "", claims)
    t, alpha = main_settings(frame)
    parts = [f"All at T = {t:g} and α = {alpha:g} unless stated."]
    parts += [_one_set(frame, transfer, claims) for transfer in single_digits(frame)[:1]]
    parts.append(_settings(frame, claims))
    parts += [_one_set(frame, transfer, claims) for transfer in kept_sets(frame)[:1]]
    parts.append(_digits(frame))
    return Answer(
        expected,
        "\n\n".join(filter(None, parts)),
        _gap(frame, theirs) if is_mnist(frame) else other_data(frame),
        "The shift needs a few labelled images of the unseen digit, or the assumption that all digits "
        "are equally frequent; how few labelled images would do is not tested. The teacher has seen "
        "every digit; a teacher that has not is not tested either.",
        claims,
    )


_PUBLISHED = (
    *("omitted", "omitted-unseen", "omitted-shifted", "omitted-shifted-unseen"),
    *("kept", "kept-shifted"),
)


def _key(transfer: Transfer) -> str:
    return f"no{transfer.omitted}" if transfer.omitted else "only" + transfer.kept.replace(" ", "")


def _percent(value: float, decimals: int = 1) -> str:
    return f"{number(100 * value, decimals)} %"


def _one_set(frame: pd.DataFrame, transfer: Transfer, claims: dict[str, Claim]) -> str:
    rows = transfer.rows(frame)
    of = {
        k: claims[f"q4.{_key(transfer)}_{k}"] for k in ("kd_vs_hard", "shift", "shifted_vs_whole")
    }
    free = claims[f"q4.{_key(transfer)}_label_free"]
    if not of["shift"].measured:
        return f"With {transfer.name} in the transfer set nothing is measured yet."
    mean = {
        c: rows_mean(rows, c).mean
        for c in (
            *("errors_none", "unseen_recall_none", "bias_validation", "errors_validation"),
            *("unseen_recall_validation", "errors_label_free", "unseen_recall_label_free"),
            *("errors_oracle", "unseen_recall_oracle"),
        )
    }
    hard = rows_mean(transfer.rows(frame, "hard"))
    digits = "digits that it never saw" if transfer.kept else plural(int(transfer.omitted))
    classes = "classes" if transfer.kept else "class"
    count = share(of["shift"].effect.n, of["shift"].planned, of["shift"].unit)
    text = (
        f"With {transfer.name} in the transfer set the student makes {number(mean['errors_none'])} "
        f"errors of {number(of['shift'].images, 0)} (mean, n = {count}) and gets "
        f"{_percent(mean['unseen_recall_none'])} of the {digits} right"
    )
    if hard.n:
        text += (
            f"; on true labels, which cannot name an unseen digit, the same net makes "
            f"{number(hard.mean)}, and the distilled one is **{of['kd_vs_hard'].verdict}** "
            f"{of['kd_vs_hard'].evidence}"
        )
    return (
        f"{text}. A bias of {signed(mean['bias_validation'])} on the unseen {classes}, chosen on "
        f"validation, brings this to {number(mean['errors_validation'])} errors and "
        f"{_percent(mean['unseen_recall_validation'])}: {_shifted(of['shift'])}. Chosen without any "
        f"label, from the class balance alone, the shift gives {number(mean['errors_label_free'])} "
        f"errors and {_percent(mean['unseen_recall_label_free'])} "
        f"({free.verdict} beside no shift, {adjusted_p(free.p_adjusted)}); "
        f"with hindsight on the test set it would be {number(mean['errors_oracle'])} and "
        f"{_percent(mean['unseen_recall_oracle'])}. Beside the student of the whole transfer set, "
        f"{compared('that one', of['shifted_vs_whole'])}."
    )


def _shifted(claim: Claim) -> str:
    than = "than" if claim.verdict.startswith(("better", "worse")) else "against"
    return f"**{claim.verdict}** {than} no shift {claim.evidence}"


def _settings(frame: pd.DataFrame, claims: dict[str, Claim]) -> str:
    sets = single_digits(frame)
    if not sets:
        return ""
    parts = []
    for t, alpha in details(frame):
        claim = claims[f"q4.{_key(sets[0])}_t{t:g}_a{alpha:g}"]
        if claim.measured:
            rows = sets[0].rows(frame, "kd", t, alpha)
            unshifted = rows_mean(rows, "unseen_recall_none").mean
            parts.append(
                f"at T = {t:g} and α = {alpha:g} recall is {_percent(unshifted)} and, after the shift, "
                f"{_percent(rows_mean(rows, 'unseen_recall_validation').mean)} with "
                f"{number(rows_mean(rows, 'errors_validation').mean)} errors, **{claim.verdict}** "
                f"beside the main settings {claim.evidence}"
            )
    return f"With {sets[0].name} too, {'; '.join(parts)}." if parts else ""


def _digits(frame: pd.DataFrame) -> str:
    table = by_digit(frame)
    table = table[table["runs"] > 0] if len(table) else table
    if len(table) < 2:
        return ""
    order = table.assign(r=[e.mean for e in table["recall"]]).sort_values("r")
    worst, easiest = order.iloc[0], order.iloc[-1]
    text = (
        f"Over {len(table)} digits omitted in turn, the student gets most of the "
        f"{plural(easiest['digit'])} right without a shift ({_percent(easiest['r'])}) and fewest of the "
        f"{plural(worst['digit'])} ({_percent(worst['r'])}); after the shift chosen on validation "
        f"recall lies between {_percent(min(e.mean for e in table['recall_shifted']))} and "
        f"{_percent(max(e.mean for e in table['recall_shifted']))}."
    )
    found = prediction_by_mass(frame)
    if found.n < 4:
        return f"{text} That is too few digits to ask what makes one easy."
    # The p-value and the interval are different approximations: both have to speak against zero.
    if found.p >= st.SIGNIFICANT or found.low <= 0 <= found.high:
        predicts = "does not reliably predict which are easy"
    elif found.rho > 0:
        predicts = "does predict which are easy"
    else:
        predicts = "predicts the opposite, the digits with more of it being the harder ones"
    return (
        f"{text} The teacher's soft mass on the digit in the transfer set {predicts}: Spearman's rank "
        f"correlation with the unshifted recall is {number(found.rho, 2)} (95 % interval "
        f"{number(found.low, 2)} to {number(found.high, 2)}, {found.n} digits, {p_value(found.p)})."
    )


def _gap(frame: pd.DataFrame, theirs: dict[str, float]) -> str:
    parts = []
    three = Transfer(omitted="3")
    rows = three.rows(frame).dropna(subset=["errors_validation"])
    if len(rows):
        ours = rows_mean(rows, "errors_validation")
        low, high = st.wilson(theirs["omitted-shifted"], PUBLISHED_IMAGES)
        place = "inside" if low <= ours.mean <= high else "outside"
        parts.append(
            f"without threes, our {number(ours.mean)} errors after a shift chosen on validation lie "
            f"{place} the sampling interval of the published run "
            f"({number(theirs['omitted-shifted'], 0)}, Wilson "
            f"{number(low, 0)} to {number(high, 0)}), whose shift was chosen on test"
        )
    for transfer in kept_sets(frame):
        rows = transfer.rows(frame).dropna(subset=["errors_validation"])
        if transfer.kept == "7 8" and len(rows):
            shifted, raw = (
                rows_mean(rows, f"errors_{shift}").mean / PUBLISHED_IMAGES
                for shift in ("validation", "none")
            )
            parts.append(
                f"from sevens and eights only, ours are {_percent(raw)} and, after the shift, "
                f"{_percent(shifted)} against the published {number(theirs['kept'])} % and "
                f"{number(theirs['kept-shifted'])} %"
            )
    if not parts:
        return "The published transfer sets are not among those measured here."
    return (
        "; ".join(parts)
        + ". Weight of the true labels, optimiser and number of epochs of the original "
        "are not published; what a difference is due to was not tested, beyond T and α above."
    )
