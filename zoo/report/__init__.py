"""The report of a run: one HTML file that shows what was learned, and what was not."""

from zoo.report.diagnosis import Diagnosis, diagnose
from zoo.report.evaluation import measure
from zoo.report.page import compare, write

__all__ = ["Diagnosis", "compare", "diagnose", "measure", "write"]
