"""Trainings of the tests of the public interface draw no plots."""

from tests.plain_reports import plain_reports

__all__ = ["plain_reports"]
