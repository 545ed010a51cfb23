"""Apache Kafka's programs for tests: resolved from Maven Central by `mvn`, kept under `.cache/kafka`, run by Java 17 or newer.

Maven's own configuration says which registry it asks. What is missing is said in one sentence, which tests skip with.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

VERSION = "4.1.1"
LOGGING = "1.7.36"
"""slf4j's version: the one Kafka asks for, so that its warnings reach stderr."""

CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
MINIMUM_JAVA = 17
FETCH_SECONDS = 600

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>affidavit.tests</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>{LOGGING}</version></dependency>
  </dependencies>
</project>
"""


def folder() -> Path:
    """Return where this version's jars are, or will be."""
    return CACHE / VERSION


def cached() -> bool:
    """Return whether the jars are here; they come into place all at once."""
    return folder().is_dir()


@functools.cache
def java() -> str | None:
    """Return a Java that can run Kafka: JAVA_HOME's, else the path's; None where it is missing or too old."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        return None
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    return found if version and int(version[1]) >= MINIMUM_JAVA else None


def missing() -> str:
    """Return why Kafka cannot run here, as one sentence; empty if it can."""
    if java() is None:
        return f"Apache Kafka needs Java {MINIMUM_JAVA} or newer (`java`), which is not here: run make provision"
    if not cached():
        maven = "" if shutil.which("mvn") else " and Maven (`mvn`) to get them"
        return f"Apache Kafka {VERSION}: its jars{maven} are missing from .cache/kafka: run make provision"
    return ""


def fetch() -> str:
    """Get the jars if they are not here; return what went wrong, empty if nothing did."""
    if cached():
        return ""
    maven = shutil.which("mvn")
    if maven is None or java() is None:
        return missing()
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetching-") as work:
        pom = Path(work) / "pom.xml"
        pom.write_text(_POM)
        jars = Path(work) / "jars"
        command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        try:
            done = subprocess.run(
                [*command, f"-DoutputDirectory={jars}"],
                capture_output=True,
                text=True,
                timeout=FETCH_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return f"mvn did not bring Apache Kafka's jars within {FETCH_SECONDS} s"
        if done.returncode or not any(jars.glob("kafka_2.13-*.jar")):
            said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["no message"]
            return f"mvn could not bring Apache Kafka's jars: {said[0][:400]}"
        if not cached():  # another run may have been faster
            jars.rename(folder())
    return ""


def command(main: str, *arguments: str, heap_mb: int = 256, properties: Mapping[str, str] | None = None) -> list[str]:
    """Return the command line that runs one of Kafka's main classes; a small heap, and little compilation for a quick start."""
    program = java()
    if program is None or not cached():
        raise RuntimeError(missing())
    flags = [f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    quiet = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
    given = [f"-D{name}={value}" for name, value in (properties or {}).items()]
    return [program, *flags, *quiet, *given, "-cp", f"{folder()}/*", main, *arguments]
