"""What does masking cost? Results of 20 rows × 6 columns through the proxy, and a result of many rows, masked and not.

    python -m bench.masking [--quick]

    small    one client, one prepared statement: 20 rows × 6 columns, three of them masked (partial, token, redact), against the same
             statement of a client that sees everything: statements a second, and µs of the proxy's processor time for each
    large    a result of a million rows (`--quick`: 200,000), 6 columns, with two masked and free text searched: MB of cells a second of
             the proxy's processor time, and as the client sees it; against the same for a client that sees everything
    compiled the same of the compiled proxy (`make compiled`), where it was built
    rows     the rewriting of rows alone, in this process: MB of cells a second, by what there is to do

Rounds alternate; medians are printed, ratios first.
"""

# ruff: noqa: E501 - SQL

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack

import psycopg
import yaml

from ingest.masking import ColumnPlan, RowMasker, Style, Treatment
from processors.sensitivity import Scanner
from processors.statements import Tokenizer
from schemas.classes import DataClass
from tests.support import affidavit, postgres

SETUP = """
CREATE TABLE people (id int PRIMARY KEY, full_name text, email text, ssn text, notes text, city text);
INSERT INTO people SELECT g, 'Name ' || g, 'user' || g || '@example.org', '536-90-4399', '', 'City ' || g % 100 FROM generate_series(1, 1000) g;
CREATE TABLE visits (id int, email text, full_name text, notes text, amount numeric, at timestamptz);
INSERT INTO visits SELECT g, 'user' || g || '@example.org', 'Name ' || g,
  'asked about order ' || g || ' and whether the lamp could be sent again, as the first one had arrived with a crack in its glass', g / 7.0, now()
  FROM generate_series(1, {rows}) g;
"""
SMALL = "SELECT id, full_name, email, ssn, notes, city FROM people WHERE id BETWEEN %s AND %s"
COMPILED = Path(__file__).parents[1] / "build" / "compiled"
POLICY = {
    "bundle": "bench",
    "clear": [{"id": "clear", "classes": ["*"], "when": "principal.id == 'clear'", "reason": "To compare with."}],
}


def cpu(pid: int) -> float:
    """Seconds of processor time a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def small(proxy: affidavit.Proxy, seconds: float) -> dict[str, tuple[float, float]]:
    """Statements a second, and µs of processor time for each, by principal."""
    connections = {who: psycopg.connect(**proxy.app(who), autocommit=True) for who in ("masked", "clear")}
    found: dict[str, list[tuple[float, float]]] = {who: [] for who in connections}
    for who in ("masked", "clear") * 3:
        cursor = connections[who].cursor(binary=True)
        done, began, before = 0, time.perf_counter(), cpu(proxy.pid)
        while time.perf_counter() - began < seconds:
            cursor.execute(SMALL, (done % 900 + 1, done % 900 + 20), prepare=True)
            assert len(cursor.fetchall()) == 20
            done += 1
        took = time.perf_counter() - began
        found[who].append((done / took, (cpu(proxy.pid) - before) / done * 1e6))
    for connection in connections.values():
        connection.close()
    return {who: (statistics.median(r for r, _ in runs), statistics.median(c for _, c in runs)) for who, runs in found.items()}


def large(proxy: affidavit.Proxy, rows: int) -> dict[str, tuple[float, float]]:
    """MB of cells a second of processor time, and of wall time, by principal."""
    found: dict[str, list[tuple[float, float]]] = {"masked": [], "clear": []}
    with psycopg.connect(**proxy.app("clear")) as connection:
        row = connection.execute(
            "SELECT sum(length(id::text) + length(email) + length(full_name) + length(notes) + length(amount::text) + length(at::text)) FROM visits"
        ).fetchone()
        assert row is not None
        size = float(row[0])
    for who in ("masked", "clear") * 2:
        with psycopg.connect(**proxy.app(who)) as connection, connection.cursor() as cursor:
            began, before, count = time.perf_counter(), cpu(proxy.pid), 0
            for _ in cursor.stream("SELECT id, email, full_name, notes, amount, at FROM visits", size=10_000):
                count += 1
            assert count == rows
            found[who].append((size / 1e6 / (cpu(proxy.pid) - before), size / 1e6 / (time.perf_counter() - began)))
    return {who: (statistics.median(a for a, _ in runs), statistics.median(b for _, b in runs)) for who, runs in found.items()}


def alone(count: int) -> dict[str, float]:
    """MB of cells a second of processor time for rewriting rows, by what is done."""
    scanner, tokenizer = Scanner(), Tokenizer(b"k" * 32)
    text = (
        b"asked about order 4711 and whether the lamp could be sent again, as the first one had arrived with a crack in its glass"
    )
    cells = [b"4711", b"user4711@example.org", text, text, b"City 11", b"2026-01-31 10:11:12+00"]
    body = pack(">h", 6) + b"".join(pack(">i", len(c)) + c for c in cells)
    data = (b"D" + pack(">i", len(body) + 4) + body) * 500
    size = sum(map(len, cells)) * 500
    passed, masked = ColumnPlan(Treatment.PASS, 25), ColumnPlan(Treatment.MASK, 25, False, DataClass.EMAIL, Style.PARTIAL)
    searched = ColumnPlan(Treatment.DETECT, 25)
    plans = {
        "one masked": (passed, masked, passed, passed, passed, passed),
        "two searched": (passed, passed, searched, searched, passed, passed),
        "one masked, two searched": (passed, masked, searched, searched, passed, passed),
        "all searched": (searched,) * 6,
    }
    found = {}
    for name, plan in plans.items():
        masker = RowMasker(plan, scanner, tokenizer)
        found[name] = size / 1e6 / per_run(lambda m=masker: m.run(data, 0), count)  # type: ignore[misc]
    return found


def per_run(work: Callable[[], object], count: int) -> float:
    """Median seconds of processor time of a piece of work."""
    times = []
    for _ in range(count):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return statistics.median(times)


def report(name: str, rows: int, found: dict[str, tuple[float, float]]) -> None:
    """Print what `large` measured."""
    (speed, seen), (clear_speed, clear_seen) = found["masked"], found["clear"]
    print(f"{name:8} {rows:,} rows: {speed:,.1f} MB/s of the proxy's processor time masked, {clear_speed:,.1f} not", end="")
    print(f"   client {seen:,.1f} / {clear_seen:,.1f} MB/s")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="shorter rounds, 200,000 rows")
    quick = arguments.parse_args().quick
    rows = 200_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder, postgres.running({}, oracle=False) as server:
        policy = Path(folder) / "policy.yaml"
        policy.write_text(yaml.safe_dump(POLICY))
        with psycopg.connect(**server.app(), autocommit=True) as setup:
            setup.execute(SETUP.format(rows=rows))
        styles = {"email": "partial", "national_id": "token"}
        settings = {"policy": {"files": [str(policy)]}, "masking": {"styles": styles}}
        with affidavit.proxy(server, settings) as proxy:
            found = small(proxy, 2 if quick else 5)
            (rate, work), (clear_rate, clear_work) = found["masked"], found["clear"]
            print(f"small    masked / not masked {rate / clear_rate:5.2f}  ({rate:,.0f} / {clear_rate:,.0f} a second)", end="")
            print(f"   processor {work:,.0f} / {clear_work:,.0f} µs a statement")
            report("large", rows, large(proxy, rows))
        if COMPILED.is_dir():
            other = affidavit.Proxy(server, settings)
            other.packages = COMPILED.resolve()
            try:
                other.start()
                report("compiled", rows, large(other, rows))
            finally:
                other.kill()
                other.remove()
    for name, speed in alone(20 if quick else 100).items():
        print(f"rows     {name:26} {speed:8.1f} MB/s")


if __name__ == "__main__":
    main()
