"""Publishes usage events and waits until Kafka has them. Needs confluent-kafka (pip install confluent-kafka)."""

import json
import os
import uuid
from datetime import datetime, timezone

from confluent_kafka import Producer

TOPIC = os.environ.get("TOPIC", "usage.events")
producer = Producer({"bootstrap.servers": os.environ.get("BROKERS", "127.0.0.1:9092"), "enable.idempotence": True})


def usage(**fields):
    """An event with an id and a time of its own. It is made once: a retry sends the same event again."""
    return {"id": str(uuid.uuid4()), "source": "shop-bot", "time": datetime.now(timezone.utc).isoformat(), **fields}


def publish(events):
    """Hands the events to Kafka and waits for its answers. Gives back those that were not acknowledged."""
    left = []
    for event in events:
        def answered(error, _message, event=event):
            if error is not None:
                left.append(event)

        producer.produce(TOPIC, key=event["account"], value=json.dumps(event), on_delivery=answered)
        producer.poll(0)
    producer.flush()
    return left


if __name__ == "__main__":
    events = [
        usage(account="acme", platform="web", user="u-17", agent="support-triage", category="llm", model="gpt-4o",
              duration_ms=2150, input_tokens=1200, output_tokens=300),
        usage(account="acme", agent="painter", category="image", model="sdxl", quantity="3"),
    ]
    while events:
        events = publish(events)
