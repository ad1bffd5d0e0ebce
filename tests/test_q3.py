"""Q3: the sentences follow the records."""

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

from darkknowledge.evidence import text
from darkknowledge.evidence.stats import Verdict
from darkknowledge.paper.paper import find
from darkknowledge.questions import params
from darkknowledge.questions.q3_temperature import exhibits, findings
from fabricated import LABELS, found, frame_of, jitter, told

#: Changes, the verdict of the primary claim, how answer and headline begin, what is said of high T
#: and of the narrow network, and what becomes of the two published sentences.
OUTCOMES = [
    ({"above": -20, "band": -20}, Verdict.BETTER, "Soften the labels:", "At 4, 8 and 20:",
     ["each temperature comes within 1 error of T = 20"],
     ["does best at T = 2, 3 and 4, on average: 20.", "than at T = 1. **Start at T = 4 to 8; lower for"],
     ["holds", "holds"]),
    ({"four": -1, "far": 20, "band": -20, "one": -20}, Verdict.BETTER_SLIGHTLY,
     "Soften the labels:", "At 4, 8 and 20:", ["T = 40 makes 19.8 errors more"],
     ["does better lower", "Compared with T = 1, that makes no difference that matters"],
     ["does not hold", "does not hold"]),
    ({"above": 20, "far": -20, "band": 20}, Verdict.WORSE, "Leave it at T = 1:", "Leave it at T = 1:",
     ["T = 40 makes 20.2 errors fewer"],
     ["does worse lower, at T = 2, 3 and 4. That is 20.0 errors more", "it makes 19.8 errors more"],
     ["does not hold", "does not hold"]),
    ({"far": 20, "far_at": ["mlp-300-300"]}, Verdict.EQUIVALENT, "It makes no difference",
     "It makes no difference", ["each temperature comes within 1 error"],
     ["For the 30-unit network it makes no difference that matters to stay at T = 2, 3 and 4:"],
     ["does not hold", "does not hold"]),
    ({"noise": (1, 40)}, Verdict.IMPRECISE, "Too imprecise to tell:", "Too imprecise to tell:",
     ["From T = 8 on, differences are too imprecise to tell: T = 40 makes between"],
     ["Whether the 30-unit network does better", "Compared with T = 1, that is too imprecise to tell:"],
     ["is too imprecise to tell for all", "is too imprecise to tell"]),
]  # fmt: skip


def errors(above=0, four=0, far=0, far_at=("mlp-800-800", "mlp-300-300"), band=0, one=0, noise=()):
    """60, and so many more: wide nets ``above`` T = 1, at T = 4, and ``far`` above 20; the narrow one in
    its ``band`` and at T = 1; all nets in half of the blocks at the temperatures ``noise``. The first
    block differs by one error: without a spread there is no interval."""

    def of(planned):
        t, net = planned.spec.loss.temperature, planned.spec.model.label
        if planned.arm != "kd":
            return 60
        more = band * (2 <= t <= 4) + one * (t == 1)
        if net != "mlp-30-30":
            more = above * (t > 1) + four * (t == 4) + far * (t > 20) * (net in far_at)
        more += 16 * (t in noise) * (planned.block % 2)
        return 60 + more + (planned.block in (0, 200) and t in (1, 20)) - jitter(planned)

    return of


@pytest.mark.parametrize(("changes", "verdict", "bold", "head", "high", "narrow", "lit"), OUTCOMES)
def test_every_outcome_has_its_own_words(changes, verdict, bold, head, high, narrow, lit):
    f = found("q3", errors(**changes))
    _, said, rest = told(f).split("**", 2)
    headline, literature = told(f, "headline"), told(f, "literature")
    claim = f.claims["above_vs_one"]
    assert claim.verdict is verdict
    assert said.startswith(bold) and headline.startswith(head)
    one = f.sample(arm="kd", model="mlp-800-800", temperature=1.0).mean
    for words in (said, headline):
        assert text.errors(one) in words and text.errors(one + claim.effect.mean) in words
    assert text.told(claim) in rest and all(words in rest for words in (*high, *narrow))
    assert ("by less than matters" in rest) == claim.slight
    assert ("makes fewer errors" in told(f, "caption")) == claim.better
    assert ("much alike" in headline) == (claim.better and "each temperature" in rest)
    assert f"alike: of 20, 40 and 90 that {lit[0]} here." in literature
    assert f"units: that {lit[1]} here." in literature
    assert all(told(f, block) for block in ("believe", "limits"))


def test_the_difference_without_a_temperature_where_a_run_diverged_has_all_blocks():
    frame = frame_of("q3", errors(above=-20))
    main = (frame["family"] == "main_temperatures") & (frame["temperature"] == 20)
    lost = frame.index[main & (frame["arm"] == "kd")][0]
    frame.at[lost, "record"], frame.at[lost, "diverged"] = None, True
    f = find("q3", frame, LABELS)
    assert f.claims["above_vs_one"].effect.n == 9
    less = [f.sample(arm="kd", model="mlp-800-800", temperature=t) for t in (4.0, 8.0, 1.0)]
    difference = ((less[0] + less[1]) * 0.5 - less[2]).mean
    said = (
        f"Without T = 20, where a run diverged, the difference is {text.signed(difference)} errors"
    )
    assert said in told(f, "believe") and "over 10 independent pairs" in told(f, "believe")
    assert "diverged" not in told(found("q3", errors(above=-20)), "believe")


def test_high_temperatures_are_judged_at_two_widths_measured_or_not():
    f = found("q3", errors(), measured=lambda planned: False)
    about = [(c.data["model"], *c.data["temperature"]) for c in f.claims.values() if c.members == 6]
    assert about == [(net, t) for net in ("mlp-800-800", "mlp-300-300") for t in (8, 40, 90)]
    assert "is not tested yet here" in told(f, "literature")


def test_a_network_without_widths_is_as_wide_as_any():
    nets = ["mlp-9", "mobilenet_v3_small", "airbench-8-16-16"]
    assert sorted(nets, key=findings.units)[0::2] == ["airbench-8-16-16", "mobilenet_v3_small"]


def test_without_the_other_networks_nothing_is_said_of_them():
    chosen = replace(params.read("paper", "q3"), n_temperatures=0)
    f = found("q3", errors(above=-20), chosen=chosen)
    assert f.claims["narrow_vs_one"].verdict is Verdict.UNMEASURED
    rest = told(f).rpartition("**")[2]
    assert "unit" not in rest and "Against" not in rest and "30" not in told(f, "caption")
    assert len(exhibits.by_temperature(f).axes) == 2
    plt.close("all")


def test_the_quick_profile_has_its_own_networks_on_axes_that_are_alike():
    f = found("q3", errors(above=-20, band=-20), chosen=params.read("quick", "q3"))
    assert "the 100-unit network makes 40.1 errors on average, 60.2 at T = 1.**" in told(f)
    axes = exhibits.by_temperature(f).axes
    (_,), ((_, top),) = ({axis.get_ylim() for axis in row} for row in (axes[:2], axes[2:]))
    assert top > math.log(10) and axes[-1].get_xscale() == "log"
    plt.close("all")
