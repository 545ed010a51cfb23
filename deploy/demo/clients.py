"""Who uses the demonstration's databases: an application, an engineer, and an AI agent the engineer set to work.

All three speak to the proxy over the wire with their own token, through psycopg, as they would to any PostgreSQL. A lead decides,
by the API, on what the agent may not do alone (policy.yaml).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from textwrap import shorten
from typing import Any

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool
from rich.markup import escape

from deploy.api_client import ApiClient
from deploy.demo.data import CUSTOMERS, PRODUCTS

VISITS = 160
SHOPPERS = 4
DENIED = 3
"""Statements of the agent that are refused: two by policy, one by the lead."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Door:
    """How a principal reaches a database: through the proxy, by its token."""

    host: str
    port: int
    principal: str
    token: str
    application: str

    def conninfo(self, database: str) -> dict[str, Any]:
        """Return libpq's parameters."""
        who = {"user": self.principal, "password": self.token, "application_name": self.application}
        return {"host": self.host, "port": self.port, "dbname": database, "connect_timeout": 10, **who}


def storefront(door: Door, seed: int, say: Say) -> None:
    """The shop's application: a connection pool, prepared statements, short transactions."""
    conninfo = psycopg.conninfo.make_conninfo("", **door.conninfo("shop"))
    options = {"autocommit": True, "prepare_threshold": 1}
    with (
        ConnectionPool(conninfo, min_size=2, max_size=SHOPPERS, kwargs=options, open=True, timeout=30) as pool,
        ThreadPoolExecutor(SHOPPERS, thread_name_prefix="shopper") as shoppers,
    ):
        chances = [Random(seed * 100 + n) for n in range(SHOPPERS)]  # noqa: S311
        visits = [shoppers.submit(_shop, pool, chance, VISITS // SHOPPERS) for chance in chances]
        bought = sum(visit.result() for visit in visits)
    say(f"storefront served {VISITS} visits from a pool of {SHOPPERS} connections; {bought} ended in an order")


def _shop(pool: ConnectionPool, random: Random, visits: int) -> int:
    bought = 0
    for _ in range(visits):
        customer, product = random.randint(1, CUSTOMERS), random.randint(1, PRODUCTS)
        with pool.connection() as connection:
            connection.execute("SELECT id, full_name, email FROM customers WHERE id = %s", (customer,)).fetchone()
            connection.execute("SELECT name, price, stock FROM products WHERE id = %s", (product,)).fetchone()
            if random.random() < 0.3:
                _buy(connection, customer, product, random.randint(1, 3))
                bought += 1
    return bought


def _buy(connection: psycopg.Connection[Any], customer: int, product: int, quantity: int) -> None:
    with connection.transaction():
        row = connection.execute(
            "INSERT INTO orders (customer_id, status) VALUES (%s, 'paid') RETURNING id", (customer,)
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO order_items (order_id, product_id, quantity, price) "
            "SELECT %s, id, %s, price FROM products WHERE id = %s",
            (row[0], quantity, product),
        )
        connection.execute("UPDATE products SET stock = stock - %s WHERE id = %s", (quantity, product))
        connection.execute(
            "INSERT INTO payments (order_id, amount, method, card_last4) "
            "SELECT %s, p.price * %s, 'card', c.card_last4 FROM products p, customers c WHERE p.id = %s AND c.id = %s",
            (row[0], quantity, product, customer),
        )


def engineer(door: Door, say: Say) -> None:
    """An engineer at a prompt: questions typed as they come, a typing error, two exports."""
    with psycopg.connect(**door.conninfo("shop"), autocommit=True) as shop:
        shop.execute("SELECT status, count(*) FROM orders GROUP BY status ORDER BY 2 DESC").fetchall()
        shop.execute(
            "SELECT c.country, sum(p.amount) FROM payments p JOIN orders o ON o.id = p.order_id "
            "JOIN customers c ON c.id = o.customer_id WHERE p.paid_at > now() - interval '90 days' "
            "GROUP BY 1 ORDER BY 2 DESC LIMIT 5"
        ).fetchall()
        with contextlib.suppress(psycopg.errors.UndefinedColumn):
            shop.execute("SELECT full_name, emial FROM customers WHERE city = 'Vienna' LIMIT 10")
        say("dana mistyped a column; the database refused")
        shop.execute("SELECT full_name, email FROM customers WHERE city = 'Vienna' LIMIT 10").fetchall()
        shop.execute("SELECT * FROM orders WHERE customer_id = 4711").fetchall()
        with shop.cursor().copy("COPY customers (full_name, email, phone, card_last4) TO STDOUT (FORMAT csv)") as copy:
            line = b"".join(copy).splitlines()[0].decode()
        say(f"dana exported the table of customers; its first line arrived as [bold]{escape(line)}[/]")
        shop.execute("SELECT * FROM customers").fetchall()
    with psycopg.connect(**door.conninfo("hr"), autocommit=True) as hr:
        hr.execute(
            "SELECT d.name, round(avg(s.amount)) FROM salaries s JOIN employees e ON e.id = s.employee_id "
            "JOIN departments d ON d.id = e.department_id GROUP BY 1 ORDER BY 2 DESC"
        ).fetchall()
        hr.execute(
            "SELECT e.full_name, s.amount FROM employees e JOIN salaries s ON s.employee_id = e.id "
            "ORDER BY s.amount DESC LIMIT 20"
        ).fetchall()
    say("dana looked at salaries in the other database")


def agent(door: Door, say: Say) -> None:
    """An AI agent working for the engineer: explores, reads, tries something dangerous, cleans up after itself."""
    run = "run-7f3a91"

    def claimed(statement: str, tool: str) -> sql.SQL:
        # sqlcommenter: https://google.github.io/sqlcommenter/spec/
        return sql.SQL(f"{statement} /*agent_run='{run}',tool_call='{tool}'*/")

    with psycopg.connect(**door.conninfo("shop"), autocommit=True) as shop:
        tables = shop.execute(
            claimed("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1", "list_tables")
        ).fetchall()
        for (table,) in tables:
            shop.execute(
                claimed(
                    "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s ORDER BY 1",
                    "describe_table",
                ),
                (table,),
            ).fetchall()
        say(f"copilot explored {len(tables)} tables")
        seen: list[Any] = []
        for offset in range(0, 300, 100):
            seen += shop.execute(
                claimed("SELECT id, full_name, email, phone FROM customers ORDER BY id LIMIT 100 OFFSET %s", "run_query"),
                (offset,),
            ).fetchall()
        say(f"copilot, for dana, read {len(seen)} customers; it sees [bold]{escape(', '.join(map(str, seen[0])))}[/]")
        shop.execute(claimed("BEGIN", "run_query"))
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            shop.execute(claimed("UPDATE customers SET marketing = true", "run_query"))
            raise AssertionError("an agent changed every row")
        shop.execute(claimed("ROLLBACK", "run_query"))
        say("copilot was about to change all customers without a WHERE: policy denied it, the session goes on")
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            shop.execute(claimed("TRUNCATE payments", "run_query"))
            raise AssertionError("an agent emptied a table")
        shop.execute(claimed("CREATE TABLE scratch AS SELECT status, count(*) AS n FROM orders GROUP BY status", "run_query"))
        shop.execute(claimed("SELECT * FROM scratch ORDER BY n DESC", "run_query")).fetchall()
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            shop.execute(claimed("ALTER TABLE payments DROP COLUMN card_last4", "run_query"))
            raise AssertionError("an agent changed a table that a lead kept")
        shop.execute(claimed("DROP TABLE scratch", "run_query"))
        say("copilot made a table of its own and dropped it, each time after lee had looked")


def lead(api: ApiClient, work_goes_on: Callable[[], bool], say: Say) -> None:
    """Somebody who looks at what waits, and decides: the agent may have a table of its own, and no other."""
    decided: set[str] = set()
    while work_goes_on():
        for waiting in api.pages("/api/v1/approvals", 100, state="open"):
            if waiting["approval_id"] in decided:
                continue
            decided.add(waiting["approval_id"])
            text = shorten(waiting["text"], 60, placeholder=" …")
            fine = "scratch" in text
            reason = "A table of its own is fine." if fine else "Payments stay as they are."
            api.post(f"/api/v1/approvals/{waiting['approval_id']}/decision", {"approved": fine, "reason": reason})
            say(f"lee {'approved' if fine else 'denied'} [italic]{escape(text)}[/] of {waiting['principal']['id']}: {reason}")
        time.sleep(0.1)


def intruder(door: Door, say: Say) -> None:
    """Somebody with a token that was revoked."""
    try:
        psycopg.connect(**door.conninfo("shop")).close()
    except psycopg.OperationalError:
        say(f"a login as {door.principal} with a revoked token was refused")
        return
    raise AssertionError("a revoked token logged in")
