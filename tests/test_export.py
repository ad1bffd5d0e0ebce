"""Exported networks: the same bytes, a card that holds, and an ONNX file that says what the net says."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from PIL import Image

import small_project
from conftest import REPOSITORY, small_run
from darkknowledge.experiment import data, export, models, published, run
from darkknowledge.experiment.cards import Card
from darkknowledge.records import Store
from darkknowledge.spec import ModelSpec, RunSpec, data_spec

pytestmark = pytest.mark.slow  # networks are trained

#: An id that four digits do not tell from the next one.
TWINS = "abcd000000000001", "abcd000000000002"
#: Networks, and the real digits that they are trained on for a moment.
NETS = {"mlp-24-16": "mnist5k", "plain_cnn-2-4-4": "mnist5k_rgb"}


def spec_of(net: str) -> RunSpec:
    where = data_spec(NETS[net], 3500)  # all but 500 images are held out
    dropout = {"dropout_input": 0.1, "dropout_hidden": 0.2} if net.startswith("mlp") else {}
    return small_run(data=where, model=ModelSpec.named(net, **dropout), epochs=1, lr=0.05)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("stored") / "results")


@pytest.fixture(scope="module", params=NETS)
def exported(request, project, stored) -> Path:
    """The weights of a run that was exported by the command, from the first digits of its id."""
    record = run.execute(spec_of(request.param), stored)
    folder, results = project / "exported", str(stored.root)
    done = small_project.here(project, "export", record["run_id"][:6], "--results", results)
    names = [Path(line) for line in done.stdout.splitlines()]
    endings = (".safetensors", ".json", ".onnx")
    assert names == [folder / f"{record['run_id']}{ending}" for ending in endings]
    assert not done.stderr
    return names[0]


@pytest.mark.parametrize("batch", [1, 7])
def test_the_onnx_file_gives_the_logits_of_the_net_on_real_digits(exported, batch):
    model, card = published.network(exported)
    digits = data.scaled(data.load(card.data).test.images[:batch])
    found = ReferenceEvaluator(str(exported.with_suffix(".onnx"))).run(
        [export.LOGITS], {export.IMAGES: digits.numpy()}
    )
    with torch.no_grad():
        due = model(digits)
    assert due.shape == (batch, 10) and due.std() > 0.01
    torch.testing.assert_close(torch.from_numpy(found[0]), due, rtol=0, atol=1e-4)


@pytest.mark.parametrize("net", ["airbench-2-4-4", "resnet8"])
def test_other_networks_become_onnx_as_well(net):
    """With whitened inputs, a global max-pool, shortcuts that are padded; untrained, on real digits."""
    spec, where = ModelSpec.named(net), data_spec("mnist5k_rgb", 3500)
    digits = data.load(where)
    model = models.build(spec, digits.shape, 10, seed=0).eval()
    model.see(digits.train.images)
    names = tuple("abcdefghij")
    card = Card("0123456789abcdef", net, spec, where, digits.shape, names, 0, 1000, "0")
    images = data.scaled(digits.test.images[:3])
    file = onnx.load_from_string(export.onnx_of(model, card))
    found = ReferenceEvaluator(file).run(None, {export.IMAGES: images.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), model(images), rtol=1e-4, atol=1e-4)


def test_the_onnx_file_says_what_goes_in_and_what_comes_out(exported):
    content, card = exported.with_suffix(".onnx").read_bytes(), published.read_card(exported)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["run_id"] == card.run_id and json.loads(told["classes"]) == list(card.classes)
    for value, name, rest in (
        (model.graph.input, export.IMAGES, list(card.shape)),
        (model.graph.output, export.LOGITS, [10]),
    ):
        assert [one.name for one in value] == [name]
        kind = value[0].type.tensor_type
        assert kind.elem_type == onnx.TensorProto.FLOAT
        sizes = [size.dim_param or size.dim_value for size in kind.shape.dim]
        assert isinstance(sizes[0], str) and sizes[1:] == rest
    for place in (str(REPOSITORY), "site-packages", str(Path.home())):
        assert place.encode() not in content
    assert export.onnx_of(*published.network(exported)) == content


def test_the_weights_keep_their_bytes_and_the_card_holds(exported, stored, project, tmp_path):
    card = published.read_card(exported)
    record = stored.read(card.data.name, card.run_id)
    assert exported.read_bytes() == stored.weights_path(card.run_id).read_bytes()
    assert card.test_errors == record["test"]["errors"] and card.sha256 == record["weights_sha256"]
    done = small_project.here(project, "evaluate", str(exported))
    assert done.stdout.startswith(f"{card.test_errors} errors of 1000 ({card.test_errors} on")
    digit = data.load(card.data).test.images[0].permute(1, 2, 0).squeeze(2)
    Image.fromarray(digit.numpy()).save(tmp_path / "digit.png")
    done = small_project.here(project, "predict", str(exported), str(tmp_path / "digit.png"))
    assert record["predictions"][0] == done.stdout.split(": ")[1].split()[0]


def refused(project: Path, *words: str, code: int = 2) -> str:
    done = small_project.here(project, "export", *words, code=code)
    assert not done.stdout and done.stderr.count("\n") == 1
    return done.stderr


def test_what_names_no_run_or_several_is_refused_in_one_sentence(project, tmp_path):
    (tmp_path / "runs" / "mnist").mkdir(parents=True)
    for run_id in TWINS:
        (tmp_path / "runs" / "mnist" / f"{run_id}.json").write_text("{}")
    where = ("--results", str(tmp_path))
    assert "begins the ids of 2 runs" in refused(project, "abcd", *where)
    assert "No run" in refused(project, "1234", *where)
    assert "No run" in refused(project, "../../etc/passwd", *where)
    assert "at least 4 digits" in refused(project, "abc", *where)
    (tmp_path / "file").touch()
    assert "is no folder" in refused(project, TWINS[0], "--to", str(tmp_path / "file"), *where)
    done = small_project.here(project, "export", TWINS[0], *where, code=2)
    assert "is not whole" in done.stderr and "Traceback" not in done.stderr


def test_weights_that_are_lost_are_trained_again_by_the_command_that_is_named(project):
    planned = small_project.planned(project, "quick")
    run_id = next(one.spec.run_id for one in planned if one.spec.teacher is None)
    small_project.here(project, "-q", "train", "quick", "--only", run_id)
    with small_project.inside(project):
        weights = Store(project / "results").weights_path(run_id)
    content = weights.read_bytes()
    weights.unlink()
    said = refused(project, run_id, code=1)
    words = said.partition("'darkknowledge ")[2].partition("'")[0].split()
    assert words[:2] == ["train", "quick"] and run_id in words
    small_project.here(project, "-q", *words)
    assert weights.read_bytes() == content
    small_project.here(project, "export", run_id)
    assert (project / "exported" / weights.name).read_bytes() == content


def test_weights_of_a_run_that_no_profile_trains_are_to_be_copied(project, stored):
    record = run.execute(spec_of("mlp-24-16"), stored)
    path = stored.weights_path(record["run_id"])
    content = path.read_bytes()
    path.unlink()
    try:
        said = refused(project, record["run_id"], "--results", str(stored.root), code=1)
    finally:
        path.write_bytes(content)
    assert f"copy {path.name} from where it was trained" in said


def test_without_the_packages_that_write_onnx_it_says_which(project, stored, monkeypatch):
    record = run.execute(spec_of("mlp-24-16"), stored)
    monkeypatch.setattr(export, "WRITERS", ("onnx", "a_package_that_is_not_here"))
    said = refused(project, record["run_id"], "--results", str(stored.root), code=1)
    assert "a_package_that_is_not_here" in said and "make setup" in said
