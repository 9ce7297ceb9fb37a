"""Traces made from other traces: lazy, in constant memory, and composable further."""

from workloads.compose.assign import assign
from workloads.compose.guest import as_guest
from workloads.compose.head import head
from workloads.compose.interleave import interleave
from workloads.compose.select import select
from workloads.compose.sequence import concatenate, repeat
from workloads.compose.shift import shift
from workloads.compose.stretch import stretch

__all__ = ["as_guest", "assign", "concatenate", "head", "interleave", "repeat", "select", "shift", "stretch"]
