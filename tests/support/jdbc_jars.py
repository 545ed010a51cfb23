"""The JDBC driver for tests: resolved from Maven Central by `mvn`, kept under `.cache/jdbc`, run by the Java of Kafka."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.kafka_jars import java

VERSION = "42.7.8"
CACHE = Path(__file__).parents[2] / ".cache" / "jdbc"
PROGRAM = Path(__file__).with_name("Jdbc.java")
FETCH_SECONDS = 300
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>affidavit.tests</groupId><artifactId>jdbc</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>{VERSION}</version></dependency>
  </dependencies>
</project>
"""


def folder() -> Path:
    """Return where this version's jars are, or will be."""
    return CACHE / VERSION


def missing() -> str:
    """Return why pgjdbc cannot run here, as one sentence; empty if it can."""
    if java() is None:
        return "pgjdbc needs Java (`java`), which is not here: run make provision"
    return "" if folder().is_dir() else f"pgjdbc {VERSION} is missing from .cache/jdbc: run make provision"


def fetch() -> str:
    """Get the driver if it is not here; return what went wrong, empty if nothing did."""
    if folder().is_dir():
        return ""
    maven = shutil.which("mvn")
    if maven is None or java() is None:
        return missing()
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetching-") as work:
        pom, jars = Path(work) / "pom.xml", Path(work) / "jars"
        pom.write_text(_POM)
        command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        command += [f"-DoutputDirectory={jars}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return f"mvn did not bring pgjdbc within {FETCH_SECONDS} s"
        if done.returncode or not any(jars.glob("postgresql-*.jar")):
            said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["no message"]
            return f"mvn could not bring pgjdbc: {said[0][:400]}"
        if not folder().is_dir():  # another run may have been faster
            jars.rename(folder())
    return ""


def run(url: str, user: str, password: str, bad: str) -> list[str]:
    """Run the program of `Jdbc.java`; return the lines it prints. `bad` is the statement that is to fail."""
    program = java()
    assert program is not None
    flags = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{folder()}/*", str(PROGRAM)]
    done = subprocess.run([program, *flags, url, user, password, bad], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout.splitlines()
