"""One spec, one record: trained once, reproducible, bound to its teacher's weights."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest
import torch

from conftest import small_grid, small_run
from darkknowledge import devices, layout
from darkknowledge.evidence import samples
from darkknowledge.evidence.claims import Findings
from darkknowledge.experiment import data, metrics, run, training
from darkknowledge.experiment.run import execute
from darkknowledge.records import Store, file_sha256
from darkknowledge.spec import LossSpec, data_spec

pytestmark = pytest.mark.usefixtures("synthetic")

TEACHER, BASELINE, STUDENT = small_grid()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names = []

    def spy(*args, name, **kwargs):
        names.append(name)
        return training.fit(*args, name=name, **kwargs)

    monkeypatch.setattr(run, "fit", spy)
    return names


def test_a_students_record_names_the_very_weights_that_taught_it(store):
    """Those that it was taught by, also if they vanish while it trains."""
    digest, told = execute(TEACHER, store)["weights_sha256"], []
    assert digest == file_sha256(store.weights_path(TEACHER.run_id))

    def vanish(spec, epoch):
        told.append((spec, epoch.epoch))
        if spec == STUDENT:
            store.weights_path(TEACHER.run_id).unlink(missing_ok=True)

    record = execute(STUDENT, store, on_epoch=vanish)
    assert record["teacher_weights_sha256"] == digest and told == [(STUDENT, 1), (STUDENT, 2)]


def test_the_numbers_of_a_record_are_those_of_its_spec_and_its_stored_weights(store):
    """Which are fp16, and are loaded as fp32; the labels are kept beside the records."""
    record, dataset = execute(STUDENT, store), data.load(STUDENT.data)
    assert record["spec"] == STUDENT.full() and record["run_id"] == STUDENT.run_id
    nets = [run.trained_network(s, dataset.shape, store) for s in (STUDENT, TEACHER)]
    for name in ("validation", "test"):
        split = getattr(dataset, name)
        student, teacher = (training.logits(n, split.images, "fp32") for n in nets)
        assert metrics.report(student, split.labels, teacher) == record[name]
    assert "".join(map(str, student.argmax(1).tolist())) == record["predictions"]
    assert store.labels("mnist5k") == "".join(map(str, dataset.test.labels.tolist()))
    assert not nets[0].training
    for p in nets[0].parameters():
        assert p.dtype == torch.float32 and torch.equal(p, p.half().float())
    assert {len(column) for column in record["history"].values()} == {STUDENT.recipe.epochs}
    assert record["soft_targets"]["images"] == 350 and record["unseen"] is None
    assert record["provenance"]["processor"] == devices.processor()
    assert 0 <= record["test_int8"]["errors"] <= 100
    untaught = execute(BASELINE, store)
    assert untaught["soft_targets"] is untaught["unseen"] is None
    assert untaught["teacher_weights_sha256"] is untaught["test"]["teacher_agreement"] is None


def test_a_stored_run_needs_no_weights_but_a_new_student_does(store, trained):
    execute(STUDENT, store)
    assert trained == [TEACHER.label, STUDENT.label]
    path = store.weights_path(TEACHER.run_id)
    whole = path.read_bytes()
    path.unlink()
    trained.clear()
    for spec in (STUDENT, TEACHER):
        execute(spec, store)
    assert trained == []
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # or weights that were altered
    other = dataclasses.replace(STUDENT, seed=1)
    execute(other, store)
    assert trained == [TEACHER.label, other.label] and path.read_bytes() == whole


def test_an_untrained_teacher_is_a_net_at_its_initialisation(store):
    novice = small_run(seed=100, epochs=0)
    execute(small_run(loss=LossSpec.mix("untrained_teacher", 4, 0.9), teacher=novice), store)
    nets = run.trained_network(novice, (1, 8, 8), store), run.network(novice, (1, 8, 8))
    for found, begun in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(found, begun.half().float())


def test_a_run_that_diverges_leaves_a_note_in_place_of_a_record_and_is_not_retried(store, trained):
    """Nor is its student said to have diverged. The losses of one whose weights do not fit into fp16 are
    healthy, but what is stored of it would be infinite."""
    spec = small_run(lr=1e20, schedule="linear")
    large = small_run(lr=1e8, schedule="linear", epochs=1, batch_size=350)
    orphan = dataclasses.replace(STUDENT, teacher=spec)
    for one, says in ((spec, "epoch 1"), (spec, "epoch 1"), (orphan, ""), (large, "")):
        lost = spec if one is orphan else one
        with pytest.raises(training.NonFiniteLoss, match=rf"{lost.run_id}.*{says}"):
            execute(one, store)
        assert run.stored(one, store) is None
    assert trained == [spec.label, large.label]
    assert store.diverged("mnist5k", spec.run_id)["spec"] == spec.full()
    assert store.diverged("mnist5k", orphan.run_id) is None


def test_a_student_that_never_saw_a_class_keeps_what_its_bias_can_do(store):
    """The shifts are counted on the very predictions of the record, with pictures beside them."""
    spec = dataclasses.replace(STUDENT, data=dataclasses.replace(STUDENT.data, omit=(3,)))
    record = execute(spec, store)
    assert record["provenance"]["training_images"] == 315  # of 350
    assert store.read("mnist5k", spec.run_id)  # which agrees with itself
    assert record["unseen"]["oracle"]["errors"] <= record["test"]["errors"]
    assert store.examples_path("mnist5k").read_bytes().startswith(b"\x89PNG")


def test_a_record_is_never_overwritten_by_a_training_that_comes_out_otherwise(store, monkeypatch):
    """As on another kind of processor: the record stays, and its weights are asked for."""
    execute(TEACHER, store)
    record, path = store.read("mnist5k", TEACHER.run_id), store.weights_path(TEACHER.run_id)
    path.unlink()

    def elsewhere(model, *args, **kwargs):
        history = training.fit(model, *args, **kwargs)
        with torch.no_grad():
            next(model.parameters()).add_(0.01)
        return history

    with monkeypatch.context() as patch:
        patch.setattr(run, "fit", elsewhere)
        with pytest.raises(run.NotReproduced, match="copy .*safetensors from where it was trained"):
            execute(STUDENT, store)

        def diverging(*args, **kwargs):
            raise training.NonFiniteLoss("It is not finite.")

        patch.setattr(run, "fit", diverging)
        with pytest.raises(run.NotReproduced, match="copy .*safetensors from where it was trained"):
            execute(STUDENT, store)
    assert store.diverged("mnist5k", TEACHER.run_id) is None
    assert store.read("mnist5k", TEACHER.run_id) == record and not path.exists()
    execute(STUDENT, store)  # the same training brings the weights back, and leaves the record
    assert store.read("mnist5k", TEACHER.run_id) == record
    assert file_sha256(path) == record["weights_sha256"]


def a_hundred_classes(root: object = None) -> tuple[data.Split, ...]:
    """300 and 200 random images of 100 classes, with the signature of a loader."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (500, 1, 8, 8), generator=generator, dtype=torch.uint8)
    whole = data.Split(images, torch.arange(500) % 100)
    return whole.take(torch.arange(300)), whole.take(torch.arange(300, 500))


def test_a_hundred_classes_are_recorded_read_back_and_counted(store, monkeypatch, caplog):
    """Each as two digits, which no reader takes for two images."""
    monkeypatch.setitem(data._LOADERS, "cifar100", a_hundred_classes)
    spec = small_run(data=data_spec("cifar100", 100))
    written, labels = execute(spec, store), store.labels("cifar100")
    record = Store(store.root).consistent("cifar100", spec.run_id)
    assert record == written and not caplog.records
    assert labels == "".join(f"{c:02}" for c in range(100)) * 2
    assert len(record["predictions"]) == 400 and record["test"]["n"] == 200
    said = [int(record["predictions"][i : i + 2]) for i in range(0, 400, 2)]
    errors = sum(one != i % 100 for i, one in enumerate(said))
    assert record["test"]["errors"] == errors
    for known in (record, None):  # before there is any record too
        frame = pd.DataFrame({"dataset": ["cifar100"], "record": [known]})
        found = Findings("q1", frame, {"cifar100": labels})
        found.claim("one", "kd", "hard", samples.Sample({}, frozenset(), {}, {}))
        assert found.claims["one"].images == found.images("cifar100") == 200
        assert found.claims["one"].delta == 1.0  # 0.5 %
    # A shift by one digit keeps what the text consists of, and is refused.
    text = record["predictions"]
    forged = {**record, "predictions": text[1:] + text[:1]}
    for known in (labels, ""):
        with pytest.raises(ValueError, match="predictions"):
            layout.check(forged, layout.Record, known)
    for odd in (text[:-1], text[:-1] + " ", text[:-1] + "\N{ARABIC-INDIC DIGIT ONE}"):
        for known in (labels, ""):
            with pytest.raises(ValueError, match="predictions"):
                layout.check({**record, "predictions": odd}, layout.Record, known)


@pytest.mark.parametrize("classes", [2, 10, 11, 100, 101])
def test_predicted_classes_have_room_whatever_their_number(classes):
    text, width = run.as_text(torch.arange(classes), classes), len(str(classes - 1))
    assert text == "".join(f"{c:0{width}}" for c in range(classes))


@pytest.mark.parametrize(
    ("images", "w_hard"),
    [(dict(share=0.1, draw=1, unlabelled=True), 0.1), (dict(noise=True), 0.0)],
)
def test_unlabelled_images_and_noise_teach_through_a_teacher(store, images, w_hard):
    changed = dataclasses.replace(STUDENT.data, **images)
    loss = LossSpec("kd", 4.0, w_hard, 1 - w_hard)
    record = execute(dataclasses.replace(STUDENT, data=changed, loss=loss), store)
    assert all(map(math.isfinite, record["history"]["loss_soft"]))
    assert (record["soft_targets"] is None) == changed.noise
