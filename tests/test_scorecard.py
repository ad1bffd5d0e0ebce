"""Published numbers beside ours: which rows are shown, and that both numbers are what they should be."""

import math
import re

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from conftest import REPOSITORY
from darkknowledge.evidence import plots, text
from darkknowledge.evidence.stats import Effect
from darkknowledge.paper import method, scorecard
from darkknowledge.questions import params
from darkknowledge.questions.q2_distillation import findings as q2
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.spec import SpecError
from fabricated import assert_held, found

PUBLISHED = pd.read_csv(REPOSITORY / "report" / "literature.csv", index_col="id")
ERRORS = {"teacher": 40, "hard": 140, "kd": 90}


def errors(factor=1):
    return lambda planned: factor * ERRORS.get(planned.arm, 100)


def of_q2(**rest):
    return {"q2": found("q2", **{"errors": errors()} | rest)}


def row(mean=100.0, published=100.0, unit="errors of 10000", half=5.0, **rest) -> scorecard.Row:
    theirs, ours = (Effect(9, v, v - half, v + half, math.nan) for v in (published, mean))
    values = {"id": "a", "source": "hinton2015", "what": "a net", "recipe_difference": "its epochs"}
    return scorecard.Row(**values | {"unit": unit, "published": theirs, "ours": ours} | rest)


def test_the_file_names_each_number_once_and_all_that_the_questions_hold_themselves_to():
    assert PUBLISHED.index.is_unique and not PUBLISHED.duplicated(["source", "claim"]).any()
    assert set(PUBLISHED["unit"]) == set(scorecard.UNITS)
    assert (PUBLISHED["n"] == 1).all()  # whose interval is over its images
    keys = {f"{{{source}," for source in PUBLISHED["source"]}
    references = (REPOSITORY / "report" / "references.bib").read_text(encoding="utf-8")
    assert all(key in references for key in keys)
    beside = [key for q in QUESTIONS.values() for key in getattr(q.findings, "LITERATURE", ())]
    pages = (REPOSITORY / "report").glob("[!p]*/*.*")  # templates and pages of questions
    pages = [*pages, *REPOSITORY.glob("report/*.qmd"), *REPOSITORY.glob("src/**/*.py")]
    texts = "".join(path.read_text(encoding="utf-8") for path in pages)
    cited = {*PUBLISHED["source"], *re.findall(r"@([a-z]+\w*)", texts)}
    assert set(re.findall(r"^@\w+\{(\w+),", references, re.M)) <= cited  # none in vain
    told = {"hinton-alike", "hinton-band"}  # claims, which Q3 answers in words
    assert {*beside} | told == set(PUBLISHED.index)


@pytest.mark.parametrize("unit", sorted(scorecard.UNITS))
def test_equal_numbers_have_the_ratio_one_and_more_errors_one_above(unit):
    equal = row(90, 90, unit)
    worse = row(180, 90, unit, half=1)
    one, two = (r.relative(r.ours) for r in (equal, worse))
    assert one.mean == 1 and two.mean == pytest.approx(2) and two.low < 2 < two.high
    assert (equal.apart, worse.apart) == (False, True)


def test_ours_are_the_means_over_blocks_of_the_runs_that_the_question_names():
    """Theirs stay where our records are doctored, with Wilson's interval of a single run."""
    for factor in (1, 3):
        questions = of_q2(errors=errors(factor))
        rows = {r.id: r for r in scorecard.rows(questions, PUBLISHED)}
        assert list(rows) == [key for key in PUBLISHED.index if key in q2.LITERATURE]
        for key, where in q2.LITERATURE.items():
            assert rows[key].ours == questions["q2"].sample(**where).effect()
            theirs, value = rows[key].published, PUBLISHED.loc[key, "value"]
            interval = proportion_confint(value, 10_000, method="wilson")
            assert [n * 10_000 for n in interval] == pytest.approx([theirs.low, theirs.high])
            assert theirs.mean == value
    assert rows["hinton-hard"].ours.n == 10 and rows["course-kd"].ours.n == 6
    with pytest.raises(SpecError, match="data set"):
        scorecard.rows(questions, PUBLISHED.assign(dataset="minst"))


def test_nothing_is_shown_without_records_or_of_another_data_set():
    assert scorecard.rows(of_q2(measured=lambda planned: False), PUBLISHED) == []
    quick = of_q2(chosen=params.read("quick", "q2"))
    assert any(quick["q2"].frame["record"]) and scorecard.rows(quick, PUBLISHED) == []
    only_hard = scorecard.rows(of_q2(measured=lambda planned: planned.arm == "hard"), PUBLISHED)
    assert [r.id for r in only_hard] == ["hinton-hard"]


def test_a_claim_is_answered_in_words_by_its_question(monkeypatch):
    monkeypatch.setattr(q2, "literature", lambda f: {"hinton-band": "does not hold"}, raising=False)
    (claim,) = (r for r in scorecard.rows(of_q2(), PUBLISHED) if r.unit == "claim")
    assert (claim.id, claim.answer, claim.ours.n) == ("hinton-band", "does not hold", 0)
    (line,) = scorecard.table([claim]).to_dict("records")
    assert (line["theirs"], line["ours"], line["ratio"]) == ("", "does not hold", "")


def test_the_table_has_both_numbers_with_their_intervals_and_the_ratio():
    rows = scorecard.rows(of_q2(), PUBLISHED)
    hard, ours = scorecard.table(rows).iloc[1], rows[1].ours
    assert hard["theirs"] == "146 (124 to 171) errors".replace(" to ", "\xa0to\xa0")
    assert text.cell(ours) in hard["ours"] and hard["ratio"] == f"{ours.mean / 146:.2f}"
    assert "60,000" in hard.iloc[-1] and scorecard.table([]).empty


def test_the_figure_holds_all_rows_that_have_a_place_on_its_axis():
    plots.style()
    far = [row(25, half=20, id="far"), row(900, id="off"), row(id="even")]
    none = [row(unit="parameters", id="p"), row(10, half=10, id="reaches 0")]
    figure = method.ratios([*far, *none])
    (axis,) = figure.axes
    assert len(axis.get_yticks()) == len(far)
    assert axis.get_xlim()[0] < 0.05 and axis.get_xlim()[1] > 9.05
    assert_held(figure)
    assert method.ratios(none) is None and method.ratios([]) is None
