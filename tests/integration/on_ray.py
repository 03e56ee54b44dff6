"""Runs the nodes of a Ray cluster, or bulk labelling on the cluster, in a separate process.

A separate process is necessary, because Ray terminates a process that loses its node or its cluster
without an exception that a test could catch.

python -m tests.integration.on_ray nodes      prints the address; then reads lines: "add" or "kill"
python -m tests.integration.on_ray label ...  labels; after some rows, it prints the share that is
                                              done and reads a line; after the line "stop", it exits
                                              with the code STOPPED
"""

import sys

from labelwright.entities.io.locations import locate
from labelwright.models.registry import load_model
from labelwright.service.bulk.job import BulkJob, label_file, on_threads
from labelwright.service.bulk.ray import on_ray

STOPPED = 7


def nodes() -> None:
    """Run a head node without CPUs and two worker nodes; "add" adds one and "kill" removes one."""
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
    """Label on the cluster at `address`, or on threads if it is empty.

    Prints the progress once, and the number of labelled, rejected and resumed rows at the end.
    """
    done: list[float] = []

    def wait(rows: int, share: float | None) -> None:
        if share and not done:  # there is no progress for rows of an earlier run
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
