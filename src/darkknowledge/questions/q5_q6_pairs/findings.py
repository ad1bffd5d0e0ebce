"""Q5 and Q6, what the records say: a net taught by a smaller one, or by one of its own kind."""

from typing import Any

from darkknowledge.evidence import text
from darkknowledge.evidence.claims import Findings
from darkknowledge.evidence.samples import Sample, means
from darkknowledge.evidence.stats import Effect

#: The arm that each question is about.
ARM = {"q5": "by_weak", "q6": "by_own"}
#: What the arms are called in these questions.
WORDS = {
    "by_weak": "taught by the smaller network",
    "by_own": "taught by its own kind",
    "by_strong": "taught by the larger network",
}
TEACHERLESS = ("label_smoothing", "tfkd_reg", "hard_equal_budget")
#: Data sets as the analysis plan calls them.
DATA = text.DATASETS | {"cifar10_jpeg": "CIFAR-10"}


class Pair:
    """A student and its teacher on the data of a family; ``epochs``, ``alpha`` and ``temperature`` of the
    main arm, ``alphas`` that were tried at that temperature, other ``temperatures`` at that weight;
    ``accuracy`` on the test images of both nets on hard labels."""

    def __init__(self, f: Findings, family: str) -> None:
        self.f, self.arm, self.place = f, ARM[f.question], family
        rows = f.rows(family=family, arm=self.arm)
        further = f.rows(family=f"{family}_temperatures", arm=self.arm)["alpha"]
        one, weights = rows.iloc[0], sorted({*rows["alpha"]})
        self.dataset, self.student, self.temperature = one[["dataset", "model", "temperature"]]
        self.data = DATA.get(self.dataset, self.dataset)
        self.epochs = int(one["epochs"])
        self.teacher = f.rows(run_id=one["teacher_run_id"])["model"].iloc[0]
        # On digits no weight is first: the main one is where temperatures are tried, else the middle.
        self.alpha = further.iloc[0] if len(further) else weights[len(weights) // 2]
        tried = f.rows(dataset=self.dataset, model=self.student, arm=self.arm)
        temperatures = tried[tried["alpha"] == self.alpha]["temperature"]
        self.alphas = sorted({*tried[tried["temperature"] == self.temperature]["alpha"]})
        self.temperatures = sorted({*temperatures} - {self.temperature})
        nets = {"teacher": self.teacher, "student": self.student}
        self.accuracy = {k: self.net("hard", v, "test_accuracy").mean for k, v in nets.items()}

    def net(self, arm: str, model: str = "", measure: str = "test_errors", **where: Any) -> Sample:
        """Test errors of an arm on this data; of the student where no other net is named."""
        model = model or self.student
        return self.f.sample(measure, arm=arm, dataset=self.dataset, model=model, **where)

    def claim_of(self, alpha: float) -> str:
        """The claim on a weight: the primary one is on the main weight of the images."""
        primary = self.place == "images" and alpha == self.alpha
        return f"{self.arm}_vs_hard" if primary else f"{self.place}_alpha_{alpha:g}"

    def taught(self, **changes: float) -> Sample:
        """Test errors of the taught student, at the main settings but for ``changes``."""
        main = {"temperature": self.temperature, "alpha": self.alpha}
        return self.net(self.arm, **main | changes)


def pairs(f: Findings) -> dict[str, Pair]:
    """The pairs on images and on digits, as far as they are planned."""
    arm = ARM[f.question]
    return {n: Pair(f, n) for n in ("images", "digits") if len(f.rows(family=n, arm=arm))}


def claims(f: Findings) -> None:
    """Families of weights and temperatures hold as many claims of the other question. The family of
    weights on images counts the main weight too, whose verdict is the primary claim's."""
    every, words = pairs(f), WORDS[ARM[f.question]]
    main = every["images"]
    taught, hard = main.taught(), main.net("hard")
    f.claim(f"{main.arm}_vs_hard", words, "hard", taught - hard)
    if f.question == "q5":
        small = main.net("by_strong", main.teacher) - main.net("hard", main.teacher)
        f.claim("by_strong_vs_hard", WORDS["by_strong"], "hard", small, "weak taught by strong", 1)
    else:
        smoothed, family = main.net("label_smoothing"), ("Q5, Q6 rivals", 3)
        f.claim("smoothing_vs_hard", "label_smoothing", "hard", smoothed - hard, *family)
        f.claim("tfkd_reg_vs_hard", "tfkd_reg", "hard", main.net("tfkd_reg") - hard, *family)
        f.claim("by_own_vs_smoothing", words, "label_smoothing", taught - smoothed, *family)
    tried = 2 * sum(len(pair.temperatures) for pair in every.values())
    for place, pair in every.items():
        family, on = (f"Q5, Q6 weights, {pair.data}", 2 * len(pair.alphas)), pair.dataset
        taught, hard = pair.taught(), pair.net("hard")
        for a in pair.alphas:
            if (name := pair.claim_of(a)) in f.claims:
                continue
            subject = f"{words} at α = {a:g}, {pair.data}"
            gain = pair.taught(alpha=a) - hard
            f.claim(name, subject, "hard", gain, *family, dataset=on, alpha=a)
        family, usual = ("Q5, Q6 temperatures", tried), f"T = {pair.temperature:g}"
        for t in pair.temperatures:
            name, subject = f"{place}_t_{t:g}", f"{words} at T = {t:g}, {pair.data}"
            gain = pair.taught(temperature=t) - taught
            f.claim(name, subject, usual, gain, *family, dataset=on, temperature=t)


def values(f: Findings) -> dict[str, Any]:
    """Both pairs, errors of the main one, how these change without a teacher (what of that is still
    ``due``; trained ``longer``, which has no claim), other weights that were ``tried`` on few pairs, the
    claims on digits, and what becomes of these at the lowest temperature, ``cold``."""
    every = pairs(f)
    main, digits = every["images"], every.get("digits")
    hard, judged = main.net("hard"), f.claims[f"{main.arm}_vs_hard"].difference.pure
    changes = {arm: (main.net(arm) - hard).pure for arm in TEACHERLESS}
    return {
        **{"digits": None, **every},
        "of": f.images(main.dataset),
        "ece": means({arm: main.net(arm, measure="ece") for arm in ("hard", "label_smoothing")}),
        "tried": [c for name, c in f.claims.items() if name.startswith("images_alpha") and c.few],
        "cold": cold(every["digits"]) if "digits" in every else None,
        "usual_alpha": f.rows(arm="by_strong")["alpha"].max(),
        # Of the blocks that the primary claim has, so that the numbers of one sentence agree.
        "errors": {"hard": (hard + judged * 0).mean, "taught": (hard + judged).mean},
        "change": {arm: change.mean for arm, change in changes.items() if change.values},
        "longer": changes["hard_equal_budget"].effect()
        if changes["hard_equal_budget"].values
        else None,
        "due": [arm for arm, change in changes.items() if change.planned and not change.values],
        "on_digits": f.claims.get(f"digits_alpha_{digits.alpha:g}") if digits else None,
        "weights": [c for name, c in f.claims.items() if name.startswith("digits_alpha")],
    }


def cold(pair: Pair) -> tuple[float, Effect] | None:
    """The lowest temperature below the main one, if one is measured, and the difference from hard labels
    there."""
    for t in pair.temperatures:
        difference = pair.taught(temperature=t) - pair.net("hard")
        if t < pair.temperature and difference.values:
            return t, difference.effect()
    return None
