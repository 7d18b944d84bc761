"""Which cases must not be separated, as a person says or as their names show."""

from __future__ import annotations

import re
from pathlib import Path

from maskwright.data import naming
from maskwright.data.problem import Problem, listed


def group_cases(
    root: Path, names: list[str], group_by: str | None, problems: list[Problem]
) -> tuple[dict[str, str], str]:
    """Which cases must not be separated, by their names.

    Args:
        root: The folder, for messages.
        names: Names of the cases.
        group_by: Regular expression whose first group, or whole match, names what must stay
            together; ``None`` recognises it.
        problems: Takes what is wrong with the expression.

    Returns:
        The group of each name, and a sentence that says how they were found.

    Example:
        >>> group_cases(Path("."), ["p1_a", "p1_b"], "p[0-9]", [])[0]
        {'p1_a': 'p1', 'p1_b': 'p1'}
    """
    if group_by is None:
        return naming.find_groups(names)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        problems.append(
            Problem(
                "group-pattern",
                "refuse",
                f"group_by={group_by}",
                f"not a regular expression: {error}",
                "mend the pattern",
            )
        )
        return {name: name for name in names}, "no groups"
    found = {name: pattern.search(name) for name in names}
    unmatched = [name for name, match in found.items() if match is None]
    if unmatched:
        problems.append(
            Problem(
                "group-unmatched",
                "refuse",
                str(root),
                f"group_by={group_by} does not match {listed(unmatched)}",
                "change the pattern so that it matches every name",
            )
        )
    groups = {
        name: (match.group(1) if pattern.groups and match.group(1) else match.group())
        if match
        else name
        for name, match in found.items()
    }
    return groups, f"{len(set(groups.values()))} groups by the pattern {group_by!r}"
