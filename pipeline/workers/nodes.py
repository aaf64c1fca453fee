"""The nodes of the cluster, as a run's driver knows them: those that are fit, those that are gone or were taken out.

Only fit nodes get workers. A node that joins later is asked to prove itself first, while the others work.
"""

from __future__ import annotations

import fcntl
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsumdata.manifests.errors import ClusterError
from vsumdata.manifests.store import TEMPORARY, Store
from vsumdata.pipeline.workers.cluster import there
from vsumdata.pipeline.workers.keeper import NAMESPACE, Asked, Fitness, Keeper, name_of, versions_here
from vsumdata.stages.stage import COMPUTE, Stage

# For a node to start the actor that proves it fit, and to answer.
ANSWERS_S = 60.0
# For all nodes to clean up at the end of a run.
LEAVES_S = 30.0
LOOK_EVERY_S = 2.0
# Retries compare times of several machines.
MOST_SKEW_S = 60.0
NODE_ID = "ray.io/node-id"


@dataclass
class Nodes:
    """The nodes of a Ray session for one run; `run` names its temporary folder.

    With a Ray of this machine alone nothing is asked: its workers see what the driver sees.
    """

    store: Store
    run: str
    say: Callable[[str], None]
    is_cluster: bool
    files: Sequence[str] = ()
    models: Sequence[str] = ()
    needs_ffmpeg: bool = False
    needs_runtime: bool = False
    fit: dict[str, Fitness] = field(default_factory=dict)  # by node id
    # Node id -> why it gets no workers; of those that were fit once, what they had shown.
    unfit: dict[str, str] = field(default_factory=dict)
    out: dict[str, Fitness] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    resources_of: dict[str, Mapping[str, float]] = field(default_factory=dict)
    keepers: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)  # Ray's references to what they will have shown
    asked_at: dict[str, float] = field(default_factory=dict)  # by this machine's clock
    looked_at: float = 0.0
    changes: int = 0  # nodes that were taken out or put in
    home: str = ""  # the driver's node
    mark: Mark | None = None  # stays until the run ends, for nodes that join it

    # Before any work

    def prove(self) -> None:
        """Ask all nodes to show that they are fit. Raises ClusterError that names each that is not, and why."""
        if not self.is_cluster:
            return
        import ray

        self.home = ray.get_runtime_context().get_node_id()
        with Mark(self.store) as mark:
            for node in alive():
                self.meet(node, mark)
            wrong = []
            until = time.monotonic() + ANSWERS_S
            for at, reference in list(self.asked.items()):
                self.hear(at, reference, max(0.0, until - time.monotonic()))
                if why := self.unfit.get(at):
                    wrong.append(f"node {self.names[at]} {why}")
        if wrong:
            raise ClusterError("; ".join(wrong))

    def meet(self, node: Mapping[str, Any], mark: str) -> None:
        """Start a node's keeper and ask it."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        at = node["NodeID"]
        self.names[at] = f"{node.get('NodeName') or node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        self.resources_of[at] = node["Resources"]
        options = {
            "name": name_of(self.run, at),
            "namespace": NAMESPACE,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(at, soft=False),
            # The pools may hold every CPU. Several, since workers of many nodes may ask at once.
            "num_cpus": 0,
            "max_concurrency": 8,
        }
        self.keepers[at] = ray.remote(Keeper).options(**options).remote(self.store.location, self.run)
        question = Asked(
            root=self.store.location,
            mark=mark,
            files=tuple(self.files),
            models=tuple(self.models),
            needs_ffmpeg=self.needs_ffmpeg,
            needs_runtime=self.needs_runtime,
            versions=versions_here(),
        )
        self.asked_at[at] = time.time()
        self.asked[at] = self.keepers[at].fitness.remote(question)

    def hear(self, node: str, reference: Any, patience_s: float) -> None:
        """Take a node's answer."""
        import ray

        try:
            found: Fitness = ray.get(reference, timeout=patience_s)
        except ray.exceptions.GetTimeoutError:
            self.unfit[node] = f"does not answer within {ANSWERS_S:g} s"
        except ray.exceptions.RayError as error:
            self.unfit[node] = why_it_failed(error)
        else:
            if wrong := [*found.problems, *skew(found.now, self.asked_at[node], time.time())]:
                self.unfit[node] = "; it ".join(wrong)
            else:
                self.fit[node] = found
        del self.asked[node], self.asked_at[node]

    # During the run

    def look(self) -> bool:
        """See which nodes are new, have answered or are gone; True if there are others now than before."""
        if not self.is_cluster or time.monotonic() - self.looked_at < LOOK_EVERY_S:
            return False
        import ray

        self.looked_at = time.monotonic()
        there = {node["NodeID"]: node for node in alive()}
        before = set(self.fit)
        for at in [at for at in self.names if at not in there]:
            if at in self.fit:
                self.say(f"node {self.names[at]} is gone: others take up its rows")
            self.drop(at)
        if new := [node for at, node in there.items() if at not in self.names]:
            self.mark = self.mark or Mark(self.store)
            for node in new:
                self.meet(node, self.mark.make())
        for at, reference in list(self.asked.items()):
            if ray.wait([reference], timeout=0)[0]:
                self.hear(at, reference, 0.0)
                fitness = "has joined" if at in self.fit else f"gets no work: it {self.unfit[at]}"
                self.say(f"node {self.names[at]} {fitness}")
        return set(self.fit) != before

    def drop(self, node: str) -> None:
        for known in (
            self.names,
            self.fit,
            self.unfit,
            self.out,
            self.keepers,
            self.asked,
            self.asked_at,
            self.resources_of,
        ):
            known.pop(node, None)

    def take_out(self, node: str, why: str) -> None:
        """Give a node no more workers."""
        if node in self.fit:
            self.say(f"node {self.names[node]} gets no more work: {why}")
            self.unfit[node] = why
            self.out[node] = self.fit.pop(node)
            self.changes += 1

    def put_in(self, node: str) -> None:
        """Give a node that was taken out its workers again."""
        if node in self.out:
            self.say(f"node {self.names[node]} gets work again: its videos failed elsewhere too")
            del self.unfit[node]
            self.fit[node] = self.out.pop(node)
            self.changes += 1

    def able(self, gpus: float) -> int:
        """How many nodes can do what asks for so many GPUs a worker."""
        return sum(self.resources_of.get(node, {}).get("GPU", 0.0) >= gpus for node in self.fit)

    def resources(self) -> list[Mapping[str, float]]:
        """What each node has that gets work."""
        return [self.resources_of[node] for node in self.fit] if self.is_cluster else there()

    def egresses(self) -> int:
        """How many addresses of ours sites see, as far as the nodes tell, see `pace.own_address`."""
        return max(1, len({fitness.egress for fitness in self.fit.values()}))

    def chosen(self, stage: Stage) -> dict[str, Any]:
        """Ray's options for a stage's workers: on fit nodes only; those that visit sites on as many as there are."""
        if not self.is_cluster:
            return {}
        where: dict[str, Any] = {"label_selector": {NODE_ID: f"in({','.join(sorted(self.fit))})"}}
        # Each node may have an address of its own, and each address its own rate.
        return where if stage.lane == COMPUTE else where | {"ray_remote_args_fn": spread}

    # At its end

    def stop(self) -> None:
        """Tell the workers on all nodes that the run ends."""
        for keeper in self.keepers.values():
            keeper.stop.remote()

    def leave(self) -> None:
        """Have each node delete what the run left there."""
        if self.mark is not None:
            self.mark.remove()
        if not self.keepers:
            return
        import ray

        ray.wait(
            [keeper.leave.remote() for keeper in self.keepers.values()],
            num_returns=len(self.keepers),
            timeout=LEAVES_S,
        )
        for keeper in self.keepers.values():
            ray.kill(keeper)


@dataclass
class Mark:
    """A file in a local root that shows whether another node sees the same folder; none on an object store."""

    store: Store
    path: Path | None = None
    file: Any = None

    def make(self) -> str:
        """Make it if it is not there; its path, "" on an object store."""
        if self.store.local is None:
            return ""
        if self.path is None:
            self.path = self.store.local / f".seen-{uuid.uuid4().hex[:8]}{TEMPORARY}"
            self.file = self.path.open("x")
            # Else another run's cleaner would take it for left.
            fcntl.flock(self.file, fcntl.LOCK_EX)
        return str(self.path)

    def remove(self) -> None:
        """Remove it, and what the nodes wrote beside it."""
        if self.path is not None:
            self.file.close()
            for path in self.path.parent.glob(f"{self.path.name}*"):
                path.unlink(missing_ok=True)

    def __enter__(self) -> str:
        return self.make()

    def __exit__(self, *_: object) -> None:
        self.remove()


def skew(there: float, before: float, after: float) -> list[str]:
    """Say how far a clock is off that showed `there` at some time between `before` and `after` of ours."""
    off_s = max(there - after, before - there)
    if off_s <= MOST_SKEW_S:
        return []
    return [f"has a clock that is {off_s:.0f} s {'ahead' if there > after else 'behind'}: set it (NTP)"]


def spread() -> dict[str, Any]:
    """Ray's options for workers that are to be on as many nodes as there are."""
    return {"scheduling_strategy": "SPREAD"}


def alive() -> list[Mapping[str, Any]]:
    """Ray's nodes that are alive."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def why_it_failed(error: Exception) -> str:
    """Say why a node could not even start our code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if missing := [line for line in lines if line.startswith(("ModuleNotFoundError", "ImportError"))]:
        return f"cannot load vsumdata ({missing[-1]}): install the same wheel there (`vsumdata cluster env`)"
    return f"does not answer: {lines[-1] if lines else type(error).__name__}"
