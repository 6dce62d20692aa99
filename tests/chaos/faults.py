"""The faults: what is killed with -9, one after another at random moments, and started again."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.chaos.system import MACHINES, System
from tests.servers.process import ServerProcess

# Seconds for which a part stays away, and between two faults.
AWAY = (0.0, 3.0)
PAUSE = (1.0, 4.0)

Tell = Callable[[str], None]


class Faults:
    """Kills parts of a system.

    Attributes:
        counts: How often each kind of fault happened.
        problems: The parts that ended although nobody killed them.

    Args:
        system: The system.
        seed: Of the random numbers.
        tell: Called with a line about each fault.
    """

    def __init__(self, system: System, seed: int, tell: Tell) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._system = system
        self._random = random.Random(seed)  # noqa: S311
        self._tell = tell
        self._pause = threading.Event()
        self._kinds: dict[str, Callable[[], None]] = {
            "run": self._kill_run,
            "worker": self._kill_worker,
            "machine": self._kill_machine,
            "gateway": lambda: self._kill_and_start(system.gateway),
            **{name: self._make_kill(server) for name, server in system.servers.items()},
        }

    def go_on_while(self, condition: Callable[[], bool]) -> None:
        """Kill one part after another; each kind comes once in each round, in random order.

        To be called from the main thread, which the parts' lives are tied to.

        Args:
            condition: Asked before each fault.
        """
        while True:
            for kind in self._random.sample(sorted(self._kinds), len(self._kinds)):
                self._pause.wait(self._random.uniform(*PAUSE))
                if not condition():
                    return
                self.note_ended_parts()
                self._kinds[kind]()
                self.counts[kind] += 1
                self._tell(f"killed and started again: {kind}")

    def note_ended_parts(self) -> None:
        """Look for parts that nobody killed and that ended all the same, and start them again."""
        for part in self._system.parts:
            if part.has_ended:
                self.problems.append(f"{part.name} ended by itself; its log:\n{part.log_tail()}")
                part.kill()
                part.start()

    def _kill_run(self) -> None:
        processes = self._system.find_runs()
        if processes:
            _kill(self._random.choice(processes))

    def _kill_worker(self) -> None:
        worker = self._system.workers[self._random.choice(MACHINES)]
        _kill(psutil.Process(worker.pid))
        self._kill_and_start(worker)

    def _kill_machine(self) -> None:
        machine = self._random.choice(MACHINES)
        worker = self._system.workers[machine]
        for process in [psutil.Process(worker.pid), *self._system.find_runs(machine)]:
            _kill(process)
        self._kill_and_start(worker)

    def _make_kill(self, server: ServerProcess) -> Callable[[], None]:
        return lambda: self._kill_and_start(server)

    def _kill_and_start(self, process: ServerProcess) -> None:
        process.kill()
        self._pause.wait(self._random.uniform(*AWAY))
        process.start()


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
