"""The training loop: epochs of steps, deterministic validation, the best parameters kept, early stopping.

Order of cells, noise and dropout are functions of (seed, epoch or step), so a training that goes on from `resume.pt`
ends with the same bits as one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import numpy as np
import torch

from sclamp.config.base import TrainingSettings
from sclamp.core.errors import UserError
from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.stream import cut, epoch_order
from sclamp.models.base import GradientModel
from sclamp.models.noise import Noise, seed_default_generator
from sclamp.models.whole_batch import part_of_batch
from sclamp.train.adamw import AdamW
from sclamp.train.distributed import Processes, check_sizes
from sclamp.train.monitor import Monitor
from sclamp.train.report import Report
from sclamp.train.resume import SECONDS_BETWEEN_EPOCH_SAVES, SECONDS_BETWEEN_STEP_SAVES, Interruption, Resume
from sclamp.train.standing import Standing
from sclamp.train.tensorboard import EventLog
from sclamp.types import Batch, Progress

STEPS_BETWEEN_CHECKS = 50
"""Steps after which a GPU is asked whether all losses were finite: asking makes the CPU wait for it."""

_SAVE = 1  # a request to save and go on, told apart from the numbers of the watched signals


class NotFinite(UserError):
    """The loss is NaN or infinite; the parameters are those from before that step."""


class Training:
    """Trains `model` on the train cells of `batches` and leaves its best parameters in it."""

    def __init__(
        self,
        model: GradientModel,
        batches: Batches,
        settings: TrainingSettings,
        seed: int,
        resume: Resume | None = None,
        processes: Processes | None = None,
        events: EventLog | None = None,
    ) -> None:
        """Model and batches are on the same device. resume: without it an interrupted training is lost.

        Errors: no training or validation cells, too few for the processes.
        """
        self.model, self.batches, self.settings, self.seed = model, batches, settings, seed
        self.resume, self.processes, self.events = resume, processes or Processes(), events
        self.train_rows, self.val_rows = batches.inputs.rows("train"), batches.inputs.rows("val")
        _check_cells(self.train_rows, self.val_rows)
        check_sizes(len(self.train_rows), settings.batch_size, self.processes.count)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = AdamW(self.parameters, settings.learning_rate, settings.weight_decay)
        self.standing = Standing()
        self.report = Report(settings.max_epochs, len(self.train_rows), settings.patience)
        self.monitor: Monitor | None = None
        if settings.monitor and self.processes.writes:  # the others wait: they write no history
            self.monitor = Monitor.of_model(model, batches, self.val_rows)
            self.monitor.tell(self.report.say)
        self.interruption = Interruption()
        self._bad = torch.zeros((), device=batches.device)
        self._bad_step = torch.full((), -1.0, device=batches.device)

    def run(self) -> list[dict[str, Any]]:
        """Train to the end; returns the history, one row per epoch."""
        self._go_on_from_resume()
        standing, settings = self.standing, self.settings
        if self.events:
            self.events.begin(standing.history)
        self.processes.same_state(self.model)
        with self.interruption.watched():
            while standing.epoch < settings.max_epochs and standing.waited < settings.patience:
                self._train_epoch()
                self._end_epoch()
        return self._end()

    # --- one epoch ----------------------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        standing, settings = self.standing, self.settings
        order = epoch_order(self.train_rows, self.seed, standing.epoch, self.batches.placement.block_rows)
        plan = cut(order, settings.batch_size)
        shares = [self.processes.share(rows) for rows in plan]
        done = np.cumsum([len(rows) for rows in plan])
        self.optimizer.learning_rate = self._learning_rate()
        self.model.train()
        with closing(self.batches.of([rows for rows, _ in shares[standing.step :]])) as batches:
            for batch in batches:
                whole = plan[standing.step]
                self._step(batch, shares[standing.step][1], len(whole), standing.epoch * len(plan) + standing.step)
                self._check_finite(plan, now=standing.step + 1 == len(plan))
                standing.step += 1
                self.report.step(standing.epoch, int(done[standing.step - 1]), len(whole))
                self._heed_requests()

    def _step(self, batch: Batch, start: int, total: int, number: int) -> None:
        """One optimiser step on this process's part of a batch of `total` cells."""
        device = self.batches.device
        self.optimizer.clear_gradients()
        bad = torch.zeros_like(self._bad)
        if len(batch):
            seed_default_generator(device, "dropout", self.seed, number, 0)
            batch.noise = Noise(self.seed, number, start, total, device)
            batch.gather = self.processes.gathering(total)
            with self._precision(), part_of_batch(start, len(batch), total, batch.gather):
                parts = self.model.loss(batch, Progress(self.standing.epoch, self.settings.max_epochs, step=number))
            parts["loss"].backward()
            self.standing.add(parts, len(batch))
            bad = (~torch.isfinite(parts["loss"].detach())).to(bad.dtype)
        bad = self.processes.average_gradients(self.parameters, len(batch) / total, bad)
        if self.settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self._bad_step = torch.where((self._bad == 0) & (bad != 0), float(self.standing.step), self._bad_step)
        self._bad = torch.maximum(self._bad, bad)
        self.optimizer.step(skip=self._bad)
        if self.processes.gathering(total) is None:  # one process had all the cells: only there have layers seen them
            self.processes.same_state(self.model)

    def _check_finite(self, plan: Sequence[np.ndarray], now: bool) -> None:
        on_cpu = self.batches.device.type == "cpu"
        if not (on_cpu or now or self.standing.step % STEPS_BETWEEN_CHECKS == 0) or not bool(self._bad):
            return
        step = int(self._bad_step)
        cells = [str(cell) for cell in self.batches.inputs.cell_ids[plan[step]]]
        shown = ", ".join(cells[:10]) + (f", ... ({len(cells)} in all)" if len(cells) > 10 else "")
        raise NotFinite(
            f"loss: not finite in epoch {self.standing.epoch}, step {step} (both from 0), for the cells {shown}; "
            "expected a number. Try a lower learning_rate or a gradient_clip, and look at the counts and covariates of "
            "these cells."
        )

    def _end_epoch(self) -> None:
        standing, settings = self.standing, self.settings
        row: dict[str, Any] = {"epoch": standing.epoch}
        row |= self._named("train", standing.means(self.processes))
        names = [*standing.names, *(self.monitor.names if self.monitor else ())]
        row |= dict.fromkeys(self._named("val", dict.fromkeys(names, 0.0)))  # empty without a validation
        last = standing.epoch + 1 == settings.max_epochs
        if last or (standing.epoch + 1) % settings.validate_every == 0:
            means = self._validate()
            seen = self.monitor.look_at(self.model) if self.monitor else {}
            row |= self._named("val", {**means, **seen})
            if standing.epoch >= self.model.first_checkpoint_epoch():
                standing.judge(means["loss"], settings.min_delta, self.model)
        row["learning_rate"] = self._learning_rate()
        standing.end_epoch(row)
        rate = self.report.epoch(row, standing.best_loss, standing.waited)
        if self.events:
            self.events.epoch(row, rate)
        if self.resume and self.processes.writes and self.resume.due(SECONDS_BETWEEN_EPOCH_SAVES):
            self.resume.save(self._state())

    def _validate(self) -> dict[str, float]:
        """Mean loss and parts over the validation cells: no dropout, no noise, the same numbers every time."""
        self.model.eval()
        zeros = torch.zeros(len(self.standing.names) + 1, dtype=torch.float64, device=self.batches.device)
        sums = Standing(names=self.standing.names, sums=zeros)
        plan, seen = cut(self.val_rows, EVALUATION_ROWS), 0
        shares = [self.processes.share(rows)[0] for rows in plan]
        number = (self.standing.epoch + 1) * len(cut(self.train_rows, self.settings.batch_size))
        progress = Progress(self.standing.epoch, self.settings.max_epochs, validation=True, step=number)
        with torch.no_grad(), self._precision(), closing(self.batches.of(shares)) as batches:
            for whole, batch in zip(plan, batches, strict=True):
                if len(batch):
                    batch.gather = self.processes.gathering(len(whole))
                    sums.add(self.model.loss(batch, progress), len(batch))
                seen += len(whole)
                self.report.validating(self.standing.epoch, seen, len(self.val_rows))
        means = sums.means(self.processes)
        if not np.isfinite(means["loss"]):
            raise NotFinite(
                f"loss: the validation loss after epoch {self.standing.epoch} (from 0) is {means['loss']}; expected a "
                "number. Try a lower learning_rate or a gradient_clip, and look at the validation cells."
            )
        return means

    def _named(self, split: str, means: dict[str, float]) -> dict[str, float]:
        """Columns of the history: train_loss, val_loss, ...; schedules under their own name, as training used them."""
        named = {f"{split}_{name}": value for name, value in means.items() if name not in self.model.schedules}
        schedules = {name: value for name, value in means.items() if name in self.model.schedules}
        return {**named, **schedules} if split == "train" else named

    def _learning_rate(self) -> float:
        return self.settings.learning_rate * self.settings.learning_rate_decay**self.standing.epoch

    def _precision(self) -> AbstractContextManager[Any]:
        if self.settings.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.batches.device.type, dtype=torch.bfloat16)

    # --- interruption, resuming, the end ------------------------------------------------------------------------------

    def _heed_requests(self) -> None:
        """Save when it is time, save and leave when a signal has asked for it; all processes at the same step."""
        if self.resume is None:
            if self.interruption.signal_number:
                self.interruption.leave("nothing was saved, because this training has no place to resume from")
            return
        due = self.processes.writes and self.resume.due(SECONDS_BETWEEN_STEP_SAVES)
        wish = self.processes.largest(self.interruption.signal_number or _SAVE * due)
        if not wish:
            return
        sums = self.standing.sums
        self.standing.sums = None if sums is None else self.processes.summed(sums)
        saved = self.processes.writes and self.resume.save(self._state())
        if not self.processes.writes and self.standing.sums is not None:
            self.standing.sums = torch.zeros_like(self.standing.sums)
        if wish != _SAVE:
            self.interruption.signal_number = wish
            where = f"epoch {self.standing.epoch}, step {self.standing.step} (from 0)"
            done = f"saved at {where}; the same command goes on from there" if saved else f"nothing saved at {where}"
            self.interruption.leave(done)

    def _state(self) -> dict[str, Any]:
        return {
            "model": dict(self.model.learned_state()),
            "optimizer": self.optimizer.to_state(),
            "standing": self.standing.to_state(),
        }

    def _go_on_from_resume(self) -> None:
        state = self.resume.load() if self.resume else None
        if state is None:
            return
        self.model.load_state_dict(state["model"], strict=False)
        self.optimizer.load_state(state["optimizer"])
        self.standing = Standing.from_state(state["standing"], self.batches.device)
        if not self.processes.writes and self.standing.sums is not None:
            self.standing.sums = torch.zeros_like(self.standing.sums)
        self.report.say(f"resume: going on at epoch {self.standing.epoch}, step {self.standing.step} (from 0)")

    def take_best(self) -> bool:
        """Put the best parameters so far into the model; False when no checkpoint was allowed yet."""
        if self.standing.best is not None:
            self.model.load_state_dict(self.standing.best, strict=False)
        return self.standing.best is not None

    def _end(self) -> list[dict[str, Any]]:
        standing = self.standing
        rate = self.report.speed()
        if self.take_best():
            kept = f"epoch {standing.best_epoch} (from 0), validation loss {standing.best_loss:.6g}"
            self.report.say(f"trained {standing.epoch} epochs ({rate}); kept {kept}")
        else:
            first = self.model.first_checkpoint_epoch()
            self.report.say(
                f"trained {standing.epoch} epochs ({rate}); the warm-up lasts until epoch {first}, so no checkpoint "
                "was chosen by validation and the last parameters are used"
            )
        self.model.eval()
        best = standing.epoch - 1 if standing.best is None else standing.best_epoch
        return [{**row, "is_best": row["epoch"] == best} for row in standing.history]


def _check_cells(train: np.ndarray, val: np.ndarray) -> None:
    """Training needs cells of both kinds."""
    problems = [
        f"split: there are no {name} cells ('{value}'); {why}."
        for name, value, rows, why in (
            ("training", "train", train, "nothing can be learned"),
            ("validation", "val", val, "they choose the checkpoint"),
        )
        if len(rows) == 0
    ]
    if len(train) == 1:
        problems.append("split: there is a single training cell; at least 2 are needed.")
    if problems:
        raise UserError(*problems)
