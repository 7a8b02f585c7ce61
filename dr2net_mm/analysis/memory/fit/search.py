"""Search for the way of training that fits a limit with the least work."""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .training_memory import Setting, TrainingMemory

Count = Callable[[Setting], TrainingMemory]

#: Budgets that are counted until one fits.
ATTEMPTS = 3

#: Share of the limit below which what is free is not spent on a budget.
SPARE = 0.02


class Candidate(NamedTuple):
    """A setting, what it takes, and whether that is within the limit."""

    setting: Setting
    memory: TrainingMemory
    fits: bool


class Search:
    """Looks for the least work that fits.

    Of each mode of the backbone and of the rest the largest batch that fits is taken,
    and what it leaves free is spent on a budget. A smaller batch is made up for by
    accumulation, so that a step of the optimizer sees as many images.

    Args:
        count: Counts the memory of a setting.
        limit: Bytes that the training may take.
        budgets: For a batch and a precision, bytes that a dual-residual backbone needs
            with nothing stored, and with everything.

    Attributes:
        candidates: Everything that was counted.
    """

    def __init__(
        self, count: Count, limit: int, budgets: Callable[[int, str], Tuple[int, int]]
    ) -> None:
        self._count = count
        self._limit = limit
        self._budgets = budgets
        self._counted: Dict[Setting, Candidate] = {}

    @property
    def candidates(self) -> List[Candidate]:
        """Everything that was counted, the least work first."""
        return sorted(self._counted.values(), key=_preference)

    def best(
        self,
        batch: int,
        backbones: Sequence[str],
        rests: Sequence[str],
        precisions: Sequence[str],
        accumulate: int = 1,
    ) -> Optional[Candidate]:
        """Return the candidate of least work that fits, or None.

        Args:
            batch: Images of a pass, at most.
            backbones: Modes of the backbone.
            rests: What may be done about the memory of the rest.
            precisions: Precisions, of which a later one is tried if none before fits.
            accumulate: Passes of a step of the optimizer with the whole batch.
        """
        for precision in precisions:
            found: List[Candidate] = []
            for rest in rests:
                for backbone in backbones:
                    first = Setting(batch, accumulate, backbone, rest, None, precision)
                    fitting = self._largest_batch(first)
                    if fitting is None:
                        continue
                    found.append(fitting)
                    if backbone == 'dr2':
                        found += self._with_budget(fitting)
                    elif backbone == 'conventional' and rest == rests[0]:
                        return fitting  # nothing works less
                if found and rest == rests[0] and self._stores_all(found[-1].setting):
                    return found[-1]
            if found:
                return min(found, key=_preference)
        return None

    def _counted_once(self, setting: Setting) -> Candidate:
        if setting not in self._counted:
            memory = self._count(setting)
            fits = memory.total <= self._limit
            self._counted[setting] = Candidate(setting, memory, fits)
        return self._counted[setting]

    def _largest_batch(self, setting: Setting) -> Optional[Candidate]:
        """Return the largest batch that fits, at most that of the setting."""
        whole = self._counted_once(setting)
        if whole.fits or setting.batch == 1:
            return whole if whole.fits else None
        sizes = divisors(setting.batch)[1:]
        least = self._counted_once(_split(setting, 1))
        if not least.fits:
            return None
        # Memory grows in proportion to the batch, nearly.
        slope = (whole.memory.total - least.memory.total) / (setting.batch - 1)
        for size in sizes:
            if least.memory.total + slope * (size - 1) <= self._limit:
                found = self._counted_once(_split(setting, size))
                if found.fits:
                    return found
        return least

    def _with_budget(self, base: Candidate) -> List[Candidate]:
        """Return what stores as much of the backbone as the limit allows."""
        setting, found = base.setting, []
        least, most = self._budgets(setting.batch, setting.precision)
        room = self._limit - base.memory.total
        for _ in range(ATTEMPTS):
            if room < SPARE * self._limit:
                break
            budget = min(round_down(least + room), round_up(most))
            candidate = self._counted_once(setting._replace(memory_budget=budget))
            left = self._limit - candidate.memory.total
            if candidate.fits:
                found.append(candidate)
                break
            room += left - int(0.01 * self._limit)
        return found

    def _stores_all(self, setting: Setting) -> bool:
        most = self._budgets(setting.batch, setting.precision)[1]
        return (setting.memory_budget or 0) >= most


def _split(setting: Setting, batch: int) -> Setting:
    """Return the setting with smaller batches that are accumulated."""
    images = setting.batch * setting.accumulate
    return setting._replace(batch=batch, accumulate=images // batch)


def _preference(candidate: Candidate) -> Tuple[bool, int, int, int]:
    """Return what sorts candidates: those that fit, less work, larger batches."""
    setting, memory = candidate.setting, candidate.memory
    return not candidate.fits, memory.multiply_adds, -setting.batch, memory.total


def divisors(number: int) -> List[int]:
    """Return the divisors of a number, the largest first."""
    return [n for n in range(number, 0, -1) if number % n == 0]


def round_down(size: int) -> int:
    """Round a number of bytes down to three digits, as one writes it."""
    unit = 10 ** max(0, len(str(int(size))) - 3)
    return int(size) // unit * unit


def round_up(size: int) -> int:
    """Round a number of bytes up to more than it, of three digits."""
    return round_down(size) + 10 ** max(0, len(str(int(size))) - 3)
