"""nnU-Net within a time: its planner, its trainer and its predictor, one after the other.

Started by ``equal_time.py`` in nnU-Net's own environment, with what to do as JSON. What differs
from its command line, so that its schedule ends within the time:

- The rate of learning falls by its own law, (1 - t)^0.9, but t is the share of the training time
  that is over, and not of 1000 epochs of 250 steps.
- There is no validation between epochs and no checkpoint, which cost time and change no weight.
- It learns from all images that are not for the test (its fold ``all``).
- Batches are made in its own process, as workers would share the two cores with the network.
- The time to predict is measured before training and kept back. Mirrored images, which its
  predictor averages over, are left out where they would take more than a quarter of the time.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peers import leave_out_timm

# Before nnU-Net, in this process and in those that it starts.
leave_out_timm()

MIRRORING_SHARE = 0.25
# What is kept back for the prediction, over what was measured.
MARGIN = 1.1
_WORKERS = "nnUNet_n_proc_DA"


@dataclass(frozen=True)
class Task:
    """What is trained on and predicted.

    Args:
        number: Number of the data set in nnU-Net's folders.
        configuration: ``2d`` or ``3d_fullres``.
        begun: When the time began, in seconds since 1970.
        minutes: The time for everything.
        images: Folder of the images to predict.
        masks: Folder for their masks and probabilities.
        figures: JSON file for what was measured.
        cores: Cores of the machine.
    """

    number: int
    configuration: str
    begun: float
    minutes: float
    images: str
    masks: str
    figures: str
    cores: int

    def to_json(self) -> str:
        """As :meth:`from_json` reads it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        """The task that :meth:`to_json` wrote."""
        return Task(**json.loads(text))

    @property
    def until(self) -> float:
        """When the time is over."""
        return self.begun + 60 * self.minutes

    def cases(self) -> list[list[str]]:
        """The files of each image."""
        return [[str(path)] for path in sorted(Path(self.images).iterdir())]


def plan(number: int, configuration: str, cores: int) -> None:
    """Fingerprint, plan and preprocess; only the configuration that is trained is prepared."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    # The planner takes this for its number of threads, and refuses none.
    os.environ[_WORKERS] = str(cores)
    api.extract_fingerprint_dataset(number, num_processes=cores, show_progress_bar=False)
    api.plan_experiment_dataset(number)
    api.preprocess_dataset(
        number,
        configurations=(configuration,),
        num_processes=(cores,),
        show_progress_bar=False,
    )


def open_trainer(number: int, configuration: str, cores: int) -> Any:
    """nnU-Net's trainer of all images, ready for its first step."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(cores)
    os.environ[_WORKERS] = "0"
    trainer = get_trainer_from_args(str(number), configuration, "all", device=torch.device("cpu"))
    # The schedule's whole length, so that it takes the share of the time.
    trainer.num_epochs = 1
    trainer.on_train_start()
    return trainer


def train(trainer: Any, until: float) -> list[float]:
    """Train until the time is over; the seconds of each step, its batch included."""
    begun = time.time()
    if begun >= until:
        raise SystemExit(f"no time to train: {begun - until:.0f} s too few to plan and predict")
    trainer.network.train()
    seconds: list[float] = []
    now = begun
    while not seconds or now + statistics.median(seconds) <= until:
        trainer.lr_scheduler.step((now - begun) / (until - begun))
        trainer.train_step(next(trainer.dataloader_train))
        ended = time.time()
        seconds.append(ended - now)
        now = ended
    return seconds


def open_predictor(trainer: Any) -> Any:
    """nnU-Net's predictor of the trainer's network, whatever its weights are when it predicts."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    return predictor


def expected_seconds(trainer: Any, predictor: Any, cases: list[list[str]]) -> tuple[float, float]:
    """Seconds to predict all cases, without and with mirrored images.

    One case is predicted as all will be, and a forward pass is timed.
    """
    tiles = [_tiles(trainer, predictor, files) for files in cases]
    fewest = tiles.index(min(tiles))
    predictor.use_mirroring = False
    with tempfile.TemporaryDirectory() as folder:
        begun = time.time()
        predict(predictor, [cases[fewest]], Path(folder))
        whole_s = time.time() - begun
    forward_s = min(_forward_seconds(trainer, predictor) for _ in range(2))
    around_s = len(cases) * max(0.0, whole_s - tiles[fewest] * forward_s)
    passes = 2 ** len(trainer.inference_allowed_mirroring_axes)
    return around_s + sum(tiles) * forward_s, around_s + passes * sum(tiles) * forward_s


def _tiles(trainer: Any, predictor: Any, files: list[str]) -> int:
    configuration = trainer.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    image_CZYX, _, _ = preprocessor.run_case(
        files, None, trainer.plans_manager, configuration, trainer.dataset_json
    )
    patch = [1] * (3 - len(configuration.patch_size)) + list(configuration.patch_size)
    padded = tuple(max(pair) for pair in zip(image_CZYX.shape[1:], patch, strict=True))
    return len(predictor._internal_get_sliding_window_slicers(padded))


def _forward_seconds(trainer: Any, predictor: Any) -> float:
    import torch

    shape = (1, trainer.num_input_channels, *trainer.configuration_manager.patch_size)
    patch = torch.zeros(shape)
    begun = time.time()
    predictor._internal_maybe_mirror_and_predict(patch)
    return time.time() - begun


def predict(predictor: Any, cases: list[list[str]], out: Path) -> None:
    """Masks and probabilities of the cases, by nnU-Net's predictor in one process."""
    out.mkdir(parents=True, exist_ok=True)
    stems = [Path(files[0]).name.split("_0000.")[0] for files in cases]
    targets = [str(out / stem) for stem in stems]
    predictor.predict_from_files_sequential(cases, targets, save_probabilities=True)


def run(task: Task) -> dict[str, Any]:
    """Plan, train and predict; what it took."""
    ended = [task.begun]
    plan(task.number, task.configuration, task.cores)
    ended.append(time.time())
    trainer = open_trainer(task.number, task.configuration, task.cores)
    predictor = open_predictor(trainer)
    cases = task.cases()
    trainer.set_deep_supervision_enabled(False)
    plain_s, mirrored_s = expected_seconds(trainer, predictor, cases)
    predictor.use_mirroring = mirrored_s <= MIRRORING_SHARE * 60 * task.minutes
    reserve_s = MARGIN * (mirrored_s if predictor.use_mirroring else plain_s)
    trainer.set_deep_supervision_enabled(True)
    ended.append(time.time())
    steps_s = train(trainer, task.until - reserve_s)
    ended.append(time.time())
    trainer.set_deep_supervision_enabled(False)
    predict(predictor, cases, Path(task.masks))
    ended.append(time.time())
    configuration = trainer.configuration_manager
    stages = ("planning", "measuring", "training", "predicting")
    seconds = (after - before for before, after in itertools.pairwise(ended))
    return {
        "stages_s": dict(zip(stages, seconds, strict=True)),
        "steps": len(steps_s),
        "step_s": statistics.median(steps_s),
        "batch": configuration.batch_size,
        "patch_px": [int(n) for n in configuration.patch_size],
        "widths": list(configuration.network_arch_init_kwargs["features_per_stage"]),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "mirroring": predictor.use_mirroring,
    }


def main() -> None:
    task = Task.from_json(sys.argv[1])
    figures = run(task)
    Path(task.figures).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
