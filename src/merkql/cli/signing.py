"""What the commands that sign, publish and watch share: keys, policies, the partitions meant."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from merkql.broker import Broker
from merkql.cli.chosen import partitions_of
from merkql.cli.opening import to_read
from merkql.cli.parsing import UsageError
from merkql.cli.quantities import partition
from merkql.storage.files import Files, read_file
from merkql.storage.partition import Partition
from merkql.transparency.note import VerifierKey
from merkql.transparency.policy import Policy, parse_policy

POLICY_SIZE_MAX = 1 << 20


def add_partitions(parser: ArgumentParser) -> None:
    """Which partitions; all of all topics where nothing is said."""
    parser.add_argument("-t", "--topic", metavar="TOPIC", help="only this topic")
    parser.add_argument("-p", "--partition", metavar="N", type=partition, help="only this one")


def add_key(parser: ArgumentParser) -> None:
    """The keys that sign."""
    parser.add_argument(
        "-k",
        "--key",
        metavar="FILE",
        action="append",
        default=[],
        help="the private key, as `merkql keygen` made it; again for one more, while keys change",
    )


def signed_partitions(arguments: Namespace, broker: Broker) -> Iterator[Partition]:
    """The partitions that ``add_partitions`` was told of."""
    names = [arguments.topic] if arguments.topic else broker.topics(internal=True)
    return partitions_of(broker, names, arguments.partition)


def open_signing(arguments: Namespace) -> Broker:
    """A broker that signs with the keys given; without any, one that only reads."""
    if not arguments.key:
        return to_read(arguments)
    to_read(arguments).close()  # it has to be there
    return Broker.open(arguments.directory, signing_key=tuple(arguments.key))


def read_policy(arguments: Namespace) -> Policy:
    """The policy in a file, or that of the keys given: any of them, and no witness."""
    if arguments.policy:
        content = read_file(Files(), arguments.policy, POLICY_SIZE_MAX)
        return parse_policy(content.decode())
    keys = getattr(arguments, "log", [])
    if not keys:
        raise UsageError(f"merkql {arguments.command}", "whose signature? Give --log or --policy")
    return Policy.of_keys([VerifierKey.parse(key) for key in keys])
