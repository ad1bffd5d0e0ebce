"""The questions' notebooks, executed through Papermill."""

import ast
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import papermill

from darkknowledge import processes
from darkknowledge.config import project_root, read_yaml
from darkknowledge.questions import params as p
from darkknowledge.questions.registry import QUESTIONS
from darkknowledge.records import Store, atomic_write


class NotebookError(RuntimeError):
    """A notebook that cannot be run, or that failed; the message says where."""


def path_of(question: str) -> Path:
    """Where the notebook of a question lies."""
    return project_root() / "report" / "notebooks" / f"{QUESTIONS[question].notebook}.ipynb"


def check(path: Path, question: str) -> None:
    """Raise NotebookError unless the notebook has a parameters cell with the question's names."""
    if not path.is_file():
        raise NotebookError(f"There is no notebook {path}.")
    found = papermill.inspect_notebook(str(path))
    if not found:
        raise NotebookError(
            f"{path} has no cell tagged 'parameters': Papermill would run it on its defaults."
        )
    p.make(question, {name: ast.literal_eval(one["default"]) for name, one in found.items()})


def execute(profile: str, question: str, store: Store) -> Path:
    """Run a question's notebook on a profile's parameters; returns the executed notebook.

    It is written beside the question's table and is a build product. Raises NotebookError."""
    source = path_of(question)
    check(source, question)
    settings = read_yaml(project_root() / "params" / profile / f"{question}.yaml")
    target = store.root / profile / source.name
    with tempfile.TemporaryDirectory() as folder:  # Papermill writes as it goes
        made, failed = Path(folder) / source.name, None
        try:
            papermill.execute_notebook(
                *(str(source), str(made), settings | {"results_dir": str(store.root.resolve())}),
                kernel_name="python3",
                progress_bar=False,
                log_output=True,
                # Kernels tell of their TCP ports, and of the signal that ends them.
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                cwd=str(project_root()),
            )
        except papermill.PapermillExecutionError as error:
            said = f"{error.ename}: {error.evalue} (see {target})"
            failed = NotebookError(f"{source.name} failed: {said}")
        except RuntimeError as error:  # its kernel was killed
            said = f"{error}. Finished runs are kept; the same command goes on."
            raise NotebookError(f"{source.name} failed: {said}") from None
        atomic_write(target, made.read_bytes())
    if failed:
        raise failed
    return target


def _begin(folder: str) -> None:
    """Set a worker up, whose files for the moment lie in a folder that its parent removes."""
    tempfile.tempdir = folder
    processes.follow_parent()


def execute_all(profile: str, questions: list[str], store: Store) -> Iterator[tuple[str, Path]]:
    """Run the notebooks of several questions, as many at a time as there are cores; yields question
    and executed notebook, whichever is ready first. Raises NotebookError."""
    jobs = min(processes.cores(), len(questions))
    with tempfile.TemporaryDirectory() as folder:
        pool = ProcessPoolExecutor(jobs, processes.context("spawn"), _begin, (folder,))
        try:
            running = {pool.submit(execute, profile, q, store): q for q in questions}
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool:
            raise NotebookError(processes.KILLED) from None
        finally:
            processes.end(pool)
