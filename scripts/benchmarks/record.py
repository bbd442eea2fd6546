"""From times to figures: medians, ratios, rates, the bars, and a comparison with an earlier record."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.contestants import Contestant
from benchmarks.work import Case

Times = Mapping[str, Sequence[float]]
"""Seconds of each round, by contestant."""


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """How many times faster ours is: the median over rounds of the peer's time over ours in the same round."""
    return statistics.median(p / o for o, p in zip(ours, peer, strict=True))


def case_record(
    case: Case,
    times: Times,
    prepared: Mapping[str, Mapping],
    who: Sequence[Contestant],
    peak: Mapping[str, float],
) -> dict:
    """Figures of one case.

    Args:
        case: The work.
        times: Seconds of each round.
        prepared: What preparing said, with "compile_seconds" and "rho_error", by contestant.
        who: The contestants that did it.
        peak: GFLOP/s of the fastest matrix product, by precision.
    """
    rows = {}
    for one in who:
        seconds = statistics.median(times[one.name])
        rate = case.flop / seconds / 1e9
        rows[one.name] = {
            "seconds": [round(t, 5) for t in times[one.name]],
            "median_seconds": seconds,
            "pairs_per_second": case.windows / seconds,
            "pixels_per_second": case.pixels / seconds,
            "gflop_per_second": rate,
            "matmul_fraction": rate / peak[one.precision] if one.precision in peak else None,
            **prepared[one.name],
        }
    own, others = ([one for one in who if (one.kind == "ours") is mine] for mine in (True, False))
    ratios = {o.name: {p.name: ratio(times[o.name], times[p.name]) for p in others} for o in own}
    return {"windows": case.windows, "pixels": case.pixels, "gflop": case.flop / 1e9, "contestants": rows,
            "ours_over_peers": ratios}  # fmt: skip


def bars(cases: Mapping[str, Mapping], who: Sequence[Contestant]) -> list[dict]:
    """The project's three bars on the CPU, one row for each case that they are about.

    Each compares our fastest float32 way with the fastest peer in float32, or with PyTorch channels_last.
    """
    exact = {one.name for one in who if one.precision == "float32"}
    found = []
    for name, case in cases.items():
        ratios = {
            own: {peer: r for peer, r in by.items() if peer in exact}
            for own, by in case["ours_over_peers"].items()
            if own in exact
        }
        # The fastest of ours over all rounds; against each peer in turn, and the least of these is the best peer's.
        medians = {own: case["contestants"][own]["median_seconds"] for own in ratios}
        if not medians or not any(ratios.values()):
            continue
        fastest = min(medians, key=medians.get)
        wanted: list[tuple[str, float, Mapping[str, float]]] = []
        if name.startswith("pairs"):
            wanted.append(("best float32 peer", 1.0, ratios[fastest]))
            last = {peer: r for peer, r in ratios[fastest].items() if peer == "PyTorch channels_last"}
            wanted.append(("PyTorch channels_last", 1.3, last))
        elif name.endswith("-24"):
            wanted.append(("best float32 peer, window by window", 5.0, ratios[fastest]))
        for bar, least, by in wanted:
            if by:
                peer = min(by, key=by.get)
                found.append({"case": name, "bar": bar, "wanted": least, "got": by[peer], "ours": fastest, "peer": peer,
                              "met": by[peer] >= least})  # fmt: skip
    return found


def regressions(new: Mapping, old: Mapping, tolerance: float) -> list[str]:
    """What got slower than the committed record says by more than a share, one line each.

    Ratios are compared, not times, so that another machine's record is still of use: ours over each peer, and ours over
    the fastest matrix product. Contestants and cases that only one of the two has are left out.

    Args:
        new, old: Records of two runs.
        tolerance: Such as 0.15: a ratio below 85 % of the old one is told.
    """
    lines = []
    for name, case in old["cases"].items():
        if name not in new["cases"]:
            continue
        for own, by in case["ours_over_peers"].items():
            now = new["cases"][name]["ours_over_peers"].get(own, {})
            for peer, before in by.items():
                if peer in now and now[peer] < before * (1 - tolerance):
                    lines.append(
                        f"{name}: {own} was {before:.2f} times as fast as {peer}, and is {now[peer]:.2f} times"
                    )
            was, is_now = _beside_products(case, own), _beside_products(new["cases"][name], own)
            if was and is_now and is_now < was * (1 - tolerance):
                lines.append(
                    f"{name}: {own} did {was:.2f} of what a matrix product does in the same time, and does {is_now:.2f}"
                )
    return lines


def _beside_products(case: Mapping, name: str) -> float | None:
    """Operations of a contestant's fastest round over those of matrix products in the same time; None: not known."""
    row = case["contestants"].get(name, {})
    share = row.get("matmul_fraction")
    return share and share * row["median_seconds"] / min(row["seconds"])


def compared(new: Mapping, old: Mapping) -> int:
    """How many ratios both records have."""
    return sum(
        peer in new["cases"].get(name, {}).get("ours_over_peers", {}).get(own, {})
        for name, case in old["cases"].items()
        for own, by in case["ours_over_peers"].items()
        for peer in by
    )
