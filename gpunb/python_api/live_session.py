"""A session in Python: cells, jobs, files, ports, lease, and the end with its receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from gpunb.errors import BadInput
from gpunb.python_api import process_end, words
from gpunb.python_api.frontend import PythonFrontend, frontend
from gpunb.python_api.job import Job
from gpunb.python_api.results import CellResult, Completed, Forward
from gpunb.python_api.waiting import twin

if TYPE_CHECKING:
    import datetime as dt
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from gpunb.python_api.functions import Function
    from gpunb.python_api.words import Names
    from gpunb.remote import PutReport
    from gpunb.sessions.model import Cost, Receipt
    from gpunb.sessions.model import Session as Record
    from gpunb.sync import SyncReport

__all__ = ["Session"]

P = ParamSpec("P")
T = TypeVar("T")


class Session:
    """A rented machine. As a context manager it ends with the block: results first, then the machine.

    Safe to use from several threads. Every method that waits has a twin for asyncio: ``run_cell_async``.

    Attributes
    ----------
    id, name
        As the ledger has them.
    """

    def __init__(self, session_id: str, name: str) -> None:
        self.id = session_id
        self.name = name

    def __repr__(self) -> str:
        record = self.record
        return f"<gpunb.Session {self.name}: {record.gpu} on {record.provider}, {record.state.value}>"

    def _repr_html_(self) -> str:
        from gpunb.python_api.listed import Sessions

        return Sessions([self])._repr_html_()

    @property
    def record(self) -> Record:
        """The ledger's record now: state, lease, machine, ports, price."""
        with PythonFrontend() as context:
            return context.ledger.get(self.id)

    @property
    def state(self) -> str:
        """The state now: "ready", "stopped", "gone", …."""
        return self.record.state.value

    @property
    def cost(self) -> Cost:
        """What it has cost so far, US dollars: ``gpu``, ``disk``, ``bandwidth`` and ``total``."""
        with PythonFrontend() as context:
            return context.ledger.cost(self.id)

    # -- the end -------------------------------------------------------------------------------

    def down(self, *, save: bool = True) -> Receipt:
        """End it for good: bring home what was to be saved, destroy, wait until the cloud agrees.

        A session that has ended gives its receipt.

        Parameters
        ----------
        save
            Whether what ``save`` named comes home first.

        Raises
        ------
        SyncError
            It did not come home. Nothing was ended.
        OutcomeUnknown
            The cloud has not confirmed the end in time; gpunb goes on trying.
        Cancelled
            Ctrl-C; ``bill`` says what was confirmed.
        """
        from gpunb.sessions import lifecycle

        with frontend() as context:
            record = context.ledger.get(self.id)
            provider = context.provider(record.provider)
            with context.progress(f"down {self.name}") as progress:
                return lifecycle.down(context.ledger, provider, record, progress=progress, save=save)

    def __enter__(self) -> Self:
        process_end.entered(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        process_end.left(self)
        self.down()

    async def __aenter__(self) -> Self:
        process_end.entered(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        process_end.left(self)
        await self.down_async()

    # -- running -------------------------------------------------------------------------------

    def run_cell(
        self, code: str, *, timeout: float | None = None, secrets: Names = (), show: bool = False
    ) -> CellResult:
        """Run `code` in the session's kernel, the one of ``%%gpu``, and wait for its output.

        Variables live on from cell to cell. It can't ask: ``input()`` fails in the cell. Ctrl-C interrupts
        the cell on the host, and raises here when it has ended.

        Parameters
        ----------
        timeout
            Seconds after which the host interrupts it; by default the setting ``cell_timeout``.
        secrets
            Names of secrets that the cell gets as environment variables, for its time.
        show
            Whether its output is also shown as it comes.

        Raises
        ------
        RemoteCellError
            It raised there; ``traceback`` has the host's traceback, and the error shows it.
        RunTimeout, KernelDied, HostError
            As it ended.
        """
        from gpunb.output.kept import KeptOutputs
        from gpunb.services.running import cells, run_secrets

        names = (secrets,) if isinstance(secrets, str) else tuple(secrets)
        with frontend() as context:
            record = context.live(self.id)
            given = run_secrets.collect(context, record, names)
            made: dict[str, KeptOutputs] = {}

            def sink(run_id: str) -> KeptOutputs:
                return made.setdefault(run_id, KeptOutputs(context.sink(run_id) if show else None))

            cells.run(context, record, code, sink, timeout=timeout, secrets=given)
        ((run_id, kept),) = made.items()
        return CellResult(run_id, kept.made)

    def run(
        self,
        *script: str | os.PathLike[str],
        module: str | None = None,
        shell: str | None = None,
        sync: str | os.PathLike[str] | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Names = (),
        gpus: int = 0,
        restart: str = "never",
        parameters: Mapping[str, Any] | None = None,
        output: str | os.PathLike[str] | None = None,
        fetch: Names = (),
        name: str = "",
    ) -> Job:
        """Start a script, a notebook, a module or a line of the shell as a job, which outlives this process.

        Parameters
        ----------
        script
            A script or a notebook of this machine (``":path"``: of the host), and its arguments; with
            `module` the arguments alone.
        module, shell
            A module, or a line of the host's shell, instead.
        sync
            A folder that is sent first; the job runs inside it.
        cwd
            The host's folder to run in; by default the home folder.
        env, secrets
            Its variables, and the names of secrets for its process alone.
        gpus
            How many GPUs it gets for itself; it waits until so many are free.
        restart
            "never", "on-lost[:N]" or "on-failure[:N]".
        parameters, output
            A notebook's parameters, and the file of its result here.
        fetch
            Paths, in the folder that it runs in, that `Job.wait` brings home.
        name
            What lists call it.

        Raises
        ------
        BadInput
            There is no such script here, or an argument breaks its rule. Nothing was started.
        """
        from gpunb.services.running import jobs

        wish = jobs.JobWish(
            words=tuple(str(word) for word in script),
            module=module,
            shell_line=shell,
            folder=None if sync is None else str(sync),
            cwd=cwd,
            env=words.environment("run", env),
            secret_names=(secrets,) if isinstance(secrets, str) else tuple(secrets),
            gpus=gpus,
            restart=restart,
            parameters={key: words.parameter(key, value) for key, value in (parameters or {}).items()},
            output=None if output is None else str(output),
            name=name,
        )
        prepared = jobs.prepare(wish)
        with frontend() as context:
            record = context.live(self.id)
            started = jobs.start(context, record, prepared, detach=True)
        return Job(self.id, started, prepared, (fetch,) if isinstance(fetch, str) else tuple(fetch))

    def exec(self, *command: str, input: bytes | None = None, timeout: float | None = None) -> Completed:  # noqa: A002
        """Run one command on the host and wait for it: ``s.exec("nvidia-smi", "-L")``.

        Its words arrive as they are, unexpanded. It ends with the connection; `run` starts what does not.

        Parameters
        ----------
        input
            What it reads on its standard input.
        timeout
            Seconds until it is given up.

        Raises
        ------
        HostError
            No end within `timeout`, or more than 32 MB of output; the command may still run.
        """
        from gpunb.sessions.access import host_access
        from gpunb.sessions.access.activity import at_work
        from gpunb.ssh import quote

        if not command or not all(isinstance(word, str) for word in command):
            msg = f"exec: {command!r} must be a command and its arguments, each a text"
            raise BadInput(msg, hint="s.exec('ls', '-la')")
        with frontend() as context:
            record = context.live(self.id)
            with context.progress(f"connecting to {self.name}"):
                connection = host_access.connection(record)
            with at_work(context.ledger, record):
                done = connection.run(quote(command), input=input, timeout=timeout)
        return Completed(done.code, done.out.decode("utf-8", "replace"), done.err.decode("utf-8", "replace"))

    def pip(self, *requirements: str) -> None:
        """Install packages in the host's Python, which cells and jobs use.

        Raises
        ------
        JobFailed
            With the last lines that pip printed. The session runs and is billed.
        """
        from pathlib import Path

        from gpunb.services.running import packages

        lines = words.packages("pip", requirements)
        if not lines:
            return
        needs = packages.Needs("pip", {"requirements.txt": "\n".join(lines) + "\n"})
        with frontend() as context:
            record = context.live(self.id)
            what = Path(", ".join(lines)[:60].replace("/", " "))
            packages.install(context, record, context.agent(record), path=what, needs=needs)

    @overload
    def function(self, local: Callable[P, T], /) -> Function[P, T]: ...

    @overload
    def function(
        self, local: None = None, /, *, pip: Names = (), trust: bool = False, timeout: float | None = None
    ) -> Callable[[Callable[P, T]], Function[P, T]]: ...

    def function(
        self,
        local: Callable[P, T] | None = None,
        /,
        *,
        pip: Names = (),
        trust: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Make a function run here: ``@s.function``, then ``f(x)``, ``f.submit(x)``, ``f.map(xs)``.

        Parameters
        ----------
        pip
            Requirements that are installed before the first call.
        trust
            Whether results may be pickles though the host is not your own: they may run code here.
        timeout
            Seconds after which the host interrupts a call.
        """
        from gpunb.python_api.functions import on_session

        def decorate(made: Callable[P, T]) -> Function[P, T]:
            return on_session(self, made, pip=pip, trust=trust, timeout=timeout)

        return decorate if local is None else decorate(local)

    function.is_gpunb_decorator = True  # type: ignore[attr-defined]

    # -- files and variables -------------------------------------------------------------------

    def sync(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        delete: bool = False,
        mirror: bool = False,
        dry_run: bool = False,
        include: Names = (),
        exclude: Names = (),
        checksum: bool = False,
        yes: bool = False,
    ) -> SyncReport:
        """Copy files to the host or back; the host's side is written ``":path"``.

        ``.git``, virtual environments and caches stay here, and what ``.gpunbignore`` (``.gitignore``) names.

        Parameters
        ----------
        delete, mirror
            Remove from `target` what is not in `source`; with `mirror` also what a rule hides.
        dry_run
            Only plan: the report's ``plan`` says what would go.
        include, exclude
            Patterns of what a rule would leave out, and of what is left out.
        checksum
            Compare by content, not by size and time.
        yes
            Also where nothing of `target` would stay.

        Raises
        ------
        SyncError
            A file did not go; the message names it.
        """
        from gpunb.services import transfers

        ends = [transfers.split(str(end)) for end in (source, target)]
        if (ends[0] is None) == (ends[1] is None) or any(
            end and end[0] not in {None, self.name} for end in ends
        ):
            msg = (
                f"sync {str(source)!r}, {str(target)!r}: one of the two, and only one, must be on {self.name}"
            )
            raise BadInput(msg, hint="write the host's side with a colon: s.sync('data', ':data')")
        up = ends[0] is None
        options: dict[str, Any] = {
            "delete": delete,
            "mirror": mirror,
            "dry_run": dry_run,
            "checksum": checksum,
            "yes": yes,
        }
        many = {"include": include, "exclude": exclude}
        options |= {key: (one,) if isinstance(one, str) else tuple(one) for key, one in many.items()}
        with frontend() as context:
            record = context.live(self.id)
            here, there = (source, ends[1]) if up else (target, ends[0])
            path = there[1] if there is not None else ""
            way = ("up", str(here), path) if up else ("down", path, str(here))
            hint = "s.sync(…, dry_run=True).plan says what goes and what not"
            return transfers.carry(
                context, record, way[1], way[2], what=f"sync {source}", hint=hint, direction=way[0], **options
            )

    def put(self, **values: Any) -> PutReport:
        """Set variables in the host's kernel: ``s.put(x=array)``.

        Raises
        ------
        VariableError
            One can't travel; nothing was sent.
        """
        from gpunb.services import variables

        with frontend() as context:
            return variables.put(context, context.live(self.id), values)

    def get(self, *names: str, trust: bool = False) -> Any:
        """Bring variables of the host's kernel: ``y = s.get("y")``, ``a, b = s.get("a", "b")``.

        From a host that is not your own only forms that can't run code here are taken.

        Parameters
        ----------
        trust
            Take pickles too: what the host sends may then run code here.

        Returns
        -------
        object or tuple
            The value; of several names a tuple, in their order.

        Raises
        ------
        VariableError
            One is not there, or can't travel.
        """
        from gpunb.services import variables

        if not names:
            msg = "get: names no variable"
            raise BadInput(msg, hint="s.get('accuracy')")
        with frontend() as context:
            found = variables.get(context, context.live(self.id), names, trust=trust)
        values = tuple(found[name] for name in names)
        return values[0] if len(values) == 1 else values

    # -- ports and the lease -------------------------------------------------------------------

    def forward(self, port: int, *, local_port: int = 0, reverse: bool = False) -> Forward:
        """Forward a port of the host to this machine; it lasts as long as this process.

        Parameters
        ----------
        local_port
            The port here; 0 is the same, if it is free.
        reverse
            The other way: the host's `port` leads to `local_port` here.
        """
        from gpunb.sessions.access import ports

        for name, value, least in (("port", port, 1), ("local_port", local_port, 0)):
            if type(value) is not int or not least <= value <= 65535:
                msg = f"forward: {name}={value!r} must be a number from {least} to 65535"
                raise BadInput(msg)
        with frontend() as context:
            record = context.live(self.id)
            with context.progress(f"connecting to {self.name}"):
                return Forward(ports.open_port(record, port, local_port=local_port, reverse=reverse))

    def extend(
        self,
        hours: float | str | dt.timedelta | None = None,
        *,
        budget: float | str | None = None,
        idle: str | dt.timedelta | None = None,
    ) -> None:
        """Give it more time; alone, one hour more.

        Parameters
        ----------
        hours
            Added to its end: hours, "90m", or a timedelta.
        budget, idle
            The new budget for all of it, US dollars or "none"; the new idle time, or "never".
        """
        from gpunb.sessions.cost import lease

        seconds = words.hours_s("extend", hours)
        if hours is None and budget is None and idle is None:
            seconds = 3600.0
        with frontend() as context:
            lease.extend(
                context.ledger,
                context.ledger.get(self.id),
                hours=None if seconds is None else seconds / 3600.0,
                idle_s=words.idle_s("extend", idle),
                budget_usd=words.usd("extend", "budget", budget),
            )

    down_async = twin(down)
    run_cell_async = twin(run_cell)
    run_async = twin(run)
    exec_async = twin(exec)  # noqa: A003
    pip_async = twin(pip)
    sync_async = twin(sync)
    put_async = twin(put)
    get_async = twin(get)
    forward_async = twin(forward)
    extend_async = twin(extend)
