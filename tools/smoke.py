"""The shortest whole use of an installed merkql: send, read, prove. Run outside of the checkout."""

from __future__ import annotations

import merkql


def main() -> None:
    with merkql.Broker.temporary() as broker:
        sent = broker.producer().send("orders", b"widget", key=b"order-42")
        with broker.consumer("billing") as consumer:
            consumer.subscribe(["orders"])
            (record,) = consumer.poll(timeout=5.0)
        proof = broker.topic("orders").partition(sent.partition).proof(sent.offset)
        assert (record.key, record.value) == (b"order-42", b"widget")
        assert proof.verify(record)
    print(f"merkql {merkql.__version__} from {merkql.__file__}: sent, read and proved one record")


if __name__ == "__main__":
    main()
