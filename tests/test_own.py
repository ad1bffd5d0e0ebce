"""One's own images: what a folder may hold, which networks it takes, and the way to its paper."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

import small_project
from darkknowledge import config, own
from darkknowledge.experiment import cards, data, folder, models, published
from darkknowledge.experiment.data import DataError
from darkknowledge.records import Store
from darkknowledge.spec import FINGERPRINTS, TORCHVISION, DataSpec, ModelSpec, SpecError

#: How many images of each class a folder gets: uneven, and more classes than a digit can name.
COUNTS = {"zero": 60, "one": 50, "two_2": 40, "rain*drops": 30, "Fünf": 25, "six": 20, "seven": 20,
          "eight": 20, "nine": 15, "ten": 12, "inverted zero": 40, "inverted one": 10}  # fmt: skip


def write(root: Path, counts: dict[str, int], size: int = 0) -> Path:
    """Real digits as PNGs, a subfolder per class; what is inverted is another class."""
    found = load_digits()
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i, image in enumerate(found.images[found.target == label % 10][:count]):
            pixels = np.uint8(image * 255 / 16)
            picture = Image.fromarray(255 - pixels if "inverted" in name else pixels)
            picture.resize((size or 8,) * 2).save(root / name / f"{i:03d}.png")
    return root


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("own images") / "my digits", COUNTS)


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    """Decoded pixels are kept below the home folder."""
    place = tmp_path_factory.getbasetemp() / "home"
    place.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(place))
    return place


# -- folders -----------------------------------------------------------------------------------------


def own_splits(root: Path, side: int = 8, grey: bool = True):
    found = folder.find(root)
    return folder.read(found, found.fingerprint(), side, grey)


def test_a_folder_s_images_are_split_by_the_proportions_of_the_classes(images):
    (train, test), classes = own_splits(images)
    assert classes == tuple(sorted(COUNTS))
    assert len(train) + len(test) == sum(COUNTS.values())
    for label, name in enumerate(classes):
        ours = int((test.labels == label).sum())
        assert abs(ours - folder.TEST_SHARE * COUNTS[name]) <= 1, name
    there = Image.open(images / "zero" / "000.png")
    pixels = torch.from_numpy(np.array(there))
    assert any(torch.equal(pixels, image[0]) for image in (*train.images, *test.images))


@pytest.mark.parametrize(("trains", "tests"), [("train", "val"), ("Training", "TEST")])
def test_train_and_test_folders_are_kept_apart(images, tmp_path, trains, tests):
    for part, count in ((trains, 10), (tests, 4)):
        for name in COUNTS:
            for path in sorted((images / name).iterdir())[:count]:
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / part / name)
    (train, test), _ = own_splits(tmp_path)
    assert (len(train), len(test)) == (10 * len(COUNTS), 4 * len(COUNTS))
    assert folder.twins(train, test) == len(test)  # here each was trained on too
    assert folder.twins(*own_splits(images)[0]) == 0


def test_pixels_are_decoded_once_and_again_when_an_image_changes(images, tmp_path, monkeypatch):
    root = shutil.copytree(images, tmp_path / "copy")
    (before, _), _ = own_splits(root)
    seen: list[Path] = []
    upright = folder.pictures.upright
    monkeypatch.setattr(folder.pictures, "upright", lambda p: seen.append(p) or upright(p))
    known = folder.find(root).fingerprint()
    (again, _), _ = folder.read(folder.find(root), known, 8, True)
    assert not seen and torch.equal(before.images, again.images)
    Image.new("L", (8, 8), 77).save(root / "zero" / "000.png")
    with pytest.raises(DataError, match="not those of the profile"):
        folder.read(folder.find(root), known, 8, True)
    own_splits(root)
    assert len(seen) == sum(COUNTS.values())


@pytest.mark.parametrize(
    ("mode", "ending"), [("L", "png"), ("RGB", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("LA", "webp"),
                         ("I;16", "png"), ("1", "png"), ("RGB", "tif"), ("RGBA", "png")]
)  # fmt: skip
def test_an_image_is_the_same_to_a_data_set_and_to_predict(tmp_path, mode, ending):
    """Whatever its format, what a network was trained on is what it is asked about."""
    grey = np.linspace(0, 255, 48 * 40).reshape(48, 40)
    image = Image.fromarray(np.uint8(grey)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.uint16(grey * 257))
    for name in ("a", "b"):
        for i in range(folder.FEWEST_ALONE):
            (tmp_path / name).mkdir(exist_ok=True)
            image.save(tmp_path / name / f"{i}.{ending}")
    (train, _), _ = own_splits(tmp_path, side=16, grey=False)
    if ending in ("png", "jpg"):
        found = published.read_image(tmp_path / "a" / f"0.{ending}", (3, 16, 16), False, None)
        assert torch.equal(found, train.images[0])
    spread = train.images.float().mean((0, 1))
    assert spread[:, 8].diff().min() >= -1 and spread[-1].mean() > 200 > 60 > spread[0].mean()


def spoiled(root: Path, how: str) -> Path:
    """A folder that nothing can be learned from."""
    if how == "absent":
        return root / "nothing"
    if how == "no text" and sys.platform == "darwin":
        pytest.skip("macOS has no such file names")
    counts = {"one class": {"zero": 9}, "two images": {"zero": 9, "one": 2}}
    counts |= {"two lines": {"zero\nnought": 9, "one": 9}, "no text": {"z\udcff": 9, "one": 9}}
    counts |= {"tests": {"test/zero": 9, "test/one": 9, "val/zero": 9, "val/one": 9}}
    write(root, counts.get(how, {"zero": 9, "one": 9}))
    if how == "unreadable":
        (root / "one" / "000.png").write_text("no image")
    elif how == "foreign":
        for part, names in (("train", ("zero", "one")), ("test", ("zero", "uno"))):
            for name in names:
                shutil.copytree(root / "one", root / part / name)
    elif how == "untested":
        for part, count in (("train", 9), ("test", 0)):
            write(root / part, {"zero": 9, "one": count})
    elif how == "flat":
        for path in root.rglob("*.png"):
            path.rename(root / f"{path.parent.name}{path.name}")
    return root


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("absent", "There is no folder"),
        ("one class", "only the class 'zero'"),
        ("two lines", r"'zero\\nnought' has signs that no text can show"),
        ("no text", "signs that no text can show"),
        ("tests", "test has no train/ beside it"),
        ("flat", "has no class|has only 0 images"),
        ("two images", "'one' of .* has only 2 images: it needs 5"),
        ("unreadable", r"000\.png cannot be read"),
        ("foreign", "'one' of .* is not in both of train/ and test/"),
        ("untested", "'one' of .* is not in both of train/ and test/"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_is_refused_in_one_sentence(tmp_path, how, says):
    with pytest.raises(DataError, match=says):
        own_splits(spoiled(tmp_path / "set", how))


def test_classes_may_be_called_like_parts_and_what_is_left_out_is_told(tmp_path):
    root = write(tmp_path / "set", {"train": 30, "valid": 30, "others": 30})
    (root / "valid" / "Thumbs.db").touch()
    for i in range(2):
        (root / "valid" / f"{i}.heic").touch()
    about, told = own._looked_at(own.Request("mine", str(root)))
    assert about["classes"] == ("others", "train", "valid")
    assert told[1:] == ["Files that are not read: 2 .heic."]


def test_a_folder_for_a_test_beside_another_is_told_as_not_used(tmp_path):
    root = tmp_path / "set"
    for part in ("train", "val", "test"):
        write(root / part, {"zero": 30, "one": 30})
    told = own._looked_at(own.Request("mine", str(root)))[1]
    assert f"Not used, as there is another folder: {root / 'val'}." in told


@pytest.mark.parametrize("counts", [(20, 27, 5), (5, 5, 5), (200, 5, 9)])
def test_every_class_is_tested_and_trained_on_however_small(tmp_path, counts):
    root = write(tmp_path / "set", dict(zip(("zero", "one", "two"), counts, strict=True)))
    for split in own_splits(root)[0]:
        assert split.labels.bincount(minlength=3).min() >= 1


def test_grey_images_stay_grey_for_networks_that_take_them_alone(images):
    for chosen, grey in (
        ({}, True),
        ({"student": "resnet20"}, False),
        ({"teacher": "mlp-9"}, True),
    ):
        about, _ = own._looked_at(own.Request("mine", str(images), **chosen))
        assert about["data"]["grey"] is grey, chosen


# -- networks ----------------------------------------------------------------------------------------


def test_torchvision_s_classification_networks_are_known_by_name():
    """But for those that ours are called like, and two whose training has further outputs."""
    theirs = set(torchvision.models.list_models(module=torchvision.models))
    ours = {"resnet18", "resnet34", "resnet50", "vgg13"}
    assert set(TORCHVISION) == theirs - ours - {"googlenet", "inception_v3"}


@pytest.fixture
def module(project, monkeypatch) -> str:
    """A module of networks beside a project's ``params/``."""
    text = (
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(),\n"
        "                         nn.Linear(16, num_classes))\n"
        "def wrong(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 7))\n"
        "def broken(num_classes):\n    raise KeyError('nope')\n"
        "def none(num_classes):\n    return 3\n"
    )
    (project / "nets_of_mine.py").write_text(text)
    monkeypatch.chdir(project)
    small_project.forget()
    return "nets_of_mine"


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet20", "airbench-4-4-4", "mine"])
def test_a_network_is_made_for_any_number_of_classes_and_any_size(module, name):
    label = f"{module}:net" if name == "mine" else name
    spec = ModelSpec.named(label, code=config.code_of(label))
    net = models.build(spec, (3, 24, 24), 13, seed=0)
    assert net.eval()(torch.zeros(2, 3, 24, 24)).shape == (2, 13)
    again = models.build(spec, (3, 24, 24), 13, seed=0)
    assert all(map(torch.equal, net.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("wrong", r"outputs of shape \(2, 7\)"),
        ("broken", "KeyError: 'nope'"),
        ("none", "makes int"),
        ("absent", "has no attribute"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_in_one_sentence(module, name, says):
    label = f"{module}:{name}"
    with pytest.raises(SpecError, match=says):
        models.build(ModelSpec.named(label, code=config.code_of(label)), (3, 32, 32), 5, seed=0)


def test_a_network_of_one_s_own_is_another_one_when_its_code_changes(module, project):
    before = ModelSpec.named(f"{module}:net", code=config.code_of(f"{module}:net"))
    path = project / f"{module}.py"
    path.write_text(path.read_text().replace("Conv2d(3, 4, 3)", "Conv2d(3, 4, 5)"))
    assert config.code_of(f"{module}:net") != before.code
    with pytest.raises(SpecError, match="not that of its run any more"):
        models.build(before, (3, 32, 32), 5, seed=0)


@pytest.mark.parametrize(
    "name", ["mlpp", "mobilnet_v3_small", "a:b:c", "no_module_here:net", ":x", 3]
)
def test_a_name_of_no_network_is_refused(project, monkeypatch, name):
    monkeypatch.chdir(project)
    with pytest.raises(SpecError):
        config.code_of(ModelSpec.named(name).name)


def test_a_data_set_of_one_s_own_takes_no_known_name():
    DataSpec("flowers", "ab", 5, classes=120, side=16)
    for name in (*FINGERPRINTS, "../x", ""):
        with pytest.raises(SpecError):
            DataSpec(name, "ab", 5, classes=3, side=16)


# -- from a folder to a paper ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def profile(project, images) -> Path:
    """A profile of the folder, as ``new`` writes it, with two blocks."""
    environment = {"HOME": str(images.parent)}
    words = ["new", "mine", "--data", str(images), "--minutes", "0.1"]
    told = small_project.here(project, *words, **environment).stdout
    assert "342 grey images of 12 classes (8 to 49 of each to train on)" in told
    assert "darkknowledge run mine; darkknowledge render mine" in told
    for path in (project / "params" / "mine").glob("q*.yaml"):
        found = yaml.safe_load(path.read_text())
        counts = {k: min(2, n) for k, n in found.items() if k.startswith("n_")}
        path.write_text(yaml.safe_dump({**found, **counts, "blocks": [0, 1]}))
    return project / "params" / "mine"


@pytest.mark.slow
def test_a_folder_leads_to_a_paper_that_speaks_of_its_classes(project, profile, images):
    environment = {"HOME": str(images.parent)}
    small_project.here(project, "train", "mine", **environment)
    small_project.call(project, "run", "mine", "q4", **environment)  # a real notebook
    small_project.call(project, "render", "mine", **environment)
    folder = project / "_output" / "mine" / "report"
    assert (folder / "index.pdf").stat().st_size > 20_000
    page = (folder / "index.html").read_text(encoding="utf-8")
    page = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S)
    words = " ".join(re.sub("<[^>]+>", " ", page).split())
    for name in (*COUNTS, "Does distillation pay here?", "12 classes"):
        assert name in words, name
    for stray in ("digit", "MNIST", "threes", "jinja", "None", "nan "):
        assert stray not in words, stray
    assert (
        len(Store(project / "results").labels("mine")) == 2 * 68
    )  # two digits for each test image


@pytest.mark.slow
def test_a_trained_network_teaches_in_another_profile(project, profile, images, tmp_path):
    """Given as a file: its accuracy is measured first, every block has it, and nobody trains it again."""
    environment = {"HOME": str(images.parent)}
    small_project.here(project, "train", "mine", "q2", **environment)
    store = Store(project / "results")
    with small_project.inside(project):
        plan = small_project.planned(project, "mine")
        teacher = next(one.spec for one in plan if one.arm == "teacher")
        record = store.read("mine", teacher.run_id)
        weights = store.weights_path(teacher.run_id)
        published.write_card(store, record)
    new = ["new", "given", "--data", str(images), "--minutes", "0.1", "--teacher-weights"]
    told = small_project.here(project, *new, str(weights), **environment).stdout
    right = re.search(r"The given teacher recognises ([0-9.]+)% of the validation images", told)
    assert right and abs(float(right[1]) / 100 - record["validation"]["accuracy"]) < 0.05
    with small_project.inside(project):
        plan = small_project.planned(project, "given")
        given = {one.spec.teacher for one in plan if one.spec.teacher and one.arm == "kd"}
    assert {one.given for one in given} == {cards.read_card(weights).sha256} and len(given) == 5
    small_project.here(
        project, "train", "given", "q2", "--only", next(iter(given)).run_id, **environment
    )
    found = store.read("given", next(iter(given)).run_id)
    assert found["predictions"] == record["predictions"] and not found["history"]["epoch"]

    state = load_file(weights)
    last = [name for name in state if name.endswith("weight")][-1]
    save_file(state | {last: state[last].roll(1, 0)}, tmp_path / "other.safetensors")
    save_file(state | {last: state[last][:5].contiguous()}, tmp_path / "fewer.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04 no weights")
    for name in ("other", "fewer", "pickle", "absent"):
        path = str(tmp_path / f"{name}.safetensors")
        words = ["new", "not", "--data", str(images), "--teacher-weights", path]
        done = small_project.here(project, *words, code=2, **environment)
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (project / "params" / "not").exists()


def test_new_refuses_before_it_writes_anything(project, images, monkeypatch):
    monkeypatch.chdir(project)
    small_project.forget()
    known = sorted(p.name for p in (project / "params").iterdir())
    for change in ({"name": "quick"}, {"name": "mnist"}, {"name": "../up"}, {"minutes": 0.0},
                   {"teacher": "mlpp"}, {"student": "mlp-0"}, {"image_size": 4},
                   {"student": "no_module:net"}, {"source": "fashion"}):  # fmt: skip
        with pytest.raises((SpecError, DataError)):
            own.new(own.Request(**{"name": "other", "source": str(images)} | change))
        assert sorted(p.name for p in (project / "params").iterdir()) == known
    data.load.cache_clear()
