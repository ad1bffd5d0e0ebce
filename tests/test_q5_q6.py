"""Q5 and Q6: the sentences follow the records."""

from __future__ import annotations

from collections import Counter

import matplotlib.pyplot as plt
import pytest

from conftest import REPOSITORY
from darkknowledge.evidence import plots, text
from darkknowledge.evidence.answers import written
from darkknowledge.evidence.stats import Verdict
from darkknowledge.paper.paper import context
from darkknowledge.questions import params
from darkknowledge.questions.q5_q6_pairs import exhibits, findings
from fabricated import found

#: Test errors on hard labels, by what the names of the nets begin with.
HARD = {
    "airbench-16": 80, "airbench-32": 50, "mlp-30-": 60, "mlp-800": 30,
    "plain_cnn-2": 80, "plain_cnn-8": 50, "mlp-100": 30,
}  # fmt: skip
#: How many words a block may have; of the answer the sentence in bold, and the rest.
WORDS = {"believe": 80, "literature": 40, "limits": 40, "headline": 14}
BOLD, REST = 25, 80
#: A gain or a loss of the taught student; on digits by the weight where it is a function. The verdict
#: of the primary claim, what is said of the weights on digits, and what only Q5 and only Q6 say.
OUTCOMES = [
    ({"images": -30, "digits": lambda a: -9 if a < 0.2 else 9, "label_smoothing": -30},
     Verdict.BETTER, "better at α = 0.1, worse at 0.5 and 0.9",
     ["**A weaker teacher can help and harm"], ["does as well", "**Try label smoothing first"]),
    ({"images": -3, "digits": -9, "label_smoothing": 20},
     Verdict.BETTER_SLIGHTLY, "better at every weight",
     ["**A teacher need not be better"], ["which needs no teacher, it is better"]),
    ({"images": 30, "digits": 9, "by_strong": -20}, Verdict.WORSE, "worse at every weight",
     ["smaller one gains", "**Let the larger"], ["no teacher, it is worse", "**Training the same"]),
    ({"images": 2, "digits": 9, "by_strong": 20}, Verdict.WORSE_SLIGHTLY, "worse at every weight",
     ["smaller one loses", "**A weaker teacher is not worth"], ["**Training the same"]),
    ({"digits": lambda a: 9 if a > 0.6 else 0}, Verdict.EQUIVALENT, "At α = 0.9 it is worse.",
     ["**A weaker teacher is not worth"], ["**Training the same"]),
    ({"noise": 25}, Verdict.IMPRECISE, "the interval lies between", [], []),
]  # fmt: skip


def errors(images=0, digits=0, noise=0, **arms):
    """Errors on hard labels, and how many more an arm makes. ``noise`` is added to the taught student
    of every other block."""

    def of(planned):
        arm, model = planned.arm, planned.spec.model.label
        base = next(count for name, count in HARD.items() if model.startswith(name))
        if arm not in findings.ARM.values():
            return base + arms.get(arm, 0)
        more = digits if model.startswith("mlp") else images
        more = more(planned.spec.loss.w_soft) if callable(more) else more
        return base + more + (noise if planned.block % 2 else 0)

    return of


@pytest.mark.parametrize("question", findings.ARM)
@pytest.mark.parametrize(("changes", "verdict", "said", "of_q5", "of_q6"), OUTCOMES)
def test_every_outcome_has_its_own_words(question, changes, verdict, said, of_q5, of_q6):
    f = found(question, errors(**changes))
    main = f.claims[f"{findings.ARM[question]}_vs_hard"]
    assert main.verdict is verdict and main.effect.n == main.planned == 10
    assert main.effect.level == pytest.approx(1 - 0.05 / 7)
    given, folder = context(f), REPOSITORY / "report" / "answers"
    block = {name: written(folder, question, name, given) for name in ("answer", *WORDS)}
    _, bold, rest = block["answer"].split("**", 2)
    for words in (bold, block["headline"]):
        assert words.startswith("Yes: ") == main.better and words.startswith("No: ") == main.worse
        assert words.startswith("Too imprecise to tell: ") == main.imprecise
        assert ("o difference that matters" in words) == main.equivalent
        for sample in (given["v"]["images"].taught(), given["v"]["images"].net("hard")):
            assert text.errors(sample.mean) in words
    own = {"q5": of_q5, "q6": of_q6}[question]
    assert all(words in rest for words in (said, *own))
    assert ("would matter" in rest) == main.slight
    assert ("**" in rest) == any(words.startswith("**") for words in own)
    assert len(bold.split()) <= BOLD and len(rest.split()) <= REST
    assert all(len(block[name].split()) <= most for name, most in WORDS.items())


def test_families_hold_the_claims_of_both_questions_measured_or_not():
    both = [found(q, errors(), measured=lambda planned: False) for q in findings.ARM]
    claims = [claim for f in both for claim in f.claims.values()]
    families = Counter(claim.family for claim in claims)
    assert families.pop("primary") == 2
    families["Q5, Q6 weights, CIFAR-10"] += 2  # the main weight's are the primary claims
    assert families == {claim.family: claim.members for claim in claims if claim.members != 7}
    assert sorted(families.values()) == [1, 3, 6, 6, 6]
    assert {claim.delta for claim in claims if claim.family.endswith("MNIST")} == {1}


@pytest.mark.parametrize("profile", ["paper", "quick"])
def test_the_exhibits_show_what_is_there(profile):
    both = [found(q, errors(9, 9), chosen=params.read(profile, q)) for q in findings.ARM]
    plots.style()
    figure = exhibits.FIGURES["gain"](*both)
    assert [len(axis.texts) for axis in figure.axes] == [2, 2]
    assert all(axis.get_ylim()[0] > 9 > 0 > axis.get_ylim()[1] for axis in figure.axes)
    plt.close(figure)


def test_the_table_names_data_and_arms_as_people_do():
    f = found("q6", errors(9, 9), chosen=params.read("quick", "q6"))
    assert len(exhibits.gains(f).axes) == 2
    table = exhibits.TABLES["arms"](f)
    assert list(table["data"].unique()) == [pair.data for pair in findings.pairs(f).values()]
    assert list(table["arm"].unique()) == ["hard labels", findings.WORDS["by_own"]]
