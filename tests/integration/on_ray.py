"""The nodes of a Ray cluster, and work on them, each in a process that is Ray's to end.

Ray ends a process that loses its node or its cluster, without a word that could be caught.

python -m tests.integration.on_ray nodes       tells the address; "add" and "kill" on standard input
python -m tests.integration.on_ray label ...   labels; waits for a line once some rows are done:
                                               at "stop" it ends with the code STOPPED
"""

import sys

from labelwright.entities.io.locations import locate
from labelwright.models.registry import load_model
from labelwright.service.bulk.job import Job, label_file, on_threads
from labelwright.service.bulk.ray import on_ray

STOPPED = 7


def nodes() -> None:
    """A head that does no work, and two nodes that do, or as many as are asked for."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        working = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        print(cluster.address, flush=True)
        for line in sys.stdin:
            if line == "add\n":
                working.append(cluster.add_node(num_cpus=1))
                cluster.wait_for_nodes()
            else:
                cluster.remove_node(working.pop(), allow_graceful=False)
            print("done", flush=True)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def label(source: str, target: str, model: str, address: str = "") -> None:
    """Label on the cluster there, or on threads; tells what share was done, and in the end what.

    On the cluster, standard output is that of the process: what Ray prints does not go there.
    """
    done: list[float] = []

    def wait(rows: int, share: float | None) -> None:
        if share and not done:  # what was done before has no share
            done.append(share)
            print(*done, file=sys.__stdout__, flush=True)
            if sys.stdin.readline() == "stop\n":
                sys.exit(STOPPED)

    job = Job(locate(source), locate(target), resume=True)
    runner = on_ray(address) if address else on_threads
    report = label_file(load_model(model).bundle, job, wait, runner)
    print(report.rows, report.rejected, report.resumed, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "nodes":
        nodes()
    else:
        label(*sys.argv[2:])
