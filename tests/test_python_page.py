"""The page on the Python API: what stands there runs as it stands there, and does what is said of it."""

from __future__ import annotations

import contextlib
import io
import re

import pytest
import torch
from torch import nn

from conftest import REPOSITORY, synthetic_split
from darkknowledge.experiment.data import Split, scaled
from darkknowledge.experiment.training import fit, logits
from darkknowledge.spec import LossSpec, Recipe

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def ran() -> dict:
    """The names that the blocks of the page leave, executed one after the other as a reader would."""
    names: dict = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as told, torch.random.fork_rng():
            for i, block in enumerate(BLOCKS):
                exec(compile(block, f"{PAGE.name}, block {i + 1}", "exec"), names)
    finally:
        torch.set_num_threads(threads)
    return names | {"told": told.getvalue()}


def test_the_student_has_learned_from_its_teacher(ran):
    report, history = ran["report"], ran["history"]
    assert report["n"] == 1000 and report["accuracy"] > 0.8  # by chance: 0.1
    assert report["teacher_agreement"] > 0.8
    assert [row.epoch for row in history] == [1, 2, 3, 4, 5]
    assert history[-1].loss_soft < history[0].loss_soft / 2
    assert ran["told"].startswith(f"{report['errors']} errors of 1000")


def test_distillation_takes_fewer_than_ten_lines():
    lines = [line for line in BLOCKS[1].splitlines() if line]
    assert len(lines) < 10 and "teacher=teacher" in lines[-1]


def test_the_loss_is_the_formula_written_out(ran):
    """(1 − α) · CE + α · T² · Σ p (log p − log q), by plain probabilities, in double precision."""
    student, teacher = (ran[name].detach().double() for name in ("own", "soft"))
    p, q = ((z / 4).softmax(1) for z in (teacher, student))
    rows = torch.arange(len(student))
    hard = -student.softmax(1)[rows, ran["labels"]].log().mean()
    soft = 16 * (p * (p.log() - q.log())).sum(1).mean()
    assert float(ran["loss"].detach()) == pytest.approx(float(0.1 * hard + 0.9 * soft), rel=1e-4)
    assert not any(p.requires_grad for p in ran["teacher"].parameters())


def nets() -> list[nn.Module]:
    torch.manual_seed(1)
    return [nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2)]


def test_floating_images_train_as_the_same_pixels_do_and_stay_as_they_are():
    """uint8 pixels, and their scaled values as floats or as vectors, are one thing to the loop."""
    pixels, recipe = synthetic_split(200, 1), Recipe("sgd", lr=0.1, epochs=2, batch_size=50)
    floats = Split(scaled(pixels.images), pixels.labels)
    before, found = floats.images.clone(), []
    for split in (pixels, floats, Split(floats.images.flatten(1), floats.labels)):
        with torch.random.fork_rng():
            teacher, student = nets()
        loss = LossSpec.mix("kd", 4, 0.5)
        fit(student, split, split, recipe, loss, seed=0, precision="fp32", teacher=teacher)
        found.append(logits(student, split.images, "fp32"))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert torch.equal(floats.images, before)
