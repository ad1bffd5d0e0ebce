"""The study's plan: blocks that share nothing, teachers before students, and the page that says so."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

import small_project
from conftest import whole_record
from darkknowledge import params as p
from darkknowledge import plan as planned
from darkknowledge.records import Store
from darkknowledge.spec import SpecError
from small_project import here

PLAN = planned.read("paper")
UNITS = planned.units(PLAN)
ARMS = {(a.question, a.block, a.arm): a.spec for unit in UNITS for a in unit}


def arms(family: str, block: int = 200) -> dict[str, object]:
    return dict(planned.FAMILIES[family](PLAN, block))


def test_the_page_of_the_plan_lists_its_families_in_order_with_their_blocks():
    path = p.project_root() / "report" / "analysis-plan.md"
    page = path.read_text(encoding="utf-8").partition("## Primary claims")[0]
    rows = re.findall(r"^\| (\w+) \|.*\| (\d+) \|$", page, re.MULTILINE)
    listed = [(name, int(n)) for name, n in rows if name in planned.FAMILIES]
    assert listed == [(name, PLAN.n[name]) for name in planned.FAMILIES]


def test_a_block_is_whole_in_all_primary_families_before_the_next_one_and_the_others_follow():
    assert len(UNITS) == sum(PLAN.n.values())
    order = [(unit[0].question, unit[0].block) for unit in UNITS]
    first = [(f, b) for b in PLAN.blocks for f in planned.PRIMARY]
    rest = [f for f in planned.FAMILIES if f not in planned.PRIMARY]
    assert order == first + [(f, b) for f in rest for b in PLAN.blocks[: PLAN.n[f]]]
    assert all(
        {(a.question, a.block) for a in unit} == {key}
        for unit, key in zip(UNITS, order, strict=True)
    )


def test_every_run_stands_once_and_after_its_teacher():
    seen: set[str] = set()
    for arm in (a for unit in UNITS for a in unit):
        assert arm.spec.run_id not in seen
        assert arm.spec.teacher is None or arm.spec.teacher.run_id in seen
        seen.add(arm.spec.run_id)


def test_blocks_share_nothing():
    """A run, its teacher and what is drawn for it belong to its own block."""
    for arm in (a for unit in UNITS for a in unit):
        spec = arm.spec
        assert spec.seed in (arm.block, arm.block + planned.OTHER_SEED)
        assert spec.data.draw in (0, arm.block)
        if spec.teacher:
            assert spec.teacher.seed == arm.block


@pytest.mark.parametrize("family", ["cifar", "pairs", "pair_temperatures", "cifar_weights"])
def test_a_student_of_its_own_kind_starts_elsewhere_and_learns_from_the_hard_label_net(family):
    own = [spec for name, spec in arms(family).items() if "by_own" in name]
    baseline = arms("cifar")["strong_hard"] if "cifar" in family else arms("core")["hard"]
    assert own
    for spec in own:
        assert spec.teacher == baseline and spec.model == baseline.model
        assert spec.seed == baseline.seed + planned.OTHER_SEED


def test_the_sides_of_a_contrast_differ_in_what_it_is_about_and_in_nothing_else():
    """Compared as dictionaries of settings: the only keys that differ."""

    def differing(a, b) -> set[str]:
        one, other = dataclasses.asdict(a), dataclasses.asdict(b)
        return {
            f"{part}.{key}"
            if isinstance(one[part], dict) and isinstance(other[part], dict)
            else part
            for part in one
            for key in (one[part] if isinstance(one[part], dict) else [""])
            if (
                one[part].get(key) != other[part].get(key)
                if isinstance(one[part], dict) and isinstance(other[part], dict)
                else one[part] != other[part]
            )
        }

    found, loss = (
        arms("core"),
        {"loss.mode", "loss.temperature", "loss.w_hard", "loss.w_soft", "teacher"},
    )
    kd = found[f"kd_T{PLAN.temperature:g}"]
    assert differing(kd, found["hard"]) == loss
    assert differing(kd, found["kd_T1"]) == {"loss.temperature"}
    assert differing(kd, found["confidence_only"]) == {"loss.mode"}
    assert differing(kd, arms("omitted")["kd_without_3"]) == {"data.omit"}
    assert differing(found["hard"], arms("omitted_control")["hard_without_3"]) == {"data.omit"}
    assert differing(kd, arms("rivals")["permuted_teacher"]) == {"loss.mode"}
    assert differing(kd, arms("rivals")["soft_only"]) == {"loss.w_hard", "loss.w_soft"}
    jittered = arms("jittered")
    assert differing(jittered["hard_jitter"], jittered["kd_jitter"]) == loss
    dropout = {"model.dropout_input", "model.dropout_hidden"}
    assert differing(found["teacher"], found["hard_augmented"]) == {"model.hidden"} | dropout
    cifar = arms("cifar")
    assert differing(cifar["strong_by_weak"], cifar["strong_hard"]) == loss
    assert differing(cifar["weak_by_strong"], cifar["weak_hard"]) == loss
    assert differing(cifar["strong_hard"], cifar["weak_hard"]) == {"model.hidden"}
    halves = arms("unfamiliar")
    assert differing(halves["kd_same_half"], halves["kd_other_half"]) == {"data.complement"}
    for name, spec in arms("few_labels").items():
        assert spec.recipe.augmentation == ("jitter" if name.endswith("jitter") else "none")


def test_equal_budget_has_the_flops_of_teacher_and_student_together():
    found, equal = arms("core"), arms("budget")
    products = {1200: 2_392_800, 800: 1_275_200}
    teacher, hard = found["teacher"].recipe.epochs, found["hard"].recipe.epochs
    together = teacher * products[1200] / products[800] + hard
    assert abs(equal["hard_equal_budget"].recipe.epochs - together) < 1
    assert equal["strong_twice"].recipe.epochs == 2 * arms("cifar")["strong_hard"].recipe.epochs


def settings() -> dict[str, object]:
    return {f.name: getattr(PLAN, f.name) for f in dataclasses.fields(PLAN)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha": "high"}, "alpha"),
        ({"blocks": 200}, "blocks"),
        ({"blocks": [200, 200]}, "twice"),
        ({"temperatures": [1.0, "2"]}, r"temperatures\[1\]"),
        ({"virtual_teacher": [1.0]}, "virtual_teacher"),
        ({"augmented_recipes": []}, "augmented_recipes"),
        ({"n": {}}, "core"),
        ({"n": {**PLAN.n, "core": 11}}, "core"),
        ({"n": {**PLAN.n, "corn": 1}}, "Did you mean 'core'"),
        ({"student": 3}, "student"),
    ],
)
def test_a_setting_of_another_kind_is_refused_by_its_name(changes, words):
    with pytest.raises(SpecError, match=words):
        planned.Plan(**settings() | changes)


def test_a_profile_without_a_plan_has_none():
    assert planned.read("quick") is None


# -- a small plan, really trained -------------------------------------------------------------------

#: Two blocks of the core on the embedded digits; every recipe of the project is two epochs long.
TINY = {
    "profile": "tiny",
    "blocks": [200, 201],
    "n": dict.fromkeys(planned.FAMILIES, 0) | {"core": 2, "sizes": 1},
    "precision": "fp32",
    "validation": 3500,
    "digits": "mnist5k",
    "teacher": "mlp-16-16",
    "student": "mlp-8-8",
    "augmented_recipes": {"mlp-8-8": "augmented"},
    "plain_recipes": dict.fromkeys(("mlp-16-16", "mlp-8-8", "mlp-4-4"), "plain"),
    "widths": ["mlp-4-4"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with a plan that trains in a moment."""
    folder = small_project.make(tmp_path_factory.mktemp("plan") / "project")
    settings = p.read_yaml(folder / "params" / "paper" / "plan.yaml") | TINY
    (folder / "params" / "tiny").mkdir()
    path = folder / "params" / "tiny" / "plan.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_train_takes_the_plan_unit_by_unit_and_trains_nothing_twice(project):
    started = here(project, "-v", "train", "tiny", "core", "--jobs", "1")
    assert started.returncode == 0, started.stderr
    assert "core: " not in started.stderr and "16 runs trained" in started.stdout
    order = re.findall(r"\[([0-9a-f]{16})\]: started", started.stderr)
    runs = pd.read_csv(project / "results" / "tiny" / "plan.csv").set_index("run_id")
    assert runs.loc[order, "block"].tolist() == [200] * 8 + [201] * 8
    assert runs.loc[order, "test_errors"].notna().all()
    assert len(runs) == 18 and set(runs.loc[~runs.index.isin(order), "question"]) == {"sizes"}
    status = here(project, "status", "tiny")
    assert status.returncode == 3
    assert "core: 16 of 16 runs stored" in status.stdout
    assert "tiny: 16 of 18 runs stored, 2 missing" in status.stdout
    again = here(project, "train", "tiny")
    assert "2 runs trained, 16 were stored already" in again.stdout and again.returncode == 0


@pytest.mark.slow
def test_a_block_that_was_begun_on_another_processor_is_left_to_it(project, tmp_path):
    store = Store(tmp_path / "results")
    small_project.forget()
    with contextlib.chdir(project):  # whose recipes are short
        first = [one.spec for one in planned.units(planned.read("tiny"))[0]]
    small_project.forget()
    record = whole_record(first[0])
    record["provenance"]["processor"] = {"vendor": "Other", "capability": "AVX2", "bf16": False}
    store.write(first[0].data.name, record)
    done = here(project, "train", "tiny", "core", "--results", str(store.root), "--jobs", "2")
    assert done.returncode == 3
    assert "8 runs trained, 1 were stored already" in done.stdout
    assert "7 runs belong to blocks that were begun on another processor: Other AVX2" in done.stdout
    assert all(store.read("mnist5k", spec.run_id) is None for spec in first[1:])
