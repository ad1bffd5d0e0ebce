"""One spec, one record: trained once, reproducible, bound to its teacher's weights."""

from __future__ import annotations

import dataclasses
import math
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from conftest import small_grid, small_run
from darkknowledge import cost, data, metrics, run, training
from darkknowledge.records import Store, file_sha256
from darkknowledge.run import execute
from darkknowledge.spec import DataSpec, LossSpec, ModelSpec, SpecError, data_spec
from small_project import timeless

pytestmark = pytest.mark.usefixtures("synthetic")

TEACHER, BASELINE, STUDENT = small_grid()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that were really trained, in order."""
    names = []

    def spy(*args, name, **kwargs):
        names.append(name)
        return training.fit(*args, name=name, **kwargs)

    monkeypatch.setattr(run, "fit", spy)
    return names


def test_a_run_is_trained_once(store, trained):
    first = execute(BASELINE, store)
    again = execute(BASELINE, store)
    assert trained == [BASELINE.label]
    assert timeless(first) == timeless(again)


def test_a_run_from_scratch_in_another_store_gives_the_same_record(tmp_path):
    stores = [Store(tmp_path / name) for name in ("here", "there")]
    found = [timeless(execute(STUDENT, store)) for store in stores]
    assert found[0] == found[1]
    assert [execute(STUDENT, s)["history"]["loss_soft"] for s in stores].count([0.0, 0.0]) == 0


def test_a_record_holds_the_whole_spec_and_one_predicted_digit_a_test_image(store):
    record = execute(STUDENT, store)
    assert record["spec"] == STUDENT.full() and record["run_id"] == STUDENT.run_id
    assert len(record["predictions"]) == record["test"]["n"] == 100
    labels = data.load(STUDENT.data).test.labels.tolist()
    wrong = sum(int(p) != y for p, y in zip(record["predictions"], labels, strict=True))
    assert wrong == record["test"]["errors"]
    assert record["validation"]["n"] == 50
    assert {len(column) for column in record["history"].values()} == {STUDENT.recipe.epochs}


def test_a_teacher_is_a_run_that_its_students_share(store, trained):
    execute(STUDENT, store)
    execute(dataclasses.replace(STUDENT, seed=1), store)
    assert trained.count(TEACHER.label) == 1 and len(trained) == 3
    assert run.stored(TEACHER, store)["run_id"] == STUDENT.teacher.run_id


def test_a_students_record_names_the_very_weights_that_taught_it(store):
    record = execute(STUDENT, store)
    digest = file_sha256(store.weights_path(TEACHER.run_id))
    assert record["teacher_weights_sha256"] == digest
    assert run.stored(TEACHER, store)["weights_sha256"] == digest
    assert execute(BASELINE, store)["teacher_weights_sha256"] is None


def test_a_student_is_not_lost_when_its_teachers_weights_vanish_while_it_trains(store):
    """Its record names the weights that it was taught by, not those that lie there at the end."""

    def vanish(spec, epoch):
        if spec == STUDENT:
            store.weights_path(TEACHER.run_id).unlink(missing_ok=True)

    record = execute(STUDENT, store, on_epoch=vanish)
    assert record["teacher_weights_sha256"] == run.stored(TEACHER, store)["weights_sha256"]


def test_the_numbers_of_a_record_are_those_of_the_stored_weights(store):
    record = execute(STUDENT, store)
    dataset = data.load(STUDENT.data)
    nets = [run.trained_network(s, dataset.shape, store) for s in (STUDENT, TEACHER)]
    for name in ("validation", "test"):
        split = getattr(dataset, name)
        student, teacher = (training.logits(n, split.images, "fp32") for n in nets)
        assert metrics.report(student, split.labels, teacher) == record[name]
    assert "".join(map(str, student.argmax(1).tolist())) == record["predictions"]


def test_weights_are_stored_as_fp16_and_loaded_as_fp32_in_eval_mode(store):
    execute(BASELINE, store)
    net = run.trained_network(BASELINE, (1, 8, 8), store)
    assert not net.training
    for p in net.parameters():
        assert p.dtype == torch.float32 and torch.equal(p, p.half().float())


def test_a_stored_run_needs_no_weights_but_a_new_student_does(store, trained):
    execute(STUDENT, store)
    store.weights_path(TEACHER.run_id).unlink()
    trained.clear()
    execute(STUDENT, store)
    execute(TEACHER, store)
    assert trained == []
    other = dataclasses.replace(STUDENT, seed=1)
    execute(other, store)
    assert trained == [TEACHER.label, other.label]


def test_a_teacher_whose_weights_were_altered_is_trained_again(store, trained):
    whole = execute(TEACHER, store)["weights_sha256"]
    path = store.weights_path(TEACHER.run_id)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    record = execute(STUDENT, store)
    assert trained == [TEACHER.label, TEACHER.label, STUDENT.label]
    assert record["teacher_weights_sha256"] == file_sha256(path) == whole


def test_a_broken_record_is_set_aside_and_its_run_trained_again(store, trained, caplog):
    whole = execute(BASELINE, store)
    path = store.record_path(BASELINE.data.name, BASELINE.run_id)
    path.write_text(path.read_text()[:-100])
    again = execute(BASELINE, store)
    assert trained == [BASELINE.label] * 2
    assert timeless(again) == timeless(whole)
    assert path.with_name(path.name + ".broken").exists() and path.name in caplog.text


def test_an_untrained_teacher_is_a_net_at_its_initialisation(store):
    novice = small_run(seed=100, epochs=0)
    spec = small_run(loss=LossSpec.mix("untrained_teacher", 4, 0.9), teacher=novice)
    execute(spec, store)
    net = run.trained_network(novice, (1, 8, 8), store)
    for found, start in zip(
        net.parameters(), run.network(novice, (1, 8, 8)).parameters(), strict=True
    ):
        assert torch.equal(found, start.half().float())


def test_an_omitted_class_is_missing_from_training_and_present_in_the_test(store):
    spec = dataclasses.replace(BASELINE, data=dataclasses.replace(BASELINE.data, omit=(3,)))
    record = execute(spec, store)
    assert record["provenance"]["training_images"] == 315  # of 350
    assert sum(record["test"]["confusion"][3]) == 10


def test_a_run_that_diverges_leaves_a_note_in_place_of_a_record_and_is_not_tried_again(
    store, trained
):
    spec = small_run(lr=1e20, schedule="constant")
    for _ in range(2):
        with pytest.raises(training.NonFiniteLoss, match=rf"{spec.run_id}.*epoch 1"):
            execute(spec, store)
    assert run.stored(spec, store) is None
    assert trained == [spec.label]
    assert store.diverged("mnist5k", spec.run_id)["spec"] == spec.full()


def test_a_student_of_a_diverged_teacher_is_not_said_to_have_diverged(store):
    teacher = dataclasses.replace(TEACHER, recipe=small_run(lr=1e20, schedule="constant").recipe)
    orphan = dataclasses.replace(STUDENT, teacher=teacher)
    with pytest.raises(training.NonFiniteLoss, match=teacher.run_id):
        execute(orphan, store)
    assert store.diverged("mnist5k", teacher.run_id)
    assert store.diverged("mnist5k", orphan.run_id) is None


def test_a_run_whose_weights_do_not_fit_into_fp16_stops_with_its_name_and_leaves_no_record(store):
    """Its losses are healthy, but its stored weights would be infinite and its numbers NaN."""
    spec = small_run(lr=1e8, schedule="constant", epochs=1, batch_size=350)
    with pytest.raises(training.NonFiniteLoss, match=spec.run_id):
        execute(spec, store)
    assert run.stored(spec, store) is None


def test_the_true_classes_of_the_test_images_are_kept_beside_the_records(store):
    execute(BASELINE, store)
    labels = data.load(BASELINE.data).test.labels.tolist()
    assert store.labels("mnist5k") == "".join(map(str, labels))


def test_two_that_want_the_same_run_at_once_train_it_once(store, trained, monkeypatch):
    spy = run.fit

    def slow(*args, **kwargs):
        time.sleep(0.3)
        return spy(*args, **kwargs)

    monkeypatch.setattr(run, "fit", slow)
    threads = [threading.Thread(target=execute, args=(BASELINE, store)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trained == [BASELINE.label]


def test_progress_names_the_run_and_its_epochs(store):
    told = []
    execute(STUDENT, store, on_epoch=lambda spec, epoch: told.append((spec, epoch.epoch)))
    assert told == [(TEACHER, 1), (TEACHER, 2), (STUDENT, 1), (STUDENT, 2)]


def test_data_spec_pins_the_fingerprint_of_a_known_data_set():
    assert data_spec("mnist", 5000, keep=(7, 8)) == DataSpec(
        "mnist", data.FINGERPRINTS["mnist"], 5000, keep=(7, 8)
    )
    for name in data.FINGERPRINTS:
        pinned = data_spec(name, 500).fingerprint
        assert re.fullmatch(r"[0-9a-f]{64}|md5:[0-9a-f]{32}", pinned)


GRID = """
import sys, time
sys.path.insert(0, sys.argv[2])
import conftest
from darkknowledge.records import Store
from darkknowledge.run import execute

conftest.install_synthetic()

def report(spec, epoch):
    if spec.run_id == sys.argv[3]:
        print("halfway", flush=True)
        time.sleep(3600)

for spec in conftest.small_grid():
    execute(spec, Store(sys.argv[1]), on_epoch=report)
"""


@pytest.mark.slow
def test_a_grid_killed_midway_is_completed_by_the_next_call_as_if_undisturbed(tmp_path, trained):
    disturbed, calm = Store(tmp_path / "disturbed"), Store(tmp_path / "calm")
    words = [sys.executable, "-c", GRID, str(disturbed.root), str(Path(__file__).parent)]
    with subprocess.Popen([*words, BASELINE.run_id], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "halfway\n"
        finally:
            process.send_signal(signal.SIGKILL)
    assert run.stored(TEACHER, disturbed) and not run.stored(BASELINE, disturbed)
    found = [execute(spec, disturbed) for spec in small_grid()]
    assert trained == [BASELINE.label, STUDENT.label]
    assert [*map(timeless, found)] == [timeless(execute(spec, calm)) for spec in small_grid()]


def test_a_run_on_a_device_that_is_not_there_is_known_beforehand():
    assert run.available("cpu")
    assert run.available("cuda") == torch.cuda.is_available()


def test_a_label_tells_runs_apart():
    specs = [TEACHER, BASELINE, STUDENT, small_run(model=ModelSpec("mlp", (8,)))]
    assert len({s.label for s in specs}) == 4
    assert all(s.run_id in s.label for s in specs)


def test_a_student_that_never_saw_a_class_keeps_what_its_bias_can_do(store):
    """The shifts are counted on the very predictions of the record, with pictures beside them."""
    spec = dataclasses.replace(STUDENT, data=dataclasses.replace(STUDENT.data, omit=(3,)))
    record = execute(spec, store)
    unseen = record["unseen"]
    assert unseen["classes"] == [3]
    assert unseen["none"]["errors"] == record["test"]["errors"]
    assert unseen["none"]["confusion"] == record["test"]["confusion"]
    assert unseen["oracle"]["errors"] <= unseen["none"]["errors"]
    assert sum(map(sum, unseen["validation"]["confusion"])) == record["test"]["n"]
    examples = torch.tensor(unseen["examples"])
    assert examples.shape == (1, 10, 10)
    # The first ten test images of the class, in the order of the test set.
    told = [
        int(c)
        for c, t in zip(record["predictions"], store.labels("mnist5k"), strict=True)
        if t == "3"
    ]
    assert examples[0].argmax(1).tolist() == told[:10]
    assert store.examples_path("mnist5k").read_bytes().startswith(b"\x89PNG")


def test_only_runs_on_a_restricted_set_have_shifts_and_only_taught_ones_soft_targets(store):
    student, baseline = execute(STUDENT, store), execute(BASELINE, store)
    assert student["unseen"] is baseline["unseen"] is baseline["soft_targets"] is None
    assert student["soft_targets"]["images"] == 350
    assert sum(student["soft_targets"]["mass"]) == pytest.approx(1, abs=1e-4)


def test_a_record_is_never_overwritten_by_a_training_that_comes_out_otherwise(store, monkeypatch):
    """As on another kind of processor: the record stays, and its weights are asked for."""
    execute(TEACHER, store)
    record = store.read("mnist5k", TEACHER.run_id)
    store.weights_path(TEACHER.run_id).unlink()
    real = training.fit

    def elsewhere(model, *args, **kwargs):
        history = real(model, *args, **kwargs)
        with torch.no_grad():
            next(model.parameters()).add_(0.01)
        return history

    with monkeypatch.context() as patch:
        patch.setattr(run, "fit", elsewhere)
        with pytest.raises(run.NotReproduced, match="copy .*safetensors from where it was trained"):
            execute(STUDENT, store)
    assert store.read("mnist5k", TEACHER.run_id) == record
    assert not store.weights_path(TEACHER.run_id).exists()
    execute(STUDENT, store)  # the same training brings the weights back, and leaves the record
    assert store.read("mnist5k", TEACHER.run_id) == record
    assert file_sha256(store.weights_path(TEACHER.run_id)) == record["weights_sha256"]


def test_a_record_names_its_processor_and_what_eight_bits_leave(store):
    record = execute(STUDENT, store)
    assert record["provenance"]["processor"] == cost.processor()
    assert 0 <= record["test_int8"]["errors"] <= 100


@pytest.mark.parametrize("multiplies", [True, False])
def test_bf16_is_for_processors_that_multiply_it(monkeypatch, multiplies):
    monkeypatch.setattr(cost, "multiplies_bf16", lambda: multiplies)
    in_bf16 = dataclasses.replace(BASELINE, precision="bf16")
    assert run.trainable(in_bf16) is multiplies
    assert run.trainable(dataclasses.replace(BASELINE, precision="fp32"))


@pytest.mark.parametrize("classes", [2, 10, 11, 100, 101])
def test_predicted_classes_have_room_whatever_their_number(classes):
    labels = torch.arange(classes)
    text = run.as_text(labels, classes)
    width = len(text) // classes
    assert [int(text[i : i + width]) for i in range(0, len(text), width)] == labels.tolist()
    assert width == (1 if classes <= 10 else len(str(classes - 1)))


def test_unlabelled_images_and_noise_teach_through_a_teacher(store):
    kd = LossSpec("kd", 4.0, 0.1, 0.9)
    few = dataclasses.replace(STUDENT.data, share=0.1, draw=1, unlabelled=True)
    noise = dataclasses.replace(STUDENT.data, noise=True)
    for changes in (
        {"data": few, "loss": kd},
        {"data": noise, "loss": LossSpec("kd", 4.0, 0.0, 1.0)},
    ):
        record = execute(dataclasses.replace(STUDENT, **changes), store)
        assert all(map(math.isfinite, record["history"]["loss_soft"]))
        assert (record["soft_targets"] is None) == changes["data"].noise
    with pytest.raises(SpecError, match="label of every image"):
        dataclasses.replace(STUDENT, data=few, loss=dataclasses.replace(kd, mode="target_part"))
    with pytest.raises(SpecError, match="w_hard"):
        dataclasses.replace(STUDENT, data=noise, loss=kd)
