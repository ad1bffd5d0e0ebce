"""Q2: the sentence follows the records."""

import pandas as pd
import pytest

from darkknowledge.evidence import text
from darkknowledge.evidence.stats import Verdict
from darkknowledge.paper.paper import find, whole
from darkknowledge.questions import params
from darkknowledge.questions.q2_distillation import exhibits
from fabricated import LABELS, PLAUSIBLE, TRUTH, found, frame_of, told
from small_project import REPOSITORY


def errors(**changes):
    return lambda planned: (PLAUSIBLE | changes).get(planned.arm, 50)


def test_a_clear_gain_is_told_as_one_with_what_is_left_of_it():
    f = found("q2", errors())
    claim, said = f.claims["kd_vs_hard"], told(f)
    assert claim.verdict is Verdict.BETTER
    kd, hard = (text.errors(f.sample(arm=arm).mean) for arm in ("kd", "hard"))
    assert said.startswith(f"**Yes: the 800-unit network makes {kd} errors instead of {hard}, and")
    assert "of the gap to its teacher.**" in said and "errors fewer (" in said
    assert said.endswith("**Distil where the student cannot be trained as its teacher was.**")
    on_top = told(found("q2", errors(kd_jitter=1)))
    assert on_top.endswith("**Augment first, and distil on the same images.**")
    assert "permuted" in told(f, "caption")
    assert exhibits.TABLES["arms"](f).loc[2, "arm"] == "distilled"


def test_the_recalls_of_the_classes_weighted_by_their_images_make_the_accuracy():
    f = found("q2", errors())
    table = exhibits.by_class(f).set_index("class")
    images = table["test images"].str.replace(",", "").astype(int)
    assert list(table.index) == list("0123456789") and images.sum() == len(TRUTH)
    for arm, name in (("kd", "distilled (%)"), ("teacher", "teacher (%)")):
        recall = (table[name].astype(float) * images).sum() / len(TRUTH)
        assert recall == pytest.approx(100 - 100 * f.sample(arm=arm).mean / len(TRUTH), abs=0.06)


@pytest.mark.parametrize(
    ("kd", "verdict", "words"),
    [(60, Verdict.WORSE, "**No: the 800-unit network"),
     (40, Verdict.EQUIVALENT, "**It makes no difference")],
)  # fmt: skip
def test_other_outcomes_have_their_own_words(kd, verdict, words):
    f = find("q2", frame_of("q2", errors(kd=kd)), LABELS | {"mnist": 10 * TRUTH})
    assert f.claims["kd_vs_hard"].verdict is verdict
    assert told(f).startswith(words) and "Yes" not in told(f)


def test_a_teacher_that_is_worse_leaves_no_gap_to_close():
    f = found("q2", errors(teacher=70))
    assert f.claims["kd_vs_hard"].better and "gap" not in told(f) + told(f, "headline")


@pytest.mark.parametrize(("blocks", "shown"), [(1, False), (4, False), (5, True)])
def test_a_family_without_the_blocks_for_a_verdict_is_hidden_and_the_first_is_not(blocks, shown):
    def measured(planned):
        return planned.primary or planned.block < 200 + blocks

    frame = whole(frame_of("q2", errors(), measured=measured))
    first, rivals = (frame[frame["family"] == name] for name in (frame["family"].iloc[0], "rivals"))
    assert first["record"].notna().all() and rivals["record"].notna().any() == shown
    assert rivals["test_errors"].notna().equals(rivals["record"].notna())


def test_the_rivals_did_best_at_the_edge_of_what_was_tried():
    tried = pd.read_csv(REPOSITORY / "results" / "paper" / "search.csv")
    tried = tried[tried["model"] == "mlp-800-800"].set_index("mode")
    smoothed, virtual = tried.loc["label_smoothing"], tried.loc["tfkd_reg"]
    chosen = params.read("paper", "q2")
    best = smoothed.sort_values("validation_errors").iloc[0]
    assert chosen.smoothing == best["w_soft"] == smoothed["w_soft"].max()
    best = virtual.sort_values("validation_errors").iloc[0]
    assert chosen.virtual_alpha == best["w_soft"] == virtual["w_soft"].min()
    assert chosen.virtual_temperature == best["temperature"] == virtual["temperature"].max()
    assert "at the edge of what was tried" in told(found("q2", lambda planned: 9), "believe")
