"""Trainings of the tests of the registry draw no plots."""

from tests.plain_reports import plain_reports

__all__ = ["plain_reports"]
