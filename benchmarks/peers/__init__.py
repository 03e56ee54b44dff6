"""Who is measured: each runner in this folder works in an environment of its own.

A runner's environment holds what requirements/ENVIRONMENT.txt lists; this project's own is the one
that the benchmark runs in.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Peer:
    """One line of the table: a runner (a module of this package) and the variant it runs.

    `decides` says whether the peer tells which labels to assert; `reads_text` whether it makes
    features itself, which then count in its seconds.
    """

    name: str
    title: str
    runner: str
    variant: str = ""
    environment: str | None = None
    decides: bool = False
    reads_text: bool = False


PEERS = (
    Peer("labelwright", "labelwright", "labelwright", decides=True, reads_text=True),
    Peer(
        "scikit-learn",
        "scikit-learn OneVsRest(LinearSVC)",
        "scikit_learn",
        environment="scikit-learn",
        decides=True,
    ),
    Peer("pecos-ova", "PECOS one-vs-all", "pecos", "one-vs-all", "libpecos"),
    Peer("pecos-tree", "PECOS tree", "pecos", "tree", "libpecos"),
    Peer("omikuji-parabel", "omikuji Parabel", "omikuji", "parabel", "omikuji"),
    Peer("omikuji-bonsai", "omikuji Bonsai", "omikuji", "bonsai", "omikuji"),
    Peer("napkinxc-plt", "napkinXC PLT", "napkinxc", environment="napkinxc", decides=True),
    Peer(
        "fasttext-ova",
        "fastText ova",
        "fasttext",
        environment="fasttext",
        decides=True,
        reads_text=True,
    ),
)
