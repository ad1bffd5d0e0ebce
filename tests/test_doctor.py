"""The doctor names what is missing, says what to do, and never falls ill itself."""

from __future__ import annotations

import sys

import pytest
from jupyter_client.kernelspec import NoSuchKernel

from darkknowledge import doctor
from darkknowledge.paper.pandoc import Pandoc
from darkknowledge.records import Store
from small_project import here


def test_every_failure_has_a_remedy_and_a_check_that_breaks_is_one_too(monkeypatch, tmp_path):
    def no_kernel(self, name):
        raise NoSuchKernel(name)

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Pandoc, "here", staticmethod(lambda: False))
    monkeypatch.setattr("torchvision.ops.nms", lambda *args: 1 / 0)
    monkeypatch.setattr(doctor, "FREE_DISK", 1e18)
    monkeypatch.setattr(doctor, "_devices", lambda: 1 / 0)
    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager.get_kernel_spec", no_kernel)
    store = Store(tmp_path / "file" / "results")
    found = {f.name: f for f in doctor.examine(store, str(tmp_path / "nowhere"))}
    ill = {name for name, finding in found.items() if not finding.fine}
    assert ill >= {
        *("renderer", "torch and torchvision", "free disk", "notebook kernel", "MNIST"),
        *("results folder", "CIFAR-10 mirror", "devices"),
    }
    assert all(found[name].remedy.endswith(".") for name in ill)
    assert found["devices"].found == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(("disk", "code"), [(0.0, 0), (1e18, 1)])
def test_where_the_tests_run_nothing_needed_is_missing_and_the_exit_code_tells_a_script(
    tmp_path, monkeypatch, disk, code
):
    monkeypatch.setattr(doctor, "FREE_DISK", disk)
    (tmp_path / "params").mkdir()
    done = here(tmp_path, "doctor", "--results", "results", code=code)
    assert ("FAIL  free disk" in done.stdout) == bool(code)
    assert done.stdout.count("FAIL") == code and "No module" not in done.stdout
    assert ".".join(map(str, sys.version_info[:3])) in done.stdout
