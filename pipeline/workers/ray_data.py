"""What is ours inside Ray Data: a source that the driver feeds while the execution runs, and what Ray starts without.

Imported late, for it imports Ray at once. All that is used of Ray's private parts, for which `pyproject.toml` pins its
range: here `InputDataBuffer`, `FromBlocks`, `Planner`, `ExecutionCallback`, `StreamingExecutor`, `stats._StatsManager`,
of `actor_pool_map_operator` two functions and the pool's actors,
`rate_based_cluster_autoscaler.DefaultAutoscalingCoordinator`; in `cluster.py` `worker.print_to_stdstream`, `node.Node`.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data._internal import stats
from ray.data._internal.cluster_autoscaler import rate_based_cluster_autoscaler as autoscaler
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.interfaces import BlockEntry, RefBundle
from ray.data._internal.execution.operators import actor_pool_map_operator as pools
from ray.data._internal.execution.operators.input_data_buffer import InputDataBuffer
from ray.data._internal.logical.interfaces import LogicalPlan
from ray.data._internal.logical.operators.from_operators import FromBlocks
from ray.data._internal.planner.planner import Planner
from ray.data._internal.stats import DatasetStats
from ray.data.block import BlockMetadataWithSchema
from ray.data.context import DataContext

from vsumdata.pipeline.workers.cluster import Pool
from vsumdata.pipeline.workers.worker import Job, LaneWorker

LOGGERS = ("ray", "ray.data")
# Ray's loop asks without a pause when no task runs, and would take a whole core of a run that waits for a host.
IDLE_S = 0.05
# Blocks that Ray sends to a worker, and from how many in the mean it starts another one. An execution puts two for each
# worker that it wants.
MOST_IN_FLIGHT, IS_FULL = 3, 2.5


class Feed(InputDataBuffer):
    """The source of an execution: blocks that the driver puts while it runs, until it is closed.

    `put` and `close` may be called from any thread; everything else is called by Ray's loop.
    """

    def __init__(self, context: DataContext) -> None:
        super().__init__(context, [])
        # Ray's own buffer is at its end when it starts.
        self._is_execution_marked_finished = False
        self.blocks: deque[RefBundle] = deque()
        self.is_closed = False
        self.news = threading.Event()
        self.executor: Any = None

    def put(self, block: pa.Table) -> None:
        described = BlockMetadataWithSchema.from_block(block)
        entry: Any = BlockEntry(ray.put(block), described.metadata)  # type: ignore[arg-type]
        self.blocks.append(RefBundle((entry,), owns_blocks=False, schema=described.schema))
        self.news.set()

    def close(self) -> None:
        """Let the execution end once it has done what is there."""
        self.is_closed = True
        self.news.set()

    def has_next(self) -> bool:
        return bool(self.blocks)

    def _get_next_inner(self) -> RefBundle:
        block = self.blocks.popleft()
        self._metrics.on_input_received(block)
        return block

    def has_execution_finished(self) -> bool:
        return self._is_execution_marked_finished or (self.is_closed and not self.blocks)

    def refresh_state(self) -> None:
        is_idle = not any(following.num_active_tasks() for following in self.output_dependencies)
        if is_idle and not self.blocks and not self.is_closed:
            self.news.wait(IDLE_S)
            self.news.clear()


class Introduced(ExecutionCallback):
    """Tells a feed by whom it is executed, for whoever must stop that.

    A dataset itself knows it only once its first block has come back (`Dataset._current_executor`).
    """

    def before_execution_starts(self, executor: Any) -> None:
        for operator in executor._topology:
            if isinstance(operator, Feed):
                operator.executor = executor


def waits_for_nodes(executor: Any) -> bool:
    """Whether all that is left to do lies with workers that Ray cannot start again, or could not start at all."""
    for operator in executor._topology:
        if isinstance(operator, pools.ActorPoolMapOperator):
            pool: Any = operator._actor_pool
            busy = [actor for actor in pool._running_actors.values() if actor.num_tasks_in_flight]
            if busy or not pool.num_running_actors():
                return all(actor.is_restarting for actor in busy)
    return False


class FromFeed(FromBlocks):
    """Ray's plan of a dataset whose blocks come from `feed`."""

    feed: Feed


def endless(jobs: Mapping[str, Job], size: Pool, fewest: int, where: Mapping[str, Any]) -> tuple[Any, Feed]:
    """Make a Ray Dataset that does what its feed brings: blocks as `worker.pack` makes them. Nothing runs yet.

    Its workers are `fewest` to `size.workers`, as many as Ray has blocks for, on the nodes that `where` allows.
    """
    set_up(is_local=len(ray.nodes()) == 1)
    jobs = {
        table: replace(job, gpus=size.gpus, context=replace(job.context, threads=size.threads))
        for table, job in jobs.items()
    }
    context = DataContext.get_current().copy()
    source = FromFeed([], [])
    context.autoscaling_config.actor_pool_util_upscaling_threshold = IS_FULL
    context.custom_execution_callback_classes = [Introduced]
    feed = Feed(context)
    # Ray's plans are frozen.
    object.__setattr__(source, "feed", feed)
    memory: dict[str, Any] = {"memory": size.memory_bytes} if size.memory_bytes else {}
    data = ray.data.Dataset(LogicalPlan(source, context), context, DatasetStats(metadata={}, parent=None)).map_batches(
        LaneWorker,
        # The driver cuts the blocks, and a block has one row: `repartition` needs a whole CPU of its own, and the run
        # hangs when actors hold 1.5 of 2 CPUs (seen with ray 2.60).
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=fewest, max_size=size.workers, initial_size=fewest, max_tasks_in_flight_per_actor=MOST_IN_FLIGHT
        ),
        num_cpus=size.cpus,
        num_gpus=size.gpus or None,
        fn_constructor_args=(jobs,),
        **memory,
        **where,
    )
    return data, feed


def set_up(is_local: bool) -> None:
    """Set Ray Data up for this process."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.verbose_progress = False
    # Ray's guard ends a run after 30 minutes without progress. A crawl may rightly wait for hours until a host
    # answers again.
    context.execution_no_progress_timeout_s = -1
    # One raising row drops its whole block, and with -1 the run ends normally without these rows. ray#62746: with -1 a
    # fixed pool also hangs for ever once its actor has died.
    context.max_errored_blocks = 0
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # A short run gives some of its workers nothing, which Ray would tell the user.
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    # Nothing else spreads workers over nodes; the pinned range of Ray has it.
    warnings.filterwarnings("ignore", "`ray_remote_args_fn` is deprecated")
    # Ids of datasets then come from this process, not from an actor that counts them.
    context.use_legacy_dataset_ids = False
    # Ray takes the first that fits, and FromFeed is a FromBlocks.
    Planner._DEFAULT_PLAN_FNS = {FromFeed: lambda source, *_: source.feed} | Planner._DEFAULT_PLAN_FNS
    without_helpers(is_local)


def without_helpers(is_local: bool) -> None:
    """Keep Ray Data from starting actors that a run has no use for: each takes 1 to 2 s of CPU and 130 to 200 MB."""
    # The dashboard's figures; we start none.
    for name in ("register_dataset_to_stats_actor", "update_execution_metrics", "update_iteration_metrics"):
        setattr(stats._StatsManager, name, staticmethod(lambda *_, **__: None))
    # The one that asks a cluster for more nodes, and the one that knows on which node a worker is. A Ray on this
    # machine alone has this node only.
    if is_local:
        autoscaler.DefaultAutoscalingCoordinator = AllThereIs  # type: ignore[misc, assignment]
        pools.get_or_create_actor_location_tracker = OneNode
        pools.get_actor_locations = lambda logical_actor_ids: {}


class AllThereIs:
    """What Ray Data asks for nodes: it may use what is there."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def request_resources(self, *_: Any, **__: Any) -> None:
        pass

    def cancel_request(self, *_: Any, **__: Any) -> None:
        pass

    def get_reserved_resources(self) -> dict[str, dict[str, float]]:
        return {node["NodeID"]: node["Resources"] for node in ray.nodes()}


class OneNode:
    """What Ray Data's workers tell where they are."""

    def __init__(self) -> None:
        self.update_actor_location = self

    def remote(self, *_: Any) -> None:
        pass
