"""Labels a Parquet file with a registered model on local Spark: MODEL SOURCE TARGET CORES.

Runs in an environment with Spark. Prints the number of rows and the seconds of the second of two
passes, which do not include the start of Spark and of its workers.
"""

import sys
import time

import mlflow
from pyspark.sql import SparkSession
from pyspark.sql.functions import struct

RESULT_TYPE = (
    "id string, labels array<struct<label: string, probability: float, asserted: boolean>>"
)


def main(model: str, source: str, target: str, cores: str) -> None:
    """Label the file twice: in the first pass, workers start, load the model, compile kernels."""
    spark = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "16384")
        .getOrCreate()
    )
    label = mlflow.pyfunc.spark_udf(spark, model, result_type=RESULT_TYPE, env_manager="local")
    rows = spark.read.parquet(source)
    predictions = rows.select(label(struct(*rows.columns)).alias("result")).select("result.*")
    predictions.write.mode("overwrite").parquet(target)
    began = time.perf_counter()
    predictions.write.mode("overwrite").parquet(target)
    seconds = time.perf_counter() - began
    print(f"{rows.count()} {seconds:.2f}")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
