"""A simulated run: users in a closed loop before a server with slots, in files with the columns of the writers."""

import csv
import heapq
import itertools
import json
import math
import random
from pathlib import Path

from llmlocust.load.distributions import think_time, think_time_in_words
from llmlocust.metrics import vocabulary
from llmlocust.metrics.level_rows import LEVEL_COLUMNS, level_row
from llmlocust.metrics.levels import Level, LevelFigures, Tally
from llmlocust.metrics.rows import (
    HISTOGRAM_COLUMNS,
    REQUEST_COLUMNS,
    TELEMETRY_COLUMNS,
    TELEMETRY_LEVEL_COLUMNS,
    TIMELINE_COLUMNS,
)
from llmlocust.runfiles import formats
from llmlocust.text.message import to_json

EPOCH = 1_795_000_000.0
HOSTILE = "<script>alert('x')</script> & \"quoted\" | $a_b$ ` </svg>"


_STATUS = {"http_503": 503, "connect": 0, "reset": 0, **dict.fromkeys(vocabulary.CLIENT_KINDS, 0)}


class MadeRun:
    """A run in virtual time: its simulation does not wait."""

    def __init__(
        self,
        loads=(5, 10, 20, 40, 60),
        slots=24,
        *,
        hold=40.0,
        warmup=8.0,
        limit=12.0,
        tokens=60,
        seed=1,
        dies=math.inf,
        empty=(),
        unread=(),
        streams=True,
        last_hold=None,
        info=None,
        think=(0.5, 1.5),
        phases=(),
        unsent=None,
        starved=None,
        out=("connect", math.inf, math.inf),
        paused=math.nan,
        silent=(),
        telemetry=None,
    ):
        """Simulate the run. `dies`: the second from which no request can connect. `empty`: levels whose answers have no
        token; `unread`: levels whose tokens were counted, but not seen. `last_hold`: seconds that the last level was
        held before the run was stopped. `info`: items to add to run.json. `think`: the minimum and maximum seconds
        between two requests of a user. `phases`: the name of each level's phase. `unsent`: why requests of the last
        level never reach the server, and their share. `out`: how requests fail, and between which moments. `starved`:
        values for columns of the timeline and of the requests in the last level. `paused`: the share of the users' time
        in pauses after failures, in the last level. `silent`: levels in which no user sends a request.
        `telemetry`: what the server reports (MadeTelemetry).
        """
        self.random = random.Random(seed)
        self.loads, self.slots, self.hold, self.warmup = loads, slots, hold, warmup
        self.limit, self.tokens = limit, tokens
        self.think = think
        self.unsent, self.unsent_share = unsent or ("", 0.0)
        self.starved = starved or {}
        self.out, self.paused, self.silent = out, paused, silent
        self.phases = phases or [""] * len(loads)
        self.dies, self.empty, self.unread, self.streams, self.more = dies, empty, unread, streams, info or {}
        self.last_hold = hold if last_hold is None else last_hold
        self.telemetry = telemetry
        self.rows: list[dict] = []
        self.levels: list[Level] = []
        self.tallies: list[Tally] = []
        self.seconds: dict[int, dict[str, float]] = {}
        self._simulate()

    def _simulate(self):
        moment = 0.0
        busy: list[float] = []  # the seconds at which the slots are free
        users: list[float] = []  # the seconds at which the users send their next requests
        for index, load in enumerate(self.loads):
            level = Level(index, float(load), began=moment, warmed_up=moment + self.warmup, phase=self.phases[index])
            level.ended = level.warmed_up + (self.last_hold if index == len(self.loads) - 1 else self.hold)
            self.levels.append(level)
            self.tallies.append(Tally())
            del users[int(load) :]
            while len(users) < load:
                heapq.heappush(users, moment + self.random.random() * self.warmup * 0.6)
            while users and users[0] < level.ended:
                sent = heapq.heappop(users)
                heapq.heappush(users, self._ask(sent, busy, index) + self.random.uniform(*self.think))
            moment = level.ended
        self.ended = moment + 5.0
        for second in range(int(self.ended)):
            self._second(second)["users"] = next(
                (level.load for level in self.levels if level.began <= second < level.ended), 0
            )

    def _second(self, moment: float) -> dict[str, float]:
        return self.seconds.setdefault(int(moment), dict.fromkeys(TIMELINE_COLUMNS[2:], 0.0))

    def _ask(self, sent: float, busy: list[float], index: int) -> float:
        """Simulate a request: it waits for a slot and streams its tokens, or times out before the first token."""
        while busy and busy[0] <= sent:
            heapq.heappop(busy)
        start = sent if len(busy) < self.slots else heapq.nsmallest(len(busy) - self.slots + 1, busy)[-1]
        ttft = start - sent + 0.08 * self.random.lognormvariate(0, 0.3)
        row = dict.fromkeys(REQUEST_COLUMNS, "")
        if index in self.silent:
            return self.levels[index].ended
        row |= {
            "level": index,
            "sent": sent,
            "name": "chat",
            "weight": 1,
            "worker": "w1",
            "client_queue": 0.1,
            "stalls": 0,
        }
        if sent > self.dies:
            return self._failed(row, sent, 0.001, "connect", "Connection refused")
        if self.out[1] < sent < self.out[2]:
            return self._failed(row, sent, 0.001, self.out[0], "out")
        if index == len(self.loads) - 1:
            row |= {name: value for name, value in self.starved.items() if name in row}
        if self.unsent and index == len(self.loads) - 1 and self.random.random() < self.unsent_share:
            return self._failed(row, sent, 0.001, self.unsent, "not sent")
        if ttft > self.limit:
            return self._failed(row, sent, self.limit, "timeout_first_token", HOSTILE)
        if len(busy) > 2 * self.slots and self.random.random() < 0.04:
            return self._failed(row, sent, 0.02, "http_503", "upstream $overloaded_")
        load = min(1.0, len(busy) / self.slots)
        count = max(2, round(self.tokens * self.random.lognormvariate(0, 0.3)))
        step = 0.018 + 0.03 * load
        intervals = [step * self.random.lognormvariate(0, 0.25) for _ in range(count - 1)]
        end = ttft + sum(intervals)
        heapq.heappush(busy, sent + end)
        ordered = sorted(intervals)
        row |= {
            "outcome": "ok",
            "status": 200,
            "e2e": end * 1000,
            "ttft": ttft * 1000,
            "ttfo": ttft * 1000,
            "tpot": sum(intervals) / (count - 1) * 1000,
            "itl_p50": ordered[len(intervals) // 2] * 1000,
            "itl_max": ordered[-1] * 1000,
            "duration": end * 1000,
            "input_tokens": 30,
            "output_tokens": count,
            "token_source": "usage",
            "chunks": count,
            "coalesced": int(count * 0.02),
            "finish": "stop",
        }
        if sent + end > self.dies:
            return self._failed(self._bare(row), sent, self.dies - sent, "reset", "Connection reset by peer")
        if index in self.empty:
            row = self._bare(row) | {"chunks": 0, "output_tokens": 0}
        elif index in self.unread:
            row = self._bare(row) | {"chunks": 0, "output_tokens": count, "unread": "choices.delta.voice"}
        elif not self.streams:
            row |= dict.fromkeys(("ttft", "ttfo", "tpot", "itl_p50", "itl_max"), "") | {"chunks": 0, "coalesced": 0}
        self._count(row, sent, end, intervals)
        return sent + end

    def _bare(self, row):
        unknown = dict.fromkeys(("e2e", "ttft", "ttfo", "tpot", "itl_p50", "itl_max", "output_tokens", "finish"), "")
        return row | unknown | {"chunks": 0, "coalesced": 0}

    def _failed(self, row, sent, after, kind, text):
        row |= {"outcome": kind, "error": text, "status": _STATUS.get(kind, 200), "duration": after * 1000}
        self._count(row, sent, after, [])
        return sent + after

    def _count(self, row, sent, over, intervals):
        level = self.levels[row["level"]]
        tally = self.tallies[row["level"]]
        row["measured"] = int(level.measures(sent))
        self.rows.append(row)
        self._second(sent)["sent"] += 1
        self._second(sent + over)["ended"] += 1
        self._second(sent + over)["failed"] += row["outcome"] != "ok"
        for second in range(int(sent), int(sent + over) + 1):
            self._second(second)["in_flight"] += 1
        if row["measured"]:
            tally.outcomes[row["outcome"]] += 1
        if row["outcome"] != "ok":
            return
        arrivals = []
        if row["chunks"]:
            arrivals = list(itertools.accumulate(intervals, initial=sent + row["ttft"] / 1000))
        elif row["output_tokens"]:
            arrivals = [sent + over]
        for arrival in arrivals:
            self._second(arrival)["tokens"] += 1
        for other_level, other_tally in zip(self.levels, self.tallies, strict=True):
            other_tally.numbers["tokens_in_window"] += sum(other_level.measures(arrival) for arrival in arrivals)
            if other_level.measures(sent + over):
                other_tally.numbers["ended_ok"] += 1
        if row["measured"]:
            for name in ("ttft", "ttfo", "e2e", "tpot", "client_queue"):
                if row[name] != "":
                    tally.histogram(name).add(row[name] / 1000)
            tally.histogram("itl").extend(intervals if row["chunks"] else [])
            for name in ("input_tokens", "output_tokens", "chunks", "coalesced"):
                tally.numbers[name] += row[name] or 0

    def write(self, prefix: Path, *, leave_out=(), ended=True) -> Path:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        figures = [
            LevelFigures.of(
                level,
                tally,
                self.ended,
                EPOCH,
                level.load,
                backing_off=self.paused if level is self.levels[-1] else math.nan,
            )
            for level, tally in zip(self.levels, self.tallies, strict=True)
        ]
        rows = [row | {"sent": f"{row['sent'] + EPOCH:.3f}"} for row in sorted(self.rows, key=lambda row: row["sent"])]
        histograms = [
            dict(zip(HISTOGRAM_COLUMNS, (index, "chat", metric, bucket, count), strict=True))
            for index, tally in enumerate(self.tallies)
            for metric, histogram in tally.histograms.items()
            for bucket, count in histogram.items()
        ]
        timeline = [
            {"time": EPOCH + second, "level": self._level_of(second), **counts, "client_cpu": 0.3, "loop_lag": 1.5}
            | (self._starved_second() if self._level_of(second) == len(self.loads) - 1 else {})
            for second, counts in sorted(self.seconds.items())
        ]
        tables = {
            formats.LEVELS: (LEVEL_COLUMNS, [level_row(level) for level in figures]),
            formats.REQUESTS: (REQUEST_COLUMNS, rows),
            formats.HISTOGRAMS: (HISTOGRAM_COLUMNS, histograms),
            formats.TIMELINE: (TIMELINE_COLUMNS, timeline),
        }
        if self.telemetry:
            tables[formats.TELEMETRY] = TELEMETRY_COLUMNS, self.telemetry.rows(self, EPOCH)
            tables[formats.TELEMETRY_LEVELS] = TELEMETRY_LEVEL_COLUMNS, self.telemetry.level_rows(self)
        for name, (columns, lines) in tables.items():
            if name in leave_out:
                continue
            with prefix.with_name(f"{prefix.name}_{name}").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(lines)
        if formats.RUN not in leave_out:
            path = prefix.with_name(f"{prefix.name}_{formats.RUN}")
            path.write_text(json.dumps(self.run_json(ended=ended)), encoding="utf-8")
        return prefix

    def _starved_second(self):
        return {name: value for name, value in self.starved.items() if name in TIMELINE_COLUMNS}

    def _plan(self):
        plan = {"unit": "users", "levels": list(self.loads), "warmup": self.warmup, "hold": self.hold}
        if not any(self.phases):
            return plan
        runs = [(name, len(list(group))) for name, group in itertools.groupby(self.phases)]
        phases = [{"name": name, "levels": count, "warmup": self.warmup, "hold": self.hold} for name, count in runs]
        return plan | {"warmup": None, "hold": None, "shape": "simulated", "phases": phases}

    def _level_of(self, second):
        return next((level.index for level in self.levels if level.began <= second < level.ended), "")

    def run_json(self, *, ended=True):
        observed = {"telemetry": self.telemetry.info(EPOCH)} if self.telemetry else {}
        return {
            "format": formats.FORMAT,
            "llmlocust": "0.1.0",
            "locust": "2.47.0",
            "python": "3.11.9",
            "started": EPOCH,
            "ended": EPOCH + self.ended if ended else None,
            "target": {"host": "http://gpu-1:8000", "model": "deepseek-r1 <b>8b</b>", "dialect": "openai-chat"},
            "plan": self._plan(),
            "options": {"llm_max_tokens": 256, "llm_prompt": HOSTILE},
            "user_classes": {"ChatUser": to_json(think_time_in_words(think_time("0.5-1.5")))},
            "think_times": {"ChatUser": 1.0},
            "clock": "kernel",
            "processes": 2,
            "counts": {"sent": len(self.rows), "ended": len(self.rows), "preflight": 1},
            "rows": {"seen": len(self.rows), "kept": len(self.rows)},
            "checks": [{"name": "time", "ok": True, "value": None, "limit": None, "says": "Clocks agree."}],
            **observed,
        } | self.more
