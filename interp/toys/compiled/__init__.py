"""Transformers whose weights are written down by a program, so that their circuits are known edge by edge."""

from collections.abc import Mapping

from interp.toys.compiled.induction import INDUCTION
from interp.toys.compiled.program import Program
from interp.toys.compiled.two_hop import TWO_HOP

PROGRAMS: Mapping[str, Program] = {program.name: program for program in (INDUCTION, TWO_HOP)}
"""The programs by name."""
