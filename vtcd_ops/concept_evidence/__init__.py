"""What speaks for the concepts of a run, each number beside that of chance."""

from vtcd_ops.concept_evidence.store import read_evidence
from vtcd_ops.discovery.run_results import register_readers

register_readers(evidence=read_evidence)
