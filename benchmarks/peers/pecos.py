"""libpecos: linear one-vs-all, or a tree of labels (XR-Linear)."""

from typing import Any

from pecos.xmc import Indexer, LabelEmbeddingFactory
from pecos.xmc.xlinear.model import XLinearModel

from benchmarks import contract

TREE = {"nr_splits": 16, "max_leaf_size": 100}
LINEAR = {"Cp": 1.0, "Cn": 1.0, "bias": 1.0, "threshold": 0.1, "negative_sampling_scheme": "tfn"}


def run(work: contract.Work) -> None:
    """Train and predict with XLinearModel."""
    features = work.features("train")
    labels = work.label_matrix().tocsc()
    tree = work.variant == "tree"
    with work.training({**LINEAR, **TREE, "labels": "PIFA"} if tree else LINEAR):
        chain = None
        if tree:
            embedding = LabelEmbeddingFactory.create(labels.tocsr(), features, method="pifa")
            chain = Indexer.gen(
                embedding, indexer_type="hierarchicalkmeans", threads=work.threads, **TREE
            )
        model = XLinearModel.train(features, labels, C=chain, threads=work.threads, **LINEAR)
    model.save(str(work.scratch / "model"))
    model = XLinearModel.load(str(work.scratch / "model"), is_predict_only=True)  # predicts faster

    def predict(rows: Any) -> Any:
        return model.predict(rows, only_topk=contract.DEPTH, threads=work.threads)

    for part in work.tests:
        best = work.predict(part, work.features(part), predict)
        work.save(part, contract.ranked(best.indptr, best.indices, best.data))


if __name__ == "__main__":
    contract.main(run, "libpecos")
