"""Labels of whole images at prediction: their names, and masks that they overrule."""

from __future__ import annotations

from maskwright.config import DataConfig, ModelConfig, PredictConfig
from maskwright.data.image_labels import CONTAINS, contained_class
from maskwright.data.labels import LabelMap
from maskwright.errors import ConfigError


def image_class_names(data: DataConfig, count: int) -> tuple[str, ...]:
    """Names of the classes of whole images.

    Args:
        data: The data section of a run.
        count: Classes that the network predicts.

    Example:
        >>> image_class_names(DataConfig(image_class_names=("well", "ill")), 2)
        ('well', 'ill')
        >>> image_class_names(DataConfig(), 2)
        ('image class 1', 'image class 2')
    """
    if len(data.image_class_names) == count:
        return data.image_class_names
    return tuple(f"image class {number}" for number in range(1, count + 1))


def gate_of(predict: PredictConfig, data: DataConfig, model: ModelConfig | None) -> int | None:
    """The class whose pixels become background where the image's label says "without" it.

    Args:
        predict: The prediction settings.
        data: What mask values and labels of whole images mean.
        model: The network; ``None`` for one of others.

    Returns:
        The class id, or ``None`` where masks are not gated.

    Raises:
        ConfigError: ``gate-no-label`` for a network that does not label whole images,
            ``gate-label`` where its labels do not say whether a class is there, and
            ``gate-background`` where they say it of the background.

    Example:
        >>> labels = (("tissue", 0), ("tumour", 255))
        >>> data = DataConfig(labels=labels, image_labels="contains:tumour")
        >>> gate_of(PredictConfig(gate=True), data, ModelConfig(image_classes=2))
        1
    """
    if not predict.gate:
        return None
    if model is None or not model.image_classes:
        raise _refusal(
            "no-label",
            "a network that labels whole images",
            "one without such labels",
            "train one with `--image-labels contains:NAME`, or leave --gate out",
        )
    if not data.image_labels.startswith(CONTAINS) or model.image_classes != 2:
        raise _refusal(
            "label",
            f"image labels {CONTAINS}NAME, which say whether a class is there",
            repr(data.image_labels),
            "leave --gate out; labels from a table do not say which pixels they belong to",
        )
    names = LabelMap.from_config(data).names
    index = contained_class(data.image_labels, names)
    if index == 0:
        raise _refusal(
            "background",
            f"labels of one of the classes {', '.join(names[1:])}",
            repr(data.image_labels),
            "leave --gate out; there is nothing to put in the place of the background",
        )
    return index


def _refusal(what: str, expected: str, found: str, remedy: str) -> ConfigError:
    return ConfigError(f"gate-{what}", "--gate", expected=expected, found=found, remedy=remedy)
