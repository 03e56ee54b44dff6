"""Models from elsewhere that teach a training; only here are onnxruntime and tokenizers used."""
