"""`make bench`: every benchmark in one process, one table. Compare figures of one run only; machines are noisy."""

import platform

from tests.bench import books, kernels, pipeline, screens, whole, wire
from tests.bench.row import Row


def main() -> None:
    print(f"Python {platform.python_version()}, CPU seconds of this process")
    for title, found in (
        ("The path, on the three-market night", pipeline.rows()),
        ("Socket to engine, over loopback", wire.rows()),
        ("Screens, on the same night at 160x50", screens.rows()),
        ("The whole program live at 160x50: five venues, three coins", whole.rows()),
        ("Books", [Row(name, value, "", note) for name, value, note in books.rows()]),
        ("Kernels, us per update", [Row(name, value, "us", note) for name, value, note in kernels.rows()]),
    ):
        print(f"\n{title}")
        width = max(len(row.name) for row in found)
        for row in found:
            figure = f"{row.value:,.0f}" if row.value >= 1000 else f"{row.value:.3g}"
            print(f"  {row.name:<{width}}  {figure:>9} {row.unit:<9} {row.note}".rstrip())


if __name__ == "__main__":
    main()
