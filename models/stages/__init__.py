"""The stages of scoring: linear stage, namesakes, reranker and implications."""
