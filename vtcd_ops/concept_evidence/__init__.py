"""What speaks for the concepts of a run, each number beside that of chance."""

from vtcd_ops.concept_evidence.store import read_evidence
from vtcd_ops.discovery.run import register_evidence

register_evidence(read_evidence)
