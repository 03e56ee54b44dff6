"""The nodes of a Ray cluster, and labelling on them, in separate processes.

Ray terminates a process that loses its node or its cluster, without an exception to catch.

python -m tests.integration.on_ray nodes      prints the address; reads "add" and "kill"
python -m tests.integration.on_ray label ...  labels; after some rows it waits for a line, and at
                                              "stop" exits with the code STOPPED
"""

import sys

from labelwright.entities.io.locations import locate
from labelwright.models.registry import load_model
from labelwright.service.bulk.job import BulkJob, label_file, on_threads
from labelwright.service.bulk.ray import on_ray

STOPPED = 7


def nodes() -> None:
    """Run a head node without work, two worker nodes, and further ones on request."""
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
    """Label on the cluster at `address`, or on threads; prints progress and the final report.

    Output of Ray itself does not reach standard output.
    """
    done: list[float] = []

    def wait(rows: int, share: float | None) -> None:
        if share and not done:  # rows of an earlier run have no progress
            done.append(share)
            print(*done, file=sys.__stdout__, flush=True)
            if sys.stdin.readline() == "stop\n":
                sys.exit(STOPPED)

    job = BulkJob(locate(source), locate(target), resume=True)
    executor = on_ray(address) if address else on_threads
    report = label_file(load_model(model).bundle, job, wait, executor)
    print(report.rows, report.rejected, report.resumed, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "nodes":
        nodes()
    else:
        label(*sys.argv[2:])
