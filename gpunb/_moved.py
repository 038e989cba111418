"""Deprecated module names of version 0.1.0, redirected to the new ones with a warning for one version.

The finder is last on `sys.meta_path`, so that other imports are not slowed down.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from functools import cache
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["install"]

# old package (- is the top), new package: modules, each as old=new where its own name changed, too
_TABLE = """
commands cli: cli=main verb=command context progress first_word completers offering=blocked_output
    notices=run_notices market=offer_options container=container_options
commands presentation: result views=tables shapes load papers machinelog=machine_log
commands commands.parts: beside=further_offers newvolume=volume_create instances clouds=object_stores
    vastcopy=vast_cloud_copy
commands services.running: lines=log_filter environment=host_python mode=cell_target
    notebooks=notebook_jobs playing=runs giving=run_secrets requirements=packages
commands services: mounts=volume_mounts soon=lease_warnings syncing=transfers
sync sync.planning: plan merge=planner rules gitignore gitrepo places=locations spool=spilled_list
    choose=estimate notes credentials deleting=deletions
sync sync.local: scan localside=tree safe=safe_root flush freenames=free_names autorun
sync sync.stream: flow=sync_session line=file_channel hostside=host_tree hostcontent=host_files
    direct=host_to_host
sync sync.sftp: sftpwire=protocol sftpqueue=queues remote=host_tree hosttasks=tasks hostfiles=host_files
    hostdigests=digests outlinks=outside_links remoteglob=host_glob
sync sync.object_store: cloud=cloud_sync cloudwork=store_transfer hosted=via_host relay=via_here stores
    drivers
sync sync.fs: filesystem hostfile=open_file filetransfers=bulk fsguard=guard
sync sync: pace=throttle
sessions sessions.ledger: store=connection schema=migrations books=accounting glance=peek
    owner=process_id clocks=clock_steps naming=names
sessions sessions.lifecycle: unrecorded=unrecorded_ends rental bringup ending rebooting
    saving=fetch_results rescue timing=timeouts agreement
sessions sessions.supervisor: watching=sweep tending=host_monitor orphans watchers
sessions sessions.cost: lease billing=segments costs=totals spending receipts volumes bills funds
sessions sessions.access: reach=host_access ports activity renter sent
sessions sessions.integrations: filesystem kernelspecs
sessions sessions: trouble=foreign_errors
agent agent: verbs=main stage=install relay=stdio_bridge
agent agent.shared: protocol=frames filewire=file_frames models=comm_state safevars=plain_values tables
    policy=restart_policy processes clock places=folders journal kernelvars=variables bulkline=bulk_channel
agent agent.daemon: cells jobs runs comms watchdog logins telemetry gpus lending spares
agent agent.kernel: kernelapp=app outstream spool=iopub_log kernelsecrets=secrets
agent agent.job: keeper=runner notebook notebookwidgets=notebook_widgets
agent agent.files: direct=host_to_host cloud=object_store
remote output: display=player late comms=widget_relay kernelport=ipykernel_port
remote output.sanitize: safe=gate safehtml=html safereply=replies safetex=tex safetext=redaction
    safewidgets=widgets
server server.handlers: base events files host money renting runs sessions setup
server server: feed=event_bus watch=ledger_watcher loads=telemetry supervising=supervisor_host
    pool=threads bodies=schemas answers=failures
notebook notebook: line=line_magic cell=cell_magic onoff=cell_router hosted=plain_cell
    asking=host_completion
notebook notebook.kernel_proxy: bridge=proxy hostkernel=host_kernel wire=channels provisioner
providers providers.edge: bounded=limits wire=payload pacing=rate_limit proxies text
providers providers.machine: cloudinit images registries ports
providers.fluence providers.fluence: hours=clock_hours rules=validation bodies=mapping
    cancelled=pending_cancellations
ssh ssh: wire=tcp_socket pieces=receive_buffer pipe=openssh_channel
offers offers.language: lexer parser tree predicate fields units explain
sim sim.fluence: fluence_money=money fluence_plans=plans
sim sim.hosts: realhosts=real smi sshd container cloudconfig
sim sim.serving: runner gate transport ratelimit control state
commands commands.renting: offers rent extend stop start reboot rename volumes down
commands commands.running: on off run exec jobs=runs runs logs attach replay=logs export cancel restart
    put get pip
commands commands.files: sync forward ssh
commands commands.watching: ps show top panel cost receipts
commands commands.account: login logout keys trust doctor config supervise completion
commands commands.vast: bid prepay increases snapshot variables
- settings: project_file=project settings_file=writing
"""


@cache
def _new_names() -> dict[str, str]:
    result = {}
    for line in _TABLE.replace("\n    ", " ").strip().splitlines():
        packages, _, names = line.partition(": ")
        old, new = packages.split()
        for name in names.split():
            before, _, after = name.partition("=")
            result[f"gpunb.{old}.{before}".replace(".-.", ".")] = f"gpunb.{new}.{after or before}"
    return result


class _Finder:
    """A meta path finder that imports the new module, not a copy, under its old name."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        new = _new_names().get(name) if name.startswith("gpunb.") else None
        if new is None:
            return None
        warnings.warn(f"{name} is called {new} now", DeprecationWarning, stacklevel=2)
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        result = importlib.import_module(_new_names()[spec.name])
        self._spec = result.__spec__
        return result

    def exec_module(self, module: ModuleType) -> None:
        """Restore the spec that the import machinery overwrote; the module has run already."""
        module.__spec__ = self._spec


def install() -> None:
    """Append the finder to `sys.meta_path`."""
    if not any(isinstance(protocol, _Finder) for protocol in sys.meta_path):
        sys.meta_path.append(_Finder())
