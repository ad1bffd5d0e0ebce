"""Parameters: what is refused before anything is trained, and what the shipped files keep."""

import ast
import dataclasses
import json
import os
import shutil
import types
from pathlib import Path

import papermill
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import small_project
from darkknowledge import config, study
from darkknowledge.experiment import data
from darkknowledge.paper import notebooks
from darkknowledge.questions import checks, params
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.records import Store
from darkknowledge.spec import SpecError

SHIPPED = [
    (path.parent.name, path.stem)
    for profile in ("gpu", "paper", "quick")  # not a user's own
    for path in sorted((config.project_root() / "params" / profile).glob("*.yaml"))
]
NAN, INFINITE, HUGE = float("nan"), float("inf"), 16**500
#: Per kind of parameter: what it is given and becomes, and what is refused with which words.
KINDS = {
    "Name": ("my-own_1", "my-own_1", {"": "letters", "../x": "letters", 3: "text", "a b": "letters"}),
    "Temperature": (4, 4.0, {**dict.fromkeys((0, -1, 1e-30, 0.009, 1001, 1e30), "0.01 and 1000"),
                             NAN: "finite", INFINITE: "finite", "4": "number", True: "number",
                             None: "number", 10**400: "finite"}),
    "Weight": (1, 1.0, {1.5: "between 0 and 1", -0.1: "between", "1e-3": "in YAML write 1.0e-3"}),
    "Count": (0, 0, {-1: "at least 0", 1.5: "whole", True: "whole", HUGE: "less than"}),
    "Size": (1, 1, {0: "at least 1"}),
    "Seconds": (0.5, 0.5, {0: "greater than 0", "soon": "number"}),
    "Net": ("resnet20", "resnet20", {"resnet19": "Did you mean", "mlp-80x": "no network", 3: "text",
                                     "resnet20-16": "mlp", "plain_cnn-16": "three widths"}),
    "Blocks": ([3, 1], (3, 1), {(): "empty", (1, 1): "twice", (1.5,): r"\[0\]", "[1, 2]": "-y",
                                3: "list", (1, HUGE): "less than", (-1,): "at least 0"}),
    "Classes": ((7,), (7,), {(): "empty", (3, 3): "twice", "3": "list"}),
    "Temperatures": ([1, 4.0], (1.0, 4.0), {(4, 4.0): "twice", (1, 0): r"\[1\]", 4: "list"}),
    "Weights": ((0, 1), (0.0, 1.0), {(2,): "between", (): "empty"}),
    "Nets": (["mlp-8"], ("mlp-8",), {("mlp-0",): "hidden", ("mlp-8", "mlp-8"): "twice", "mlp-8": "list"}),
    "ByShare": ({0.1: "a"}, {"0.1": "a"}, {(): "mapping", "x": "mapping"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_fitting_value_is_taken_as_its_kind_and_another_refused_in_one_sentence(kind):
    fits, becomes, bad = KINDS[kind]
    found = checks.checked("x", fits, getattr(checks, kind))
    assert found == becomes and repr(found) == repr(becomes)
    for value, says in bad.items():
        with pytest.raises(SpecError, match=says) as error:
            checks.checked("mine", value, getattr(checks, kind))
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
        assert "mine" in str(error.value) or kind.startswith("Net")


@pytest.mark.parametrize(
    ("question", "values", "says"),
    [
        ("q9", {}, "question"),
        ("q7", {"few_recipes": None}, "q7 does not say its few_recipes"),
        *(("q7", {"few_recipes": {share: "quick-few"}}, "shares between 0 and 1")
          for share in ("x", "0", "1", "2", "nan")),
        ("q2", {"smothing": 0.1}, "did you mean 'smoothing'"),
        ("q1", {"setup": "mnst"}, "Did you mean 'mnist'"),
        ("q5", {"digits_setup": "quick"}, "setup is 'quick'"),
        ("q5", {"setup": 3}, "setup is 3"),
        ("q1", {"n_sizes": 6}, "n_sizes is 6, but there are only 5 blocks"),
        ("q6", {"blocks": [0, 1]}, "n_digits is 5"),
        ("q1", {"augmented_recipes": []}, "mapping"),
        ("q1", {"augmented_recipes": {"mlp-30-30": 3}}, r"augmented_recipes\[mlp-30-30\] is 3"),
        ("q1", {"augmented_recipes": {"mlp-30-30": "plain"}}, "'mlp-100-100'"),
        ("q1", {"other_nets": ["mlp-50-50"]}, "a net with a recipe in the setup"),
        ("q2", {"jitter_recipe": "quick-jiter"}, "Did you mean 'quick-jitter'"),
        ("q2", {"n_budget": 1}, "budget_epochs"),
        ("q4", {"omit_in_turn": [3, 11]}, "class 11"),
        ("q4", {"keep_only": list(range(10))}, "all classes"),
        ("q5", {"digits_teacher": "resnet8"}, "a net with a recipe"),
    ],
)  # fmt: skip
def test_what_a_question_cannot_be_asked_with_is_refused_before_anything_is_trained(
    question, values, says
):
    found = params.read("quick", question).settings() if question in QUESTIONS else {}
    found = {name: value for name, value in (found | values).items() if value is not None}
    with pytest.raises(SpecError, match=says) as error:
        chosen = params.make(question, found)
        QUESTIONS[question].grid(chosen)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("profile", "question"), SHIPPED)
def test_a_shipped_file_names_every_parameter_and_its_own_profile(profile, question):
    path = config.project_root() / "params" / profile / f"{question}.yaml"
    named = {f.name for f in dataclasses.fields(QUESTIONS[question].parameters)}
    assert set(config.read_yaml(path)) == named - {"data_root", "results_dir"}
    assert params.read(profile, question).profile == profile
    assert params.strays(profile, {question: params.read(profile, question)}) == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_notebook_is_thin_and_mirrors_the_parameters_of_the_quick_profile(question):
    path = notebooks.path_of(question)
    found = papermill.inspect_notebook(str(path))
    assert list(found) == [f.name for f in dataclasses.fields(QUESTIONS[question].parameters)]
    assert all(entry["help"] for entry in found.values())
    defaults = {k: ast.literal_eval(v["default"]) for k, v in found.items()}
    assert params.make(question, defaults) == params.read("quick", question)
    cells = json.loads(path.read_text())["cells"]
    assert len(cells) <= 8
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) == 1


def test_what_papermill_injects_beside_the_parameters_is_refused():
    """Not a variable of one's own when cells run again, unless it looks like one misspelt."""
    known = {"smoothing": 0.2, "types": types, "_private": 1, "In": []}
    found = params.from_notebook("q2", known)
    assert found.smoothing == 0.2
    again = {"smoothing": 0.3, "question": found, "x": 3, "mine": [1, 2]}
    assert params.from_notebook("q2", again).smoothing == 0.3
    for values, says in (({**known, "smothing": 1}, "did you mean 'smoothing'"),
                        ({**known, "x": 1}, "no parameter 'x'"),
                        ({**again, "smothing": 1}, "did you mean 'smoothing'"),
                        ({**again, "smothing": 1}, "In Jupyter call 'del smothing' too")):  # fmt: skip
        with pytest.raises(SpecError, match=says):
            params.from_notebook("q2", values)


def test_changed_parameters_of_a_shipped_profile_go_to_custom_and_own_profiles_to_their_own():
    shipped = params.read("quick", "q2")
    changed = dataclasses.replace(shipped, smoothing=0.3)
    for found, where in (
        (shipped, "quick"),
        (dataclasses.replace(shipped, results_dir="x", data_root="y"), "quick"),
        (changed, "custom"),
        (dataclasses.replace(changed, profile="mine"), "mine"),
    ):
        assert params.destination("q2", found) == where
    said = params.strays("mine", {"q2": shipped})
    assert len(said) == 1 and "results/quick/: write profile: mine there" in said[0]


RECIPE = "optimiser: sgd, lr: 0.1, epochs: 1"


@pytest.fixture
def books(tmp_path, monkeypatch) -> Path:
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "recipes.yaml").write_text(f"fast: {{{RECIPE}}}\n")
    monkeypatch.chdir(tmp_path)
    small_project.forget()
    yield tmp_path / "params"
    small_project.forget()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"fast: {{{RECIPE}, batch_size: 10, momentm: 0.9}}", "momentum"),
        (f"fast: {{{RECIPE}}}", "does not say its batch_size"),
        ("fast: sgd", "must be a mapping"),
        ("slow: {}", "must be one of slow"),
        ("[1, 2", r"recipes\.yaml"),
    ],
)
def test_recipes_that_are_no_mapping_of_settings_are_refused_in_one_sentence(books, text, says):
    (books / "recipes.yaml").write_text(text)
    with pytest.raises(SpecError, match=says) as error:
        config.split_recipe("fast", "mlp-8")
    assert "\n" not in str(error.value)


BOMB = "a0: &a0 [1, 2, 3]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)
)
#: What YAML lets through in silence, or trips over → what is said of it, line by line.
UNCLEAR = {
    "line 3: 'a' stands there twice": ("a: 1\nb: 2\na: 3\n", 'a: 1\nb: {x: 1}\n"a": 2\n',
                                       "a: 1\n#\n? a\n: 2\n", "---\na: 1\na: 2\n"),
    "stands there twice": ("b: [{x: 1, x: 2}]", "b: {0.1: x, 0.10: y}", "b: {1: x, 1.0: y}",
                           "b: {1: x, '1': y}", "a: &a {}\nb: {<<: *a, <<: *a}"),
    "line 2: .* may be read in two ways": tuple(f"b: x\na: {value}\n" for value in (
        *("010", "-010", "0o17", "0x10", "0b11", "1_000", "09", "1:30", "12:30:45.5", "1e-3"),
        *("1E5", "1.5e3", "-2e4", ".nan", ".NaN", ".inf", "-.Inf", "nan", "Infinity", "2024-01-01"),
        *("2001-12-14t21:59:43Z", "!!int 1:30", "yes", "No", "on", "OFF", "[1, on]", "{x: 010}", "="))),
    "line 2: !!.* is a tag: leave it away": tuple(f"b: x\na: {value}\n" for value in (
        "!!binary aGk=", "!!python/none x", "[!!float 1]", "!!str 1")),
    "line 1: .* may be read in two ways": ("on: 1", "no: {}", "2024-01-01: x", "b: {yes: 1}"),
    "<< takes one name": ("a: &a {x: 1}\nb: &b {x: 2}\nc: {<<: [*a, *b]}",),
    "is no kind of value": ("a: !!set {x}", "a: !!omap [x: 1]", "a: !!python/tuple [1]", "a: !mine []"),
    "repeat too much, or themselves": (BOMB, "a: &a [*a]", "a: &a {b: *a}"),
    "recursion": ("a: " + 3000 * "[",),
    "another document": ("a: 1\n---\nb: 2\n",),
    "cannot start any token": ("a:\n\tb: 1\n", "\ta: 1\n"),
    "codec can't decode": ("a: caf\u00e9\n".encode("latin-1"), "a: 1\n".encode("utf-16")),
    "not allowed": ("a: \x07",),
    "must hold a mapping": ("", "# nothing\n", "---\n", "- a\n", "3", "[a]", "1: 2", "null"),
}  # fmt: skip


@pytest.mark.parametrize("says", UNCLEAR)
def test_what_yaml_lets_through_in_silence_is_refused_with_its_line(tmp_path, says):
    path = tmp_path / "mine.yaml"
    for text in UNCLEAR[says]:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(SpecError, match=says) as error:
            config.read_yaml(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_what_every_reader_of_yaml_takes_alike_is_taken(tmp_path):
    path = tmp_path / "mine.yaml"
    for text, due in {
        "10": 10, "+1": 1, "0": 0, "1.": 1.0, ".5": 0.5, "1.0e-3": 0.001, "-2.5E+3": -2500.0,
        "true": True, "FALSE": False, "~": None, "": None, "mlp-30-30": "mlp-30-30", "'010'": "010",
        '"yes"': "yes", "!!str 1:30": "1:30", "q3 # x": "q3", "[&x 1, *x]": [1, 1],
        "caf\u00e9": "caf\u00e9", "{<<: {x: 1, y: 1}, x: 2}": {"x": 2, "y": 1},
    }.items():  # fmt: skip
        for start in ("", "\ufeff", "---\n"):
            path.write_text(f"{start}a: {text}\r\n", encoding="utf-8")
            assert repr(config.read_yaml(path)) == repr({"a": due})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset": "mnist5"}, "Did you mean 'mnist5k'"),
        ({"precision": "bf17"}, "Did you mean 'bf16'"),
        ({"device": "gpu"}, "device is 'gpu'"),
        ({"student": "mlp-8x"}, "The setup 'mine'.*no network"),
        ({"alpha": 2}, "The setup 'mine': alpha is"),
        ({"alhpa": 0.5}, "Did you mean 'alpha'"),
        ({"temperature": None}, "does not say its temperature"),
    ],
)
def test_a_setup_with_a_wrong_or_missing_setting_is_refused_by_its_name(books, changes, says):
    shipped = config.read_yaml(small_project.REPOSITORY / "params" / "setups.yaml")["mnist"]
    entry = {name: value for name, value in (shipped | changes).items() if value is not None}
    (books / "setups.yaml").write_text(json.dumps({"mine": entry}))
    with pytest.raises(SpecError, match=says) as error:
        params.make("q2", {"setup": "mine"})
    assert "\n" not in str(error.value)


def plain(path: Path) -> None:
    path.write_text("", encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "make"),
    [("q2.yaml", Path.mkdir), ("q2.yaml", lambda path: path.symlink_to("nowhere")),
     ("q2.yaml", os.mkfifo), ("Q2.yaml", plain), ("q2.yml", plain)],
)  # fmt: skip
def test_a_question_s_file_under_another_name_or_that_is_none_is_not_passed_over(books, name, make):
    (books / "mine").mkdir()
    plain(books / "mine" / "q1.yaml")
    make(books / "mine" / name)
    with pytest.raises(SpecError, match=rf"mine/{name} is no file of the name q2\.yaml"):
        params.questions_of("mine")


def test_a_recipe_s_flaw_is_told_with_its_name(books):
    for flaw in ("epochs: 2.5", "dropout_input: 3"):
        line = f"{{optimiser: sgd, lr: 0.1, epochs: 1, batch_size: 8, {flaw}}}"
        line = line.replace("epochs: 1, ", "") if "epochs" in flaw else line
        (books / "recipes.yaml").write_text(f"fast: {line}\n", encoding="utf-8")
        with pytest.raises(SpecError, match=f"^The recipe 'fast': {flaw.split(':')[0]} is"):
            config.split_recipe("fast", "mlp-8")


def test_questions_share_one_folder_of_data():
    asked = {q: params.read("quick", q) for q in ("q1", "q2", "q3")}
    assert params.data_root(asked) is None
    asked["q2"] = dataclasses.replace(asked["q2"], data_root="/a")
    assert params.data_root(asked) == "/a"
    asked["q3"] = dataclasses.replace(asked["q3"], data_root="/b")
    with pytest.raises(SpecError, match="several data_roots"):
        params.data_root(asked)


def test_a_path_means_the_same_wherever_it_is_given(books, tmp_path, monkeypatch):
    """In parameters a relative one counts from the project, elsewhere from the working directory."""
    home, project, here = tmp_path / "home", books.parent, books.parent / "report" / "notebooks"
    here.mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    shutil.copy(small_project.REPOSITORY / "params" / "setups.yaml", books)
    shutil.copy(small_project.REPOSITORY / "params" / "recipes.yaml", books)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    for path, due in {
        "~": home, "~/x": home / "x", "~/x/": home / "x", "~/a b": home / "a b",
        "~/\u96ea": home / "\u96ea", "x": Path("x"), "./~x": Path("~x"), "../x": Path("../x"),
        str(tmp_path): tmp_path,
        f"{tmp_path}/link/x//y/": tmp_path / "link" / "x" / "y",
    }.items():  # fmt: skip
        monkeypatch.setenv("DARKKNOWLEDGE_DATA", path)
        assert data.data_root() == (due, True) and data.data_root(path)[0] == due
        assert Store(path).root == due
        found = params.make("q2", {"data_root": path, "results_dir": path})
        assert Path(found.data_root) == Path(found.results_dir) == project / due
        assert study.store_of(found).root == project / due
    for wrong in ("~nobody-of-this-name/x", "a\0b"):
        for use in (Store, data.data_root, lambda x: params.make("q2", {"results_dir": x})):
            with pytest.raises(SpecError, match="is no path"):
                use(wrong)
    said = params.strays("mine", {"q2": found})[-2]
    assert said.startswith("params/mine/q2.yaml says results_dir")
    (home / "nets").mkdir(parents=True)
    for command, *images in (("evaluate",), ("predict", "b.png")):
        words = command, "~/nets/a.safetensors", *images
        said = small_project.here(project, *words, code=1).stderr
        assert f"{home}/nets/a.json: No such file" in said
    for words in (("status", "paper"), ("train", "paper"), ("claims", "paper"), ("doctor",)):
        for folder in ("~/file", "~/file/", f"{home}/file/inside"):
            (home / "file").touch()
            done = small_project.here(project, *words, "--results", folder, code=2)
            assert done.stderr.count("\n") == 1
            assert f"{home}/file, which is no folder" in done.stderr


def test_recipes_and_setups_that_are_edited_are_read_again_in_the_same_kernel(books):
    for name, line, other in (
        ("recipes", "lr: 0.1", "lr: 0.3"),
        ("setups", "alpha: 0.9", "alpha: 0.3"),
    ):
        shutil.copy(small_project.REPOSITORY / "params" / f"{name}.yaml", books)
        text, seen = (books / f"{name}.yaml").read_text(encoding="utf-8"), []
        shutil.copy(small_project.REPOSITORY / "params" / "setups.yaml", books)
        for number, now in enumerate((text, text.replace(line, other), text)):
            (books / f"{name}.yaml").write_text(now, encoding="utf-8")
            os.utime(books / f"{name}.yaml", (number, number))
            run = params.make("q2", {}).nets.taught(0)
            seen.append((run.recipe.lr, run.loss.w_soft))
        assert seen[0] == seen[2] == (0.1, 0.9) != seen[1]


#: What a slip of the hand, or another editor, puts into a file of parameters.
SLIPS = [*"\t:-[]\"'#,\né\ufeff", "", "  ", "1e-3", "yes", "null", "-1"]


@pytest.mark.slow
@settings(max_examples=150)
@given(st.data())
def test_a_file_with_a_slip_is_understood_or_refused_in_one_short_sentence(project, data):
    """A question's file, the recipes or the setups: read, checked, made into a grid."""
    name = data.draw(st.sampled_from([*QUESTIONS, "recipes", "setups"]))
    path = project / "params" / ("quick" if name in QUESTIONS else "") / f"{name}.yaml"
    whole = path.read_text(encoding="utf-8")
    start, cut = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 9))
    slip = data.draw(st.sampled_from(SLIPS))
    path.write_text(whole[:start] + slip + whole[start + cut :], encoding="utf-8")
    question = {"recipes": "q2", "setups": "q5"}.get(name, name)
    try:
        with small_project.inside(project):
            assert QUESTIONS[question].grid(params.read("quick", question))
    except SpecError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    finally:
        path.write_text(whole, encoding="utf-8")
