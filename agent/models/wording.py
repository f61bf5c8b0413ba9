"""What `preread models check` and `verify` print."""

from collections.abc import Iterator

from inference.verdict import Comparison
from inference.verification import Verification


def check_text(found: Verification) -> str:
    """Writes each line with how it is."""
    return "\n".join(f"{'ok     ' if line.ok else 'PROBLEM'} {line.text}" for line in found.checks)


def verification_text(found: Verification) -> str:
    """Writes the checks, then each tensor's largest difference with its bound, then the verdict."""
    parts = [check_text(found)]
    if found.comparisons:
        parts.append("\n".join(_table(found.comparisons)))
    if found.not_compared:
        parts.append(f"not compared, since no part of the engine makes it: {', '.join(found.not_compared)}")
    wrong_count = sum(not line.ok for line in found.checks)
    failed_count = sum(not one.passed for one in found.comparisons)
    parts.append(
        f"{'PASS' if found.passed else 'FAIL'}: {wrong_count} of {len(found.checks)} checks found a problem, "
        f"{failed_count} of {len(found.comparisons)} tensors are beyond their bound"
    )
    return "\n\n".join(parts)


def _table(comparisons: tuple[Comparison, ...]) -> Iterator[str]:
    width = max(len(one.name) for one in comparisons)
    yield f"{'tensor':{width}}  difference       bound"
    for one in comparisons:
        difference = "-" if one.difference is None else _number(one.difference)
        problem = f"  {one.problem}" if one.problem else ""
        verdict = "PASS" if one.passed else "FAIL"
        yield f"{one.name:{width}}  {difference:>10}  {_number(one.bound):>10}  {verdict}{problem}"


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"
