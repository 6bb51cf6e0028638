"""The training loop: epochs of steps, deterministic validation, the best parameters kept, early stopping.

Order of cells, noise and dropout are functions of (seed, epoch or step), so a training that goes on from `resume.pt`
ends with the same bits as one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sclamp.config.base import TrainingSettings
from sclamp.core.errors import UserError
from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.stream import cut, epoch_order
from sclamp.models.base import GradientModel
from sclamp.train.adamw import AdamW
from sclamp.train.backward import backward
from sclamp.train.distributed import Processes, check_sizes
from sclamp.train.monitor import Monitor
from sclamp.train.report import Report
from sclamp.train.resume import SECONDS_BETWEEN_EPOCH_SAVES, SECONDS_BETWEEN_STEP_SAVES, Interruption, Resume
from sclamp.train.shortage import in_parts, more_parts
from sclamp.train.standing import Standing
from sclamp.train.tensorboard import EventLog
from sclamp.train.validation import check_cells, validate
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
        check_cells(self.train_rows, self.val_rows)
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
        self.optimizer.learning_rate = self._learning_rate()
        self.model.train()
        while standing.step < len(plan):
            self._steps(plan)

    def _steps(self, plan: Sequence[np.ndarray]) -> None:
        """Steps to the end of the epoch, or up to one that needs more memory than there is."""
        standing = self.standing
        done = np.cumsum([len(rows) for rows in plan])
        shares = [self.processes.share(rows) for rows in plan[standing.step :]]
        cuts = [in_parts(rows, standing.parts) for rows, _ in shares]
        with closing(self.batches.of([part for parts in cuts for part in parts])) as batches:
            for (rows, start), parts in zip(shares, cuts, strict=True):
                whole, number = len(plan[standing.step]), standing.epoch * len(plan) + standing.step
                try:
                    found = self._gradients(islice(batches, len(parts)), (start, len(rows), whole), number)
                except (RuntimeError, MemoryError) as error:
                    self._use_less_memory(error, len(rows), f"step {standing.step}")
                    return
                self._step(found, whole)
                self._check_finite(plan, now=standing.step + 1 == len(plan))
                standing.step += 1
                self.report.step(standing.epoch, int(done[standing.step - 1]), whole)
                self._heed_requests()

    def _use_less_memory(self, error: BaseException, cells: int, where: str) -> None:
        """After a batch of `cells` cells that changed nothing: have it done again, in more parts."""
        standing = self.standing
        standing.parts = more_parts(error, self.model, self.settings, cells, standing.parts)
        self.optimizer.clear_gradients()
        self.report.say(
            f"memory: it ran out in epoch {standing.epoch}, {where} (from 0); from here on batches are done in "
            f"{standing.parts} parts, with the same result but for rounding"
        )

    def _gradients(
        self, parts: Iterable[Batch], where: tuple[int, int, int], number: int
    ) -> list[tuple[dict[str, Tensor], int]]:
        """Gradients of this process's cells, part after part; returns each part's loss and number of cells.

        where: the first of this process's cells in the batch, their number, and that of the batch. number: of the step.
        """
        self.optimizer.clear_gradients()
        (start, own, total), found = where, []
        progress = Progress(self.standing.epoch, self.settings.max_epochs, step=number)
        for part in parts:
            if len(part):
                gather = self.processes.gathering(total)
                found.append((backward(self.model, part, (start, own, total), self.seed, progress, gather), len(part)))
                start += len(part)
        return found

    def _step(self, found: Sequence[tuple[dict[str, Tensor], int]], total: int) -> None:
        """One optimiser step along the gradients on a batch of `total` cells; found: see `_gradients`."""
        bad = torch.zeros_like(self._bad)
        for parts, n_cells in found:
            self.standing.add(parts, n_cells)
            bad = torch.maximum(bad, (~torch.isfinite(parts["loss"])).to(bad.dtype))
        bad = self.processes.average_gradients(self.parameters, sum(n for _, n in found) / total, bad)
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
        row |= {"parts": standing.parts} if standing.parts > 1 else {}
        standing.end_epoch(row)
        rate = self.report.epoch(row, standing.best_loss, standing.waited)
        if self.events:
            self.events.epoch(row, rate)
        if self.resume and self.processes.writes and self.resume.due(SECONDS_BETWEEN_EPOCH_SAVES):
            self.resume.save(self._state())

    def _validate(self) -> dict[str, float]:
        """Mean loss and parts over the validation cells."""
        standing = self.standing
        number = (standing.epoch + 1) * len(cut(self.train_rows, self.settings.batch_size))
        progress = Progress(standing.epoch, self.settings.max_epochs, validation=True, step=number)
        means = None
        while means is None:
            try:
                means = validate(
                    self.model, self.batches, self.processes, standing.names, progress, standing.parts,
                    lambda seen: self.report.validating(standing.epoch, seen, len(self.val_rows)),
                )  # fmt: skip
            except (RuntimeError, MemoryError) as error:
                self.model.train()
                self._use_less_memory(error, min(len(self.val_rows), EVALUATION_ROWS), "validation")
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
        state = self.processes.from_first(self.resume.load() if self.resume and self.processes.writes else None)
        if state is None:
            return
        self.model.load_state_dict(state["model"], strict=False)
        self.optimizer.load_state(state["optimizer"])
        parts, self.standing = self.standing.parts, Standing.from_state(state["standing"], self.batches.device)
        self.standing.parts = max(parts, self.standing.parts)
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
        parts = {"parts": 1} if standing.parts > 1 else {}
        return [{"epoch": row["epoch"], **parts, **row, "is_best": row["epoch"] == best} for row in standing.history]
