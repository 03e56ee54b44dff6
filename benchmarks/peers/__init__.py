"""The libraries that the benchmarks compare: one runner for each, in a separate environment.

The environment of a runner has the packages of requirements/ENVIRONMENT.txt. The runner of this
project uses the environment of the benchmark.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Peer:
    """A line of the table: a runner, which is a module of this package, and its variant.

    `asserts` is True if the peer asserts labels. `reads_text` is True if the peer computes features
    from text; the seconds of the peer then include this computation.
    """

    name: str
    title: str
    runner: str
    variant: str = ""
    environment: str | None = None
    asserts: bool = False
    reads_text: bool = False


PEERS = (
    Peer("labelwright", "labelwright", "labelwright", asserts=True, reads_text=True),
    Peer(
        "scikit-learn",
        "scikit-learn OneVsRest(LinearSVC)",
        "scikit_learn",
        environment="scikit-learn",
        asserts=True,
    ),
    Peer("pecos-ova", "PECOS one-vs-all", "pecos", "one-vs-all", "libpecos"),
    Peer("pecos-tree", "PECOS tree", "pecos", "tree", "libpecos"),
    Peer("omikuji-parabel", "omikuji Parabel", "omikuji", "parabel", "omikuji"),
    Peer("omikuji-bonsai", "omikuji Bonsai", "omikuji", "bonsai", "omikuji"),
    Peer("napkinxc-plt", "napkinXC PLT", "napkinxc", environment="napkinxc", asserts=True),
    Peer(
        "fasttext-ova",
        "fastText ova",
        "fasttext",
        environment="fasttext",
        asserts=True,
        reads_text=True,
    ),
)
