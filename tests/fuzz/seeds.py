"""Valid requests and files, which the fuzzers mutate."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.service.protocols.v2_tensors import join_texts

PLACES: list[dict[str, Any]] = [
    {"id": "a", "name": "Joe's Pizza", "country": "US", "lat": 1.5, "lon": 2},
    {
        "name": ["Café", None],
        "tags": {"fee": "no"},
        "phone": "+49 30 1",
        "website": "löwen.example",
    },
    {},
]
TABLE = pa.table(
    {
        "id": ["a", "b", None],
        "name": ["Joe's Pizza", "Café", ""],
        "alternative_names": pa.array([["x", "y"], None, []], pa.list_(pa.string())),
        "country": pa.array(["US", "DE", "DE"]).dictionary_encode(),
        "city": pa.array(["Bonn", None, "Köln"], pa.large_string()),
        "brand": pa.array(["a", "b", None], pa.string_view()),
        "lat": [1.5, None, 90],
        "lon": [2.5, None, 180],
        "tags": pa.array([[("fee", "no")], None, []], pa.map_(pa.string(), pa.string())),
    }
)
HEADER = {
    "id": "q",
    "inputs": [
        {"name": "name", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 12}},
        {"name": "lat", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
        {"name": "lon", "shape": [2, 1], "datatype": "INT8", "data": [[1], [2]]},
    ],
    "outputs": [{"name": "labels", "parameters": {"binary_data": True}}, {"name": "label_ids"}],
    "parameters": {"top_k": 3, "binary_data_output": True},
}
BINARY = join_texts([b"Bar", b"\xff"]) + bytes(8)


def arrow(table: pa.Table = TABLE) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


def parquet(table: pa.Table = TABLE) -> bytes:
    """A table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=2)
    return sink.getvalue()


SEEDS: dict[str, list[bytes]] = {
    "json": [
        json.dumps({"entities": PLACES, "top_k": 3, "only": ["*a*"]}).encode(),
        json.dumps({"entities": PLACES[:1], "explain": True, "min_precision": 0.8}).encode(),
    ],
    "review": [
        json.dumps({"entities": [{**PLACES[0], "labels": ["amenity=bar"]}, *PLACES[1:]]}).encode(),
    ],
    "ndjson": ["\n".join(json.dumps(place) for place in PLACES).encode(), b'{"name":1}\n\n[]\nx'],
    "arrow": [arrow(), arrow(TABLE.select(["name"])), arrow(TABLE.slice(0, 0))],
    "v2": [json.dumps(HEADER).encode() + BINARY],
    "mlflow": [
        json.dumps({"dataframe_records": PLACES, "params": {"top_k": 2}}).encode(),
        b'{"dataframe_split": {"columns": ["name", "lat"], "data": [["a", NaN], [null, 1]]}}',
        b'{"inputs": {"name": ["a", "b"], "country": ["US", null]}}',
    ],
    "csv": [b'name,lat,lon,tags\n"Caf\xc3\xa9, ""x""",1.5,2,\n,,,"{""fee"": ""no""}"\n'],
    "parquet": [parquet(), parquet(TABLE.select(["name", "country"]))],
    "file.csv": [
        b'\xef\xbb\xbfid,name,labels,lat,lon\r\n,"a ""b""",x|y,1,2\r\n7,5" pipe,"[""z""]",,\r\n',
        b'name\n\n"a\nb"\n""\nCaf\xc3\xa9',
    ],
    "file.jsonl": [
        b'{"id":"row-0","name":"a","labels":["x"]}\n\n{"name":"\\ud83d","lat":NaN}\nx\n[]\n',
    ],
    "file.geojson": [
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [
                    {
                        "type": "Feature",
                        "id": 7,
                        "properties": {"name": "a", "labels": "x|y", "tags": {"fee": "no"}},
                        "geometry": {"type": "LineString", "coordinates": [[0, 1], [2.5, 3e0]]},
                    }
                ],
            }
        ).encode(),
        b'\x1e{"type":"Feature","properties":null,"geometry":null}\n' * 2,
    ],
    "file.parquet": [parquet(), parquet(TABLE.select(["id", "name", "tags"]))],
    "label-book-toml": [
        b'[labels.a]\ntitle={en="A"}\nseeds=["b"]\nimplies=["c"]\nreplaces=["d"]\n'
    ],
    "label-book-csv": [
        b"label,title:de,synonyms,implies,retired\na,A,b|c,d,\ne,,,,yes\n",
        b"Category code; Overture Taxonomy\na; [a]\nb; [a,b]\n",
    ],
    "label-book-rdf": [
        b'<r xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        b'xmlns:s="http://www.w3.org/2004/02/skos/core#"><s:Concept r:about="x#a">'
        b'<s:prefLabel xml:lang="en">A</s:prefLabel><s:broader r:resource="x#b"/></s:Concept></r>'
    ],
    "redirects": [b'old,new\n"a, b",c\nd,\nc,e\n'],
}
"""Valid request bodies and files by the name of the decoder."""
