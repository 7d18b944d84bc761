"""A finished run as a Python object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.config import RunConfig
from maskwright.errors import RunError
from maskwright.io.run_folder import RunFolder
from maskwright.progress import Events
from maskwright.workflow.predictions import Predictions

METRICS_FORMAT = 2
"""What ``metrics.json`` holds; raised when its readers need more than an older one has."""


@dataclass(frozen=True)
class Run:
    """A trained network in its folder.

    Args:
        folder: The run folder.
        config: Its resolved configuration.
    """

    folder: RunFolder
    config: RunConfig

    @property
    def path(self) -> Path:
        """The run folder's path."""
        return self.folder.path

    def metrics(self) -> dict[str, Any]:
        """Scores of the held-out images, the contents of ``metrics.json``.

        Raises:
            RunError: When the run was not scored yet, or by a version that measured less.
        """
        metrics = self.folder.read_json(self.folder.metrics)
        if metrics.get("format") != METRICS_FORMAT:
            raise RunError(
                "metrics-version",
                str(self.folder.metrics),
                expected=f"scores of format {METRICS_FORMAT}",
                found=f"format {metrics.get('format', 1)}, of another version",
                remedy="score the run again: maskwright train DATA --out RUN --resume",
            )
        return metrics

    def predict(
        self,
        inputs: str | Path | Sequence[str | Path],
        out: str | Path | None = None,
        *,
        tile: int | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
        levels: bool = False,
        tta: str | Sequence[str] | None = None,
        gate: bool | None = None,
        memory: str | int | None = None,
        engine: str | None = None,
        objects: bool = False,
        table: str = "csv",
        mask_format: str = "auto",
        settings: Sequence[str] = (),
        overwrite: bool = False,
        resume: bool = False,
        workers: int | None = None,
        scheduler: str | None = None,
        events: Events | None = None,
    ) -> Predictions:
        """Masks for images; see :func:`maskwright.workflow.prediction.predict`.

        Args:
            inputs: A folder, file or glob, or several.
            out: Where masks go; by default ``masks_`` and the input's name beside the run's files.
            tile: Largest side of the network's input.
            probabilities: Also write the probability of every class.
            uncertainty: Also write a map of how unsure the network is.
            levels: Also draw what each level of the decoder predicts.
            tta: Average over ``flip``, ``rotate`` and ``scale`` of the image, or ``none``; by
                default as the run was configured.
            gate: Whether the image's label may take a class away; by default as configured.
            memory: What prediction takes at most, as ``"2GB"`` or in bytes.
            engine: ``auto``, ``torch``, ``openvino`` or ``onnx``; by default as configured.
            objects: Also number and measure the objects.
            table: ``csv`` or ``parquet``, for the table of the objects.
            mask_format: ``auto``, ``png``, ``tiff``, ``nifti``, ``mha``, ``nrrd``, ``zarr`` or, for
                DICOM series, ``dicom-seg``.
            settings: ``key=value`` for any other setting of prediction.
            overwrite: Replace masks that exist.
            resume: Go on with a prediction that was interrupted.
            workers: Processes of this machine that predict.
            scheduler: Address of a scheduler of Dask whose workers predict.
            events: Where progress is told.
        """
        from maskwright.workflow.prediction import predict

        several = [inputs] if isinstance(inputs, str | Path) else list(inputs)
        if out is None:
            out = self.path / f"masks_{Path(several[0]).stem or 'images'}"
        return predict(
            self.path,
            several,
            out,
            tile=tile,
            probabilities=probabilities,
            uncertainty=uncertainty,
            levels=levels,
            tta=tta,
            gate=gate,
            memory=memory,
            engine=engine,
            objects=objects,
            table=table,
            mask_format=mask_format,
            settings=settings,
            overwrite=overwrite,
            resume=resume,
            workers=workers,
            scheduler=scheduler,
            events=events,
        )


def open_run(path: str | Path) -> Run:
    """The run in a folder.

    Raises:
        RunError: When there is none.
    """
    folder = RunFolder(Path(path))
    return Run(folder, folder.read_config())
