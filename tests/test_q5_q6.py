"""Q5 and Q6: the sentences follow the records."""

import matplotlib.pyplot as plt
import pytest

from darkknowledge.evidence import plots, text
from darkknowledge.evidence.stats import Verdict
from darkknowledge.questions import params
from darkknowledge.questions.q5_q6_pairs import exhibits, findings
from fabricated import assert_held, found, told

#: Test errors on hard labels, by what the names of the nets begin with.
HARD = {
    "airbench-16": 80, "airbench-32": 50, "mlp-30-": 60, "mlp-800": 30,
    "vgg13": 80, "resnet18": 50, "plain_cnn-2": 80, "plain_cnn-8": 50, "mlp-100": 30,
}  # fmt: skip
#: A gain or a loss of the taught student; on digits by the weight where it is a function. The verdict
#: of the primary claim, what is said of the weights on digits, and what only Q5 and only Q6 say.
OUTCOMES = [
    ({"images": -30, "digits": lambda a: -9 if a < 0.2 else 9, "label_smoothing": -30},
     Verdict.BETTER, "better at α = 0.1, worse at 0.5 and 0.9",
     ["**A weaker teacher can help and harm"], ["does as well", "**Try label smoothing first"]),
    ({"images": -3, "digits": -9, "label_smoothing": 20},
     Verdict.BETTER_SLIGHTLY, "better at every weight",
     ["**A teacher need not be better"], ["label smoothing it is better", "**Weigh a second training"]),
    ({"images": 30, "digits": 9, "by_strong": -20}, Verdict.WORSE, "worse at every weight",
     ["smaller one gains", "**Let the larger"], ["label smoothing it is worse", "**Training the same"]),
    ({"images": 2, "digits": 9, "by_strong": 20}, Verdict.WORSE_SLIGHTLY, "worse at every weight",
     ["smaller one loses", "**A weaker teacher is not worth"], ["**Training the same"]),
    ({"digits": lambda a: 9 if a > 0.6 else 0}, Verdict.EQUIVALENT, "At α = 0.9 it is worse.",
     ["**A weaker teacher is not worth"], ["**Training the same"]),
    ({"noise": 25}, Verdict.IMPRECISE, ": too imprecise to tell, between", [], []),
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
    assert main.verdict is verdict
    _, bold, rest = told(f).split("**", 2)
    pair = findings.pairs(f)["images"]
    for words in (bold, told(f, "headline")):
        assert words.startswith("Yes: ") == main.better and words.startswith("No: ") == main.worse
        assert words.startswith("Too imprecise to tell: ") == main.imprecise
        assert ("o difference that matters" in words) == main.equivalent
        for sample in (pair.taught(), pair.net("hard")):
            assert text.errors(sample.mean) in words
    own = {"q5": of_q5, "q6": of_q6}[question]
    assert all(words in rest for words in (said, *own))
    assert ("by less than matters" in rest) == main.slight
    assert ("**" in rest) == any(words.startswith("**") for words in own)
    assert all(told(f, block) for block in ("believe", "literature", "limits"))
    assert {c.delta for c in f.claims.values() if c.family.endswith("MNIST")} == {1}


@pytest.mark.parametrize("question", findings.ARM)
@pytest.mark.parametrize(
    ("changes", "verdict", "says"),
    [
        ({"images": -30}, Verdict.BETTER, ["gains from VGG-13 (91.9 % right, itself", "gains: "]),
        ({"images": 30}, Verdict.WORSE, ["loses by VGG-13", "loses: "]),
        ({}, Verdict.EQUIVALENT, ["taught by VGG-13, the interval lies", "the interval lies"]),
        ({"noise": 25}, Verdict.IMPRECISE, ["taught by VGG-13, the interval", "the interval lies"]),
    ],
)
def test_larger_networks_are_told_beside_the_plan(question, changes, verdict, says):
    """Where a smaller teacher helps only the larger networks, the advice is to validate."""
    large = found(question, errors(**changes), chosen=params.read("gpu", question))
    claim = large.claims[f"{findings.ARM[question]}_vs_hard"]
    assert claim.verdict is verdict and claim.effect.n == 5
    f = found(question, errors(by_strong=-20))
    assert all("ResNet-18" not in told(f, block) for block in ("answer", "literature"))
    said = told(f, "literature", large).partition("ResNet-18, outside the plan, ")[2]
    assert dict(zip(findings.ARM, says, strict=True))[question] in said
    depends = "**Do not count on a weaker teacher"
    assert (depends in told(f, "answer", large)) == (claim.better and question == "q5")
    assert "untuned" in told(f, "limits", large)


@pytest.mark.slow
def test_both_questions_stand_on_the_same_axes_and_the_table_names_all_as_people_do():
    plots.style()
    both = [found(q, errors(9, 9), chosen=params.read("quick", q)) for q in findings.ARM]
    f = both[1]
    assert [len(axis.texts) for axis in exhibits.gains(*both).axes] == [2, 2]
    every = [(q, params.read(name, q)) for name in ("paper", "gpu") for q in findings.ARM]
    drawn = exhibits.gains(*(found(q, errors(), chosen=chosen) for q, chosen in every))
    titles = [axis.get_title(loc="left").splitlines()[0] for axis in drawn.axes]
    assert titles == ["CIFAR-10", "MNIST", "ResNet-18"]
    assert_held(drawn)
    plt.close("all")
    table = exhibits.TABLES["arms"](f)
    assert list(table["data"].unique()) == [pair.data for pair in findings.pairs(f).values()]
    assert list(table["arm"].unique()) == ["hard labels", findings.WORDS["by_own"]]
