"""Parameters: what is refused before anything is trained, and what the shipped files keep."""

import dataclasses
import json
import types

import papermill
import pytest

from darkknowledge import notebooks, params
from darkknowledge.spec import SpecError

SHIPPED = [
    (path.parent.name, path.stem)
    for path in sorted((params.project_root() / "params").glob("*/*.yaml"))
    if path.stem != "plan"
]
ONE_WORLD = {"worlds": ["quick-rgb"]}


@pytest.mark.parametrize(
    ("question", "values", "names"),
    [
        ("q2", {"temprature": 4}, "temperature"),
        ("q2", {"temperature": "4"}, "temperature"),
        ("q2", {"temperature": 0}, "temperature"),
        ("q2", {"temperature": -1}, "temperature"),
        ("q2", {"temperature": float("nan")}, "temperature"),
        ("q2", {"temperature": float("inf")}, "temperature"),
        ("q2", {"temperature": [4]}, "temperature"),
        ("q2", {"alpha": 1.5}, "alpha"),
        ("q2", {"alpha": -0.1}, "alpha"),
        ("q2", {"extra_alphas": 1.0}, "extra_alphas"),
        ("q2", {"extra_alphas": [0.9]}, "extra_alphas"),  # the main arm's own
        ("q2", {"controls": ["label_smothing"]}, "label_smoothing"),
        ("q2", {"controls": ["kd"]}, "control"),
        ("q2", {"controls": ["tfkd_reg", "tfkd_reg"]}, "controls"),
        ("q2", {"control_seeds": [7]}, "control_seeds"),
        ("q2", {"jitter_seeds": [9]}, "jitter_seeds"),
        ("q1", {"dataset": "mnist5"}, "mnist5k"),
        ("q1", {"seeds": "[1, 2]"}, "-y"),
        ("q1", {"seeds": []}, "seeds"),
        ("q1", {"seeds": [1, 1]}, "seeds"),
        ("q1", {"seeds": [1.5]}, "seeds"),
        ("q1", {"seeds": [100]}, "disjoint"),
        ("q1", {"student_hidden": [0]}, "student_hidden"),
        ("q1", {"validation": 0}, "validation"),
        ("q1", {"validation": True}, "validation"),
        ("q1", {"validation": 16**5000}, "validation is a number of too many digits"),
        ("q1", {"validation": -(16**5000)}, "validation is a number of too many digits"),
        ("q1", {"seeds": [1, 16**5000]}, "seeds"),
        ("q1", {"precision": "bf17"}, "bf16"),
        ("q1", {"device": "gpu"}, "device"),
        ("q1", {"profile": "../elsewhere"}, "profile"),
        ("q1", {"profile": ""}, "profile"),
        ("q1", {"latency_seconds": 0}, "latency_seconds"),
        ("q9", {}, "question"),
        ("q3", {"temperatures": []}, "temperatures is empty"),
        ("q3", {"temperatures": [4, 4.0]}, "twice"),
        ("q3", {"temperatures": [0]}, "greater than 0"),
        ("q3", {"temperatures": 4}, "list"),
        ("q3", {"narrow_temperatures": [-1]}, "narrow_temperatures"),
        ("q3", {"widths": [0]}, "widths"),
        ("q3", {"widths": []}, "widths"),
        ("q3", {"widths": [30, 30]}, "twice"),
        ("q3", {"more_seeds": [0]}, "more_seeds"),
        ("q3", {"alpha": 2}, "alpha"),
        ("q3", {"student_hidden": [800]}, "student_hidden"),
        ("q4", {"omit_in_turn": [11]}, "class 11"),
        ("q4", {"omit_in_turn": [3, 3]}, "twice"),
        ("q4", {"omit_in_turn": "[3]"}, "-y"),
        ("q4", {"omit_in_turn": [], "keep_only": []}, "both empty"),
        ("q4", {"keep_only": list(range(10))}, "all classes"),
        ("q4", {"keep_only": [7, 12]}, "class 12"),
        ("q4", {"detail_temperatures": [4]}, "twice"),
        ("q4", {"detail_alphas": [1.5]}, "detail_alphas"),
        ("q4", {"temperature": 0}, "temperature"),
        ("q5", {"pairs": ["resnet8"], **ONE_WORLD}, "weak>strong"),
        ("q5", {"pairs": ["resnet8>resnet9"], **ONE_WORLD}, "resnet"),
        ("q5", {"pairs": ["resnet8>resnet8"], **ONE_WORLD}, "Q6"),
        ("q5", {"pairs": []}, "empty"),
        ("q5", {"pairs": ["resnet8>resnet20"]}, "worlds"),
        ("q5", {"worlds": ["quick-rgbb"]}, "quick-rgb"),
        ("q5", {"temperatures": [0]}, "greater than 0"),
        ("q5", {"temperatures": [4, 4]}, "twice"),
        ("q5", {"seeds": [100]}, "disjoint"),
        ("q5", {"element_mean_alphas": []}, "element_mean_alphas"),
        ("q5", {"element_mean_alphas": [2]}, "element_mean_alphas"),
        ("q6", {"nets": ["mlp-80x"], **ONE_WORLD}, "mlp-800-800"),
        ("q6", {"nets": ["mlp-" + "9" * 5000], **ONE_WORLD}, "mlp-800-800"),
        ("q6", {"nets": "plain_cnn"}, "list"),
        ("q6", {"nets": []}, "empty"),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence_that_names_it(question, values, names):
    with pytest.raises(SpecError, match=names) as error:
        params.make(question, values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("profile", "question"), SHIPPED)
def test_a_shipped_file_names_every_parameter_and_its_own_profile(profile, question):
    path = params.project_root() / "params" / profile / f"{question}.yaml"
    named = set(params.read_yaml(path))
    places = {"data_root", "results_dir"}
    assert named == {f.name for f in dataclasses.fields(params.QUESTIONS[question])} - places
    assert params.read(profile, question).profile == profile


@pytest.mark.parametrize("question", notebooks.NAMES)
def test_a_notebook_mirrors_the_parameters_their_defaults_and_explains_each(question):
    path = notebooks.path_of(question)
    found = papermill.inspect_notebook(str(path))
    fields = {f.name: f.default for f in dataclasses.fields(params.QUESTIONS[question])}
    assert list(found) == list(fields)
    assert all(entry["help"] for entry in found.values())
    defaults = {k: notebooks.eval_default(v["default"]) for k, v in found.items()}
    assert params.make(question, defaults) == params.QUESTIONS[question]()
    assert params.make(question, defaults) == params.read("quick", question)


@pytest.mark.parametrize("question", notebooks.NAMES)
def test_a_notebook_is_thin_and_stored_without_outputs(question):
    cells = json.loads(notebooks.path_of(question).read_text())["cells"]
    assert len(cells) <= 8
    assert not any(cell.get("outputs") for cell in cells)
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) == 1


def test_what_papermill_injects_beside_the_parameters_is_refused():
    known = {"temperature": 4.0, "types": types, "_private": 1, "In": []}
    assert params.from_notebook("q2", known).temperature == 4
    with pytest.raises(SpecError, match="did you mean 'temperature'"):
        params.from_notebook("q2", {**known, "temprature": 4})


def test_changed_parameters_of_a_shipped_profile_go_to_custom_and_own_profiles_to_their_own():
    shipped = params.read("quick", "q2")
    assert params.destination("q2", shipped) == "quick"
    elsewhere = dataclasses.replace(shipped, results_dir="x", data_root="y")
    assert params.destination("q2", elsewhere) == "quick"
    changed = dataclasses.replace(shipped, temperature=5)
    assert params.destination("q2", changed) == "custom"
    assert params.destination("q2", dataclasses.replace(changed, profile="my-temp")) == "my-temp"


@pytest.mark.parametrize("text", ["[1, 2", "- a\n- b\n", "1: 2\n", "", "!!python/object:os.x {}\n"])
def test_a_params_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "q1.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match="q1"):
        params.read_yaml(path)


def test_a_recipe_with_a_misspelt_setting_is_refused(tmp_path, monkeypatch):
    (tmp_path / "params").mkdir()
    book = tmp_path / "params" / "recipes.yaml"
    book.write_text("fast: {optimiser: sgd, lr: 0.1, epochs: 1, batch_size: 10, momentm: 0.9}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="momentum"):
        params.split_recipe("fast", "mlp-8")
    with pytest.raises(SpecError, match="fast"):
        params.split_recipe("fats", "mlp-8")
