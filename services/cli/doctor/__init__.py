"""What `malla doctor` looks at: small checks, each with what to do where it fails."""

from services.cli.doctor.findings import Check, Finding, Outcome, Patient
from services.cli.doctor.run import CHECKS, examine

__all__ = ["CHECKS", "Check", "Finding", "Outcome", "Patient", "examine"]
