"""The log on Kafka: idempotent, confirmed appends by all in-sync replicas; reads by partition, at offsets the reader keeps.

An append waits until every record is confirmed. At its deadline it drops what is unconfirmed and its producer with it, so that of
each partition some first records are appended, no later ones: repeating the call leaves repeats, never a hole or another order.
Memory is bounded by the limits below. Nothing connects before the first call: a proxy starts while its brokers are down.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.config import KafkaSettings
from schemas.log import LogError, LogUnavailableError, NewRecord, Record
from schemas.log.kafka_client import Telling, made, properties, sliced

QUEUE_KIB = 64 * 1024
"""Unconfirmed records a producer holds; an append of more waits for confirmations as it goes."""

PREFETCH_KIB = 16 * 1024
"""Records a consumer holds that nobody asked for yet."""

RECORD_OVERHEAD_BYTES = 512
"""What Kafka adds to a record and its batch, generously."""


class KafkaLog:
    """A log on the brokers of `settings`. Threads may share it; appends go one after the other, and so do reads."""

    def __init__(self, settings: KafkaSettings, reads_only: bool = False) -> None:
        """Check the settings; raises LogError where no client can be made of them, a certificate that is none for instance.

        With `reads_only` no producer is made before the first append.
        """
        self._settings = settings
        self._producing, self._consuming = Lock(), Lock()
        self._append_telling, self._read_telling = Telling(settings), Telling(settings)
        self._consumer: Consumer | None = None
        self._asker: Consumer | None = None
        self._cursor: _Cursor | None = None
        self._interrupted = False
        self._producer: Producer | None = None
        if reads_only:
            self._reader()
        else:
            self._producer = self._new_producer()

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        """Append all records; see `schemas.log.Log.append`."""
        if not records:
            return
        telling = self._append_telling
        what = f"did not confirm {len(records)} records for {self._settings.topic_prefix}{topic}"
        for r in records:
            size = len(r.key) + len(r.value) + sum(len(n.encode()) + len(v) + 10 for n, v in r.headers.items())
            if size + RECORD_OVERHEAD_BYTES > self._settings.max_message_bytes:
                raise telling.word(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), what)
            if any("\0" in name for name in r.headers):  # the client would cut it there
                raise LogError(f"{telling.where} {what}: a header's name has a zero character")
        with self._producing:
            telling.newest = telling.login = None
            deadline = time.monotonic() + self._settings.timeout_seconds
            errors: list[KafkaError] = []
            if self._producer is None:
                self._producer = self._new_producer()
            try:
                self._send(self._producer, topic, records, errors, deadline, what)
                while len(self._producer):
                    self._producer.poll(0.05)
                    self._wait_on(deadline, what)
            except BaseException:
                self._abandon()
                raise
            if errors:
                self._abandon()
                raise telling.word(errors[0], what)

    def _send(
        self,
        producer: Producer,
        topic: str,
        records: Sequence[NewRecord],
        errors: list[KafkaError],
        deadline: float,
        what: str,
    ) -> None:
        def confirmed(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                errors.append(error)

        name = self._settings.topic_prefix + topic
        for r in records:
            headers: list[Any] = list(r.headers.items())
            while True:
                try:
                    producer.produce(name, None if r.tombstone else r.value, r.key, headers=headers, on_delivery=confirmed)
                    break
                except BufferError:
                    producer.poll(0.05)
                    self._wait_on(deadline, what)
                except KafkaException as error:
                    raise self._append_telling.word(error.args[0], what) from None

    def _wait_on(self, deadline: float, what: str) -> None:
        self._append_telling.check(what)
        if self._interrupted:
            raise LogUnavailableError(f"{self._append_telling.where} {what}: given up, this process ends")
        if time.monotonic() > deadline:
            raise self._append_telling.word(KafkaError(KafkaError._MSG_TIMED_OUT), what)

    def _abandon(self) -> None:
        """Drop the producer and all it holds: what it may still have under way must not mix with the next attempt's."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.poll(0)

    def read(self, topic: str, offset: int, limit: int, max_bytes: int = 32 * 1024 * 1024, partition: int = 0) -> list[Record]:
        """Return records from `offset` on; see `schemas.log.Log.read`. Records before the retention are skipped.

        Reading on where the last read ended is cheap; another place or partition begins a new fetch.
        """
        with self._consuming:
            name = self._settings.topic_prefix + topic
            what = f"cannot read {name}, partition {partition}"
            consumer = self._reader()
            try:
                cursor = self._at(consumer, name, partition, offset, what)
                found: list[Record] = []
                size = 0
                deadline = time.monotonic() + self._settings.timeout_seconds
                while len(found) < limit:
                    message = self._next(consumer, cursor, deadline, what)
                    if message is None:
                        break
                    record = _record(topic, message)
                    size += len(record.value)
                    if found and size > max_bytes:
                        cursor.ahead.appendleft(message)
                        break
                    cursor.low = cursor.high = record.offset + 1
                    found.append(record)
                return found
            except BaseException:
                self._cursor = None
                raise

    def _at(self, consumer: Consumer, name: str, partition: int, offset: int, what: str) -> _Cursor:
        cursor = self._cursor
        if cursor is None or not cursor.serves(name, partition, offset):
            end = self._watermarks(name, partition, what)[1]  # an unknown topic is told here, at once
            consumer.assign([TopicPartition(name, partition, offset)])
            cursor = self._cursor = _Cursor(name, partition, offset)
            cursor.end = max(end, cursor.high)
        elif not cursor.ahead and cursor.high >= cursor.end:
            cursor.end = max(self._watermarks(name, partition, what)[1], cursor.high)
        return cursor

    def _next(self, consumer: Consumer, cursor: _Cursor, deadline: float, what: str) -> Message | None:
        """Return the next record, None at the end the partition had. Ends of compacted partitions have no record before them."""
        if cursor.ahead:
            return cursor.ahead.popleft()
        while cursor.high < cursor.end:
            message = consumer.poll(0.2)
            self._read_telling.check(what)
            if message is None:
                if time.monotonic() > deadline:
                    raise self._read_telling.word(KafkaError(KafkaError._TIMED_OUT), what)
                continue
            error = message.error()
            if error is None:
                return message
            if error.code() != KafkaError._PARTITION_EOF:
                raise self._read_telling.word(error, what)
            cursor.high = max(cursor.high, message.offset() or 0)
        return None

    def wait(self, topic: str, offset: int, seconds: float, partition: int = 0) -> bool:
        """Return whether there is a record at `offset` or after it, waiting for one; see `schemas.log.Log.wait`.

        The broker answers when there is one: nothing is asked again and again.
        """
        with self._consuming:
            name = self._settings.topic_prefix + topic
            what = f"cannot read {name}, partition {partition}"
            deadline = time.monotonic() + seconds
            consumer = self._reader()
            try:
                cursor = self._cursor
                if cursor is None or not cursor.serves(name, partition, offset):
                    cursor = self._at(consumer, name, partition, offset, what)
                while not cursor.ahead:
                    message = consumer.poll(max(0.0, min(0.2, deadline - time.monotonic())))
                    self._read_telling.check(what)
                    if message is None:
                        if time.monotonic() >= deadline:
                            return False
                        continue
                    error = message.error()
                    if error is None:
                        cursor.ahead.append(message)
                    elif error.code() != KafkaError._PARTITION_EOF:
                        raise self._read_telling.word(error, what)
                return True
            except BaseException:
                self._cursor = None
                raise

    def end_offset(self, topic: str, partition: int = 0) -> int:
        """Return the offset the partition's next record will get."""
        return self._ends(topic, partition)[1]

    def start_offset(self, topic: str, partition: int = 0) -> int:
        """Return the offset of the oldest record kept; the end offset if there is none."""
        return self._ends(topic, partition)[0]

    def _ends(self, topic: str, partition: int) -> tuple[int, int]:
        with self._consuming:
            name = self._settings.topic_prefix + topic
            self._reader()
            return self._watermarks(name, partition, f"cannot read {name}, partition {partition}")

    def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has."""
        name = self._settings.topic_prefix + topic
        what = f"cannot tell the partitions of {name}"
        with self._consuming:
            consumer = self._reader()

            def ask(seconds: float) -> int:
                about = consumer.list_topics(name, timeout=seconds).topics[name]
                if about.error is not None:
                    raise KafkaException(about.error)
                return len(about.partitions)

            return int(sliced(ask, self._serve, self._read_telling, what, self._settings.timeout_seconds))

    def interrupt(self) -> None:
        """Have appends give up; see `schemas.log.Log.interrupt`."""
        self._interrupted = True

    def close(self) -> None:
        """Release connections; a second call does nothing."""
        with self._producing:
            self._abandon()
        with self._consuming:
            consumers = self._consumer, self._asker
            self._consumer = self._asker = self._cursor = None
            for consumer in consumers:
                if consumer is not None:
                    consumer.close()

    def _watermarks(self, name: str, partition: int, what: str) -> tuple[int, int]:
        """Ask where a partition begins and ends, by a consumer of its own: a connection that fetches answers behind its fetch."""
        if self._asker is None:
            self._asker = made(lambda: Consumer(self._properties()), self._read_telling)
        asker: Consumer = self._asker

        def ask(seconds: float) -> tuple[int, int]:
            low, high = asker.get_watermark_offsets(TopicPartition(name, partition), timeout=seconds)
            return int(low), int(high)

        try:
            low, high = sliced(ask, self._serve, self._read_telling, what, self._settings.timeout_seconds)
        except LogError as error:
            if not isinstance(error, LogUnavailableError):
                # What brokers that had just started did not know yet, this client goes on believing for minutes.
                self._asker = None
                asker.close()
            raise
        return low, high

    def _serve(self) -> None:
        """Let consumers tell their errors; what one hands out meanwhile is fetched again."""
        self._cursor = None
        for consumer in (self._consumer, self._asker):
            if consumer is not None:
                consumer.poll(0)

    def _reader(self) -> Consumer:
        self._read_telling.newest = self._read_telling.login = None
        if self._consumer is None:
            self._consumer = made(lambda: Consumer(self._properties()), self._read_telling)
        assert self._consumer is not None
        return self._consumer

    def _properties(self) -> dict[str, Any]:
        return {
            **properties(self._settings, self._read_telling),
            "group.id": "affidavit-readers",  # demanded by the client; we assign ourselves and commit nothing
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": PREFETCH_KIB,
            "fetch.message.max.bytes": self._settings.max_message_bytes,
            "fetch.wait.max.ms": 100,
        }

    def _new_producer(self) -> Producer:
        if not self._settings.bootstrap_servers:
            raise LogError("log.kafka.bootstrap_servers names no broker")
        wanted = {
            **properties(self._settings, self._append_telling),
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 0,
            "message.timeout.ms": 0,  # our own deadline drops all at once; one by one would leave holes
            "message.max.bytes": self._settings.max_message_bytes,
            "queue.buffering.max.kbytes": QUEUE_KIB,
            "partitioner": "murmur2_random",  # Java's and aiokafka's choice: a key has one partition whoever writes
        }
        producer: Producer = made(lambda: Producer(wanted), self._append_telling)
        return producer


class _Cursor:
    """Where the consumer is: reads at `low` to `high` go on from here (between them are no records); `end` as last heard."""

    def __init__(self, name: str, partition: int, offset: int) -> None:
        self.name, self.partition = name, partition
        self.low = self.high = offset
        self.end = 0
        self.ahead: deque[Message] = deque()

    def serves(self, name: str, partition: int, offset: int) -> bool:
        """Whether a read there goes on from here."""
        return (self.name, self.partition) == (name, partition) and self.low <= offset <= self.high


def _record(topic: str, message: Message) -> Record:
    held: list[tuple[str, Any]] = list(message.headers() or [])  # type: ignore[arg-type]
    headers = {name: value if isinstance(value, bytes) else b"" for name, value in held}
    key, value = message.key(), message.value()
    return Record(
        topic,
        message.offset() or 0,
        key if isinstance(key, bytes) else b"",
        value if isinstance(value, bytes) else b"",
        headers,
        message.partition() or 0,
        message.timestamp()[1] * 1000,
        value is None,
    )
