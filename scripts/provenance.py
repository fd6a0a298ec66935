"""Where a paper's rows come from: runs grouped by commit, versions, device and settings of the machine."""

import json
from pathlib import Path
from typing import Any

from infolab import results as tables
from scripts.tables import declared_tables


def runs(results: Path, paper: str) -> list[dict[str, str]]:
    """One record for each group of runs of `paper` that share all but seed, config and wall time.

    The user's runs come first, then the reference's. Keys: whose, table, preset, commit, versions, device, runs, rows,
    seeds, minutes; all of them text.
    """
    records = []
    for root, whose in ((results, "yours"), (results / "reference", "reference")):
        for table in sorted(name for name in declared_tables() if name.startswith(f"{paper}/")):
            groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
            for path in tables.files(root, table):
                record = json.loads((path.parent / f"{path.name.split('.csv')[0]}.json").read_text())
                groups.setdefault(_key(record), []).append(record)
            records += [_describe(whose, table, key, members) for key, members in groups.items()]
    return records


def _key(record: dict[str, Any]) -> tuple[str, ...]:
    commit = str(record.get("git_commit") or "unknown")[:10]
    clean = "" if record.get("git_clean", True) else " (with local changes)"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.get("versions", {}).items()))
    machine = record.get("machine", {}).get("processor", "")
    device = f"{record.get('device', 'unknown device')}, {record.get('threads', '?')} threads"
    return str(record.get("preset", "")), commit + clean, versions, f"{device}, {machine}" if machine else device


def _describe(whose: str, table: str, key: tuple[str, ...], members: list[dict[str, Any]]) -> dict[str, str]:
    seeds = sorted({seed for member in members for seed in _seeds(member)})
    return {
        "whose": whose,
        "table": table,
        **dict(zip(("preset", "commit", "versions", "device"), key, strict=True)),
        "runs": f"{len(members):,}",
        "rows": f"{sum(int(member.get('rows', 0)) for member in members):,}",
        "seeds": ", ".join(map(str, seeds)),
        "minutes": f"{sum(float(member.get('seconds', 0.0)) for member in members) / 60:.1f}",
    }


def _seeds(member: dict[str, Any]) -> list[int]:
    config = member.get("config", {})
    several = config.get("seeds")
    if isinstance(several, list):
        return [int(seed) for seed in several]
    return [int(config["seed"])] if isinstance(config.get("seed"), int) else []
