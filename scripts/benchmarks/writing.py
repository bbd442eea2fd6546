"""The record of a run as a Markdown table, and as a plot."""

import pathlib
from collections.abc import Mapping


def _number(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else f"{value:{form}}"


def _rate(value: float) -> str:
    return f"{value / 1e6:.2f} M"


def case_table(name: str, case: Mapping) -> str:
    """One case: a row for each contestant, fastest first."""
    own = min(
        case["ours_over_peers"], key=lambda one: case["contestants"][one]["median_seconds"], default=None
    )  # our fastest
    unit = "windows/s" if name.startswith("scene") else "pairs/s"
    lines = [
        f"| {name} | {unit} | px/s | GFLOP/s | of matmul peak | first run, s | rho differs by | time over ours |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for who, row in sorted(case["contestants"].items(), key=lambda item: item[1]["median_seconds"]):
        by = case["ours_over_peers"].get(own, {}).get(who)
        fraction = row["matmul_fraction"]
        lines.append(
            f"| {who} | {_number(row['pairs_per_second'])} | {_rate(row['pixels_per_second'])} | "
            f"{_number(row['gflop_per_second'])} | {'-' if fraction is None else f'{fraction:.0%}'} | "
            f"{_number(row['compile_seconds'], '.1f')} | {_number(row['rho_error'], '.0e')} | "
            f"{'(' + own + ' = 1)' if who == own else _number(by, '.2f')} |"
        )
    return "\n".join(lines)


def growth_table(cases: Mapping[str, Mapping]) -> str:
    """Milliseconds for each pair, or microseconds for each pixel of a scene, as the work grows."""
    groups: dict[str, list[str]] = {}
    for name in cases:
        kind = name.rsplit("-n", 1)[0] if name.startswith("pairs") else "scene-every-" + name.rsplit("-", 1)[1]
        groups.setdefault(kind, []).append(name)
    blocks = []
    for kind, names in groups.items():
        if len(names) < 2:
            continue
        whos = [who for who in cases[names[0]]["contestants"] if all(who in cases[n]["contestants"] for n in names)]
        unit = "ms/pair" if kind.startswith("pairs") else "us/px"
        rows = [f"| {kind}, {unit} | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
        for who in whos:
            cells = [
                1e3 / row["pairs_per_second"] if kind.startswith("pairs") else 1e6 / row["pixels_per_second"]
                for row in (cases[name]["contestants"][who] for name in names)
            ]
            rows.append(f"| {who} | " + " | ".join(_number(cell) for cell in cells) + " |")
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks)


def bars_table(bars: list[Mapping]) -> str:
    """The bars, and whether each was met."""
    rows = ["| case | bar | wanted | got | ours | peer | met |", "| --- | --- | ---: | ---: | --- | --- | --- |"]
    for bar in bars:
        rows.append(
            f"| {bar['case']} | {bar['bar']} | {bar['wanted']:.1f} | {bar['got']:.2f} | {bar['ours']} | "
            f"{bar['peer']} | {'yes' if bar['met'] else 'NO'} |"
        )
    return "\n".join(rows)


def workers_table(workers: Mapping[str, Mapping], absent: Mapping[str, str]) -> str:
    """Memory and batch sizes of each process, and who was absent."""
    rows = ["| contestant | peak memory, MiB | after its imports | batch |", "| --- | ---: | ---: | --- |"]
    for who, about in workers.items():
        batch = about.get("batch") or about.get("micro_batch") or "-"
        if isinstance(batch, dict):
            batch = ", ".join(f"{size} at {side} px" for side, size in batch.items())
        rows.append(f"| {who} | {about['mib']:.0f} | {about['start_mib']:.0f} | {batch} |")
    return "\n".join(rows + [f"| {who} | absent: {why} | | |" for who, why in absent.items()])


def markdown(record: Mapping) -> str:
    """The whole record as Markdown."""
    machine, peak = record["machine"], record["matmul_gflops"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    head = (
        f"{machine['processors']} x {machine['processor']} ({', '.join(machine['instructions'])}), "
        f"{machine['system']}, Python {machine['python']}; {versions}.\n\nFastest matrix product measured: "
        + ", ".join(f"{value:.0f} GFLOP/s {name}" for name, value in peak.items())
        + f". {record['rounds']} alternating rounds, medians; load (1 min) {record['load'][0]} at the start, "
        f"{record['load'][1]} at the end.\n\nCommand: `{record['command']}`, {record['date']}."
    )
    parts = [head, bars_table(record["bars"])]
    parts += [case_table(name, case) for name, case in record["cases"].items()]
    parts += [growth_table(record["cases"]), workers_table(record["workers"], record["absent"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def plot(record: Mapping, path: pathlib.Path) -> None:
    """Pairs per second of each contestant, a panel for each case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = record["cases"]
    columns = min(3, len(cases))
    lines = -(-len(cases) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(5.2 * columns, 3.4 * lines), squeeze=False)
    for axis, (name, case) in zip(axes.flat, cases.items(), strict=False):
        rows = sorted(case["contestants"].items(), key=lambda item: item[1]["pairs_per_second"])
        colours = ["tab:orange" if who in case["ours_over_peers"] else "tab:gray" for who, _ in rows]
        axis.barh([who for who, _ in rows], [row["pairs_per_second"] for _, row in rows], color=colours)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("windows per second" if name.startswith("scene") else "pairs per second", fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(cases) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
