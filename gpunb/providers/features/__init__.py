"""Features that only some clouds have: one protocol each, one way to request it, one refusal.

A provider has a feature when its class has the methods; it may name the protocol among its bases, so that
mypy compares them. ``isinstance(provider, Bids)`` tests for it; `feature` returns it, or raises an error
that names the clouds that have it. An option of a call that every cloud has is a `Capability` instead.
"""

from __future__ import annotations

from gpunb.providers.features.account import (
    ApiKey,
    ApiKeys,
    AttachedKey,
    AuditEntry,
    InstanceKeys,
    Invoice,
    Papers,
    ScopedKeys,
    SignedCalls,
    SshKeys,
    Terms,
    Variables,
)
from gpunb.providers.features.asking import clouds_with, feature, refusal, who_can
from gpunb.providers.features.copies import (
    CloudConnection,
    CloudCopy,
    InstanceCopy,
    ScheduledJob,
    ServedFiles,
    StoppedFiles,
)
from gpunb.providers.features.hosts import Gpu, Host, Machine, OwnHosts
from gpunb.providers.features.instances import (
    Bids,
    DaemonLog,
    Prepay,
    PriceIncrease,
    PriceIncreases,
    Snapshots,
    StoppedCommands,
)
from gpunb.providers.features.shown import (
    Benchmark,
    Benchmarks,
    Images,
    MachineReports,
    Report,
    SavedTemplates,
    Templates,
)
from gpunb.providers.features.volumes import VolumeClone, VolumeMarket, VolumeSpace

__all__ = [
    "ApiKey",
    "ApiKeys",
    "AttachedKey",
    "AuditEntry",
    "Benchmark",
    "Benchmarks",
    "Bids",
    "CloudConnection",
    "CloudCopy",
    "DaemonLog",
    "Gpu",
    "Host",
    "Images",
    "InstanceCopy",
    "InstanceKeys",
    "Invoice",
    "Machine",
    "MachineReports",
    "OwnHosts",
    "Papers",
    "Prepay",
    "PriceIncrease",
    "PriceIncreases",
    "Report",
    "SavedTemplates",
    "ScheduledJob",
    "ScopedKeys",
    "ServedFiles",
    "SignedCalls",
    "Snapshots",
    "SshKeys",
    "StoppedCommands",
    "StoppedFiles",
    "Templates",
    "Terms",
    "Variables",
    "VolumeClone",
    "VolumeMarket",
    "VolumeSpace",
    "clouds_with",
    "feature",
    "refusal",
    "who_can",
]
