"""Do the two ORMs most of Python uses go through the proxy and back unchanged? Round trips with SQLAlchemy and Django."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from tests.support.clients import Comparison, Parameters, needle


class Base(orm.DeclarativeBase):
    """Declarative base of the test's tables."""


class Customer(Base):
    """A customer with orders."""

    __tablename__ = "sa_customers"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    email: orm.Mapped[str] = orm.mapped_column(unique=True)
    details: orm.Mapped[dict[str, Any]] = orm.mapped_column(sa.JSON)
    orders: orm.Mapped[list[Order]] = orm.relationship(back_populates="customer", cascade="all, delete-orphan")


class Order(Base):
    """An order of a customer."""

    __tablename__ = "sa_orders"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    customer_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("sa_customers.id"))
    total: orm.Mapped[Any] = orm.mapped_column(sa.Numeric(10, 2))
    customer: orm.Mapped[Customer] = orm.relationship(back_populates="orders")


def engine(to: Parameters) -> sa.Engine:
    """Return a SQLAlchemy engine with one connection."""
    url = sa.URL.create(
        "postgresql+psycopg", to["user"], to["password"], to["host"], to["port"], to["dbname"],
        query={"application_name": to["application_name"]},
    )  # fmt: skip
    return sa.create_engine(url, pool_size=1, max_overflow=0)


def test_sqlalchemy_core(compare: Comparison) -> None:
    table = sa.Table(
        "sa_core", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text), prefixes=["TEMP"]
    )

    def scenario(to: Parameters) -> Any:
        made = engine(to)
        with made.begin() as connection:
            table.create(connection)
            connection.execute(sa.insert(table), [{"id": n, "name": f"name {n}"} for n in range(50)])
            connection.execute(sa.update(table).where(table.c.id < 10).values(name=sa.func.upper(table.c.name)))
            rows = connection.execute(sa.select(table).order_by(table.c.id)).all()
            gone = connection.execute(sa.delete(table).where(table.c.id.in_([1, 2, 3])).returning(table.c.id)).all()
        made.dispose()
        return [tuple(row) for row in rows], [tuple(row) for row in gone]

    done = compare(scenario)
    assert done.one("update")["outcome"]["rows_affected"] == 10
    assert done.one("delete")["outcome"]["rows_affected"] == 3
    assert len(done.events) == len(done.executed)


def test_sqlalchemy_orm(compare: Comparison) -> None:
    secret = needle()

    def scenario(to: Parameters) -> Any:
        made = engine(to)
        Base.metadata.create_all(made)
        try:
            with orm.Session(made) as session:
                ana = Customer(email=secret, details={"tier": "gold", "note": secret}, orders=[Order(total=5), Order(total=7)])
                session.add_all([ana, Customer(email="other@example.org", details={})])
                session.commit()
                found = session.scalars(
                    sa.select(Customer).where(Customer.email == secret).options(orm.selectinload(Customer.orders))
                ).one()
                seen = [found.email, found.details, [str(order.total) for order in found.orders]]
                found.orders.pop()
                session.commit()
                seen.append(session.scalar(sa.select(sa.func.count()).select_from(Order)))
            return seen
        finally:
            Base.metadata.drop_all(made)
            made.dispose()

    done = compare(scenario)
    assert len(done.events) == len(done.executed) > 10
    assert {event["outcome"]["status"] for event in done.events} == {"ok"}
    compare.proxy.assert_nowhere(secret)


_DJANGO_MODELS = textwrap.dedent(
    """
    from django.db import models

    class Author(models.Model):
        name = models.CharField(max_length=200, unique=True)
        born = models.DateField(null=True)

    class Book(models.Model):
        author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
        title = models.TextField()
        tags = models.JSONField(default=list)
    """
)
_DJANGO_MAIN = textwrap.dedent(
    """
    import json, os
    import django
    from django.conf import settings

    to, secret = json.loads(os.environ["CONNECT"]), os.environ["SECRET"]
    settings.configure(
        DATABASES={"default": {
            "ENGINE": "django.db.backends.postgresql", "NAME": to["dbname"], "USER": to["user"], "PASSWORD": to["password"],
            "HOST": to["host"], "PORT": to["port"], "OPTIONS": {"application_name": to["application_name"]},
        }},
        INSTALLED_APPS=["library"], USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    from django.db import IntegrityError, connection, models, transaction
    from library.models import Author, Book

    out = []
    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)
    try:
        ana = Author.objects.create(name=secret, born="1970-01-31")
        Book.objects.bulk_create([Book(author=ana, title=f"{secret} volume {n}", tags=[n]) for n in range(20)])
        out.append(list(Book.objects.filter(title__icontains="volume 1").order_by("id").values_list("title", "tags")))
        out.append(Author.objects.annotate(n=models.Count("books")).values("name", "n").get())
        try:
            with transaction.atomic():
                Author.objects.create(name=secret)
        except IntegrityError as error:
            out.append(str(error))
        out.append(Book.objects.filter(tags__contains=[3]).update(title="third"))
        out.append(sum(1 for _ in Book.objects.iterator(chunk_size=7)))
        out.append(ana.delete())
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Book)
            editor.delete_model(Author)
    connection.close()
    print(json.dumps(out))
    """
)


def test_django_orm(compare: Comparison, tmp_path: Path) -> None:
    """In a child process: Django's settings are one per process."""
    secret = needle()
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "__init__.py").touch()
    (tmp_path / "library" / "models.py").write_text(_DJANGO_MODELS)
    (tmp_path / "main.py").write_text(_DJANGO_MAIN)

    def scenario(to: Parameters) -> Any:
        environment = {**os.environ, "CONNECT": json.dumps(to), "SECRET": secret}
        done = subprocess.run(
            [sys.executable, "-W", "error", "main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    done = compare(scenario)
    assert len(done.result[0]) == 11
    assert len(done.events) == len(done.executed) > 15
    assert [event["outcome"]["sqlstate"] for event in done.events if event["outcome"]["status"] == "error"] == ["23505"]
    compare.proxy.assert_nowhere(secret)
