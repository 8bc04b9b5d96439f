"""Change what decides, one small change at a time, and tell which changes no test notices.

mutmut makes the changes: each function is compiled with all its mutants beside it, and a switch says which one is
called. Here every test is run for each mutant of the functions that it calls, in one process and without collecting
anew, which takes minutes where a process for each mutant takes hours.

    python tests/mutation.py                             all of it, set by set
    python tests/mutation.py quorum -m 'not hypothesis'  one set, and what pytest is to be told beside
"""

from __future__ import annotations

import difflib
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import hypothesis
import libcst
import pytest
from _pytest.runner import runtestprotocol
from mutmut.mutation import mutators
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

SETS: dict[str, tuple[Sequence[str], Sequence[str]]] = {  # modules, and the tests that are about them
    "join": (("join/decide.py", "join/approve.py"), ("join/approve",)),
    "quorum": (("cluster/quorum.py",), ("cluster/test_quorum.py",)),
    "assess": (
        ("cluster/assess.py",),
        ("test_assess.py", "test_identity.py", "test_plan.py", "cluster/test_trouble.py"),
    ),
    "guards": (("remediate/guards.py",), ("test_guards.py",)),
    "planning": (
        (
            "remediate/planning.py",
            "remediate/plans/arriving.py",
            "remediate/plans/dead.py",
            "remediate/plans/hooks.py",
        ),
        ("test_plan.py", "test_identity.py", "test_times.py"),
    ),
    "leaving": (
        ("remediate/plans/draining.py", "remediate/plans/leaving.py"),
        ("test_draining.py", "test_drain.py", "test_times.py", "test_plan.py"),
    ),
    "control_plane": (("remediate/plans/control_plane.py",), ("test_control_plane_plan.py",)),
    "doubt": (
        ("cluster/trouble.py", "cluster/doubt.py", "cluster/radius.py", "remediate/plans/doubtful.py"),
        ("cluster/test_trouble.py", "cluster/test_doubt.py", "cluster/test_radius.py", "test_doubtful_plan.py"),
    ),
}
LIMIT_S = 60  # of one test under one mutant
PYTEST = ("-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider", "--hypothesis-profile=mutation", "--no-header")


class TooLongError(BaseException):
    """A mutant that does not end is noticed too; nothing that catches errors may catch this one."""


class Mutated(MetaPathFinder, Loader):
    """Gives the modules that are named with their mutants in them."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = {".".join(path.with_suffix("").parts): path for path in paths}
        self.files: dict[str, MutatedFile] = {}
        self.compiled: dict[str, CodeType] = {}
        for name, path in self.paths.items():
            self.files[name] = mutate_file_contents(str(path), path.read_text())
            self.compiled[name] = compile(self.files[name].code, path, "exec")

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in self.paths else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self.paths[module.__name__])
        exec(self.compiled[module.__name__], module.__dict__)  # noqa: S102

    def change(self, mutant: str) -> str:
        """What the mutant is, as the lines that differ."""
        module, _, name = mutant.rpartition(".")
        file = self.files[module]
        lines = file.code.splitlines()
        spans = (file.line_span_by_function_name[one] for one in (_original(name), name))
        before, after = (lines[span.start - 1 : span.end] for span in spans)
        differing = difflib.unified_diff(before, after, lineterm="", n=0)
        told = [line for line in differing if line[:2] not in ("--", "++", "@@") and "__mutmut_" not in line]
        return "\n".join(told)


class EachMutant:
    """Runs every test as it is, then once for each mutant that it may notice and that none before it has."""

    def __init__(self, mutated: Mutated) -> None:
        self.alive: dict[str, list[str]] = {}
        self.reached: set[str] = set()
        self.broken: list[str] = []
        for module, file in mutated.files.items():
            for name in file.mutant_names:
                self.alive.setdefault(f"{module}.{name.partition('__mutmut_')[0]}", []).append(f"{module}.{name}")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: item.get_closest_marker("hypothesis") is not None)  # for few, as they take longest

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        state()._stats.clear()
        reached = set() if self._fails(item, "stats") else state()._stats & self.alive.keys()
        for function in sorted(reached):
            self.alive[function] = [mutant for mutant in self.alive[function] if not self._fails(item, mutant)]
        self.reached |= reached
        if self._fails(item, ""):  # also when it has run so often
            self.broken.append(item.nodeid)
        item.session._setupstate.teardown_exact(nextitem)
        return True

    def _fails(self, item: pytest.Item, mutant: str) -> bool:
        set_mutant_under_test(mutant)
        item._initrequest()  # type: ignore[attr-defined]
        signal.alarm(LIMIT_S)
        try:
            reports = runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]
        except TooLongError:
            return True
        finally:
            signal.alarm(0)
        return any(report.failed for report in reports)


def names_only(node: libcst.BaseString) -> Iterable[libcst.BaseString]:
    """A changed word of a reason changes no decision; a name, a label, a state does."""
    words = isinstance(node, libcst.SimpleString) and " " in node.value
    return () if words else mutators.operator_string(node)


def main(arguments: Sequence[str]) -> int:
    """Run one of the sets, or one after the other, each in a process of its own."""
    if not arguments:
        return max(subprocess.run([sys.executable, __file__, one], check=False).returncode for one in SETS)
    name, *options = arguments
    modules, tests = SETS[name]
    texts = mutators.mutation_operators.index((libcst.BaseString, mutators.operator_string))
    mutators.mutation_operators[texts] = (libcst.BaseString, names_only)
    mutated = Mutated(Path("functions", module) for module in modules)
    each = EachMutant(mutated)
    sys.meta_path.insert(0, mutated)
    signal.signal(signal.SIGALRM, _too_long)
    hypothesis.settings.register_profile(
        "mutation",
        parent=hypothesis.settings.get_profile("ci"),  # the same examples each time, however busy the machine is
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )
    pytest.main([*PYTEST, *(f"tests/unit/functions/{test}" for test in tests), *options], plugins=[each])
    for function, mutants in each.alive.items():
        for mutant in mutants:
            how = "is not noticed" if function in each.reached else "is in what no test calls"
            print(f"{mutant} {how}\n{mutated.change(mutant)}")
    for module, file in mutated.files.items():
        left = sum(len(mutants) for function, mutants in each.alive.items() if function.rpartition(".")[0] == module)
        print(f"{module}: {len(file.mutant_names)} mutants, {len(file.mutant_names) - left} noticed, {left} not")
    for test in each.broken:
        print(f"fails as it is: {test}")
    return 1 if each.broken else 0


def _original(mutant: str) -> str:
    return mutant.partition("__mutmut_")[0] + "__mutmut_orig"


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TooLongError


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
