"""Where rows are done on a cluster: which nodes can, where the files are, and whose fault a failure is.

A node without the right mount, with a broken program or a full disk fails fast, and so wins all the work. On a cluster
a failure counts only once a second node confirms it, and a node whose failures pile up gets no more work.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vsumdata.manifests.errors import ClusterError, UsageError
from vsumdata.manifests.tables import DONE, FAILED
from vsumdata.pipeline.state.plan import Task
from vsumdata.pipeline.workers.cluster import VISITORS, Gpus, needed
from vsumdata.pipeline.workers.nodes import Nodes
from vsumdata.stages.stage import COMPUTE, Stage

# Failures in a row, not confirmed yet, after which a node gets no more work: of one that has done nothing else, and of
# one that has done other videos.
FEW, MANY = 3, 8
# A video that comes back this often without meeting another node counts as it is.
MOST_DOUBTS = 4


@dataclass
class Places:
    """The nodes of one run as its flow sees them. With a Ray of this machine alone there is nothing to decide."""

    nodes: Nodes
    gpus: Gpus
    media_at: dict[str, str] = field(default_factory=dict)  # video -> the node where its visit left its files
    changes: int = 0
    # By table and video: the nodes that have failed it, uncommitted, and how often it came back.
    failed_on: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    doubts: Counter[tuple[str, str]] = field(default_factory=Counter)
    # By node: its failures since its last success, and those of them that another node confirmed.
    in_a_row: Counter[str] = field(default_factory=Counter)
    confirmed: Counter[str] = field(default_factory=Counter)
    has_done: set[str] = field(default_factory=set)

    def have_changed(self) -> bool:
        """Whether nodes have come or gone, or were taken out, since the last call."""
        changed, self.changes = self.changes != self.nodes.changes, self.nodes.changes
        return self.nodes.look() or changed

    def can_start(self, stage: Stage) -> bool:
        """Whether there is what a stage's workers need; False while it may still come. Raises ClusterError."""
        if not self.nodes.is_cluster:
            return True
        if not self.nodes.fit:
            raise ClusterError("no node of the cluster can work any more; finished work is kept: run again")
        try:
            return self.gpus.are_there([stage], self.nodes.resources())
        except UsageError as error:
            raise ClusterError(f"{error}; finished work is kept: run again when there are") from error

    def staffed(self, stage: Stage, egress: str) -> Stage:
        """Give a stage that visits sites its number of workers: so many for each address that sites see.

        `egress` is the one proxy or source address of all of them, "" if each node has its own.
        """
        if stage.lane == COMPUTE or not self.nodes.is_cluster or egress:
            return stage
        return replace(stage, workers=(stage.workers or VISITORS) * self.nodes.egresses())

    def mark(self, stage: Stage, task: Task) -> Task:
        """Tell a task where its files are, on which nodes it has failed, and whether a node may be at fault."""
        if not self.nodes.is_cluster:
            return task
        task = replace(task, media_at=self.media_at.get(task.video_id, ""))
        if stage.lane != COMPUTE:
            return task
        key = (stage.name, task.video_id)
        able = self.nodes.able(needed(stage, self.nodes.resources())[0])
        failed_on = frozenset(self.failed_on.get(key, ()))
        return replace(task, failed_on=failed_on, may_be_node=able > 1 and self.doubts[key] < MOST_DOUBTS)

    def take(self, table: str, row: Mapping[str, Any], *, is_visit: bool) -> bool:
        """Note an outcome; True if it came back because of its node, so that it counts for nothing."""
        node, video_id = row["node"], row["video_id"]
        if not self.nodes.is_cluster:
            return False
        if row["unfit"]:
            self.nodes.take_out(node, f"it {row['unfit']}")
        elif row["is_doubted"]:
            self.doubt(table, video_id, node, row["reason"])
        elif row["free_until"] is None:
            if is_visit:
                self.media_at[video_id] = node
            self.judge(table, video_id, node, row["outcome"])
        return bool(row["unfit"] or row["is_doubted"] or row["is_lost"])

    def doubt(self, table: str, video_id: str, node: str, reason: str) -> None:
        """A node has failed a video, uncommitted."""
        self.failed_on[table, video_id].add(node)
        self.doubts[table, video_id] += 1
        self.in_a_row[node] += 1
        if self.in_a_row[node] >= (MANY if node in self.has_done else FEW) and len(self.nodes.fit) > 1:
            self.nodes.take_out(node, f"its last {self.in_a_row[node]} videos failed ({reason})")

    def judge(self, table: str, video_id: str, node: str, outcome: str) -> None:
        """A node has committed a video's row: it says whose fault the failures before were."""
        blamed = self.failed_on.pop((table, video_id), set()) - {node}
        if outcome == DONE:
            self.has_done.add(node)
            self.in_a_row[node] = 0
        if outcome != FAILED:
            return
        # The video's own fault, then, and not that of the nodes before.
        for other in blamed:
            self.confirmed[other] += 1
            if self.confirmed[other] >= FEW:
                self.nodes.put_in(other)
                self.in_a_row[other] = self.confirmed[other] = 0
