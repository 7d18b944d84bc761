"""Keras opens and runs an exported file in a process that never imports maskwright."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskwright.export.graph import flat_outputs
from maskwright.export.keras_file import write_keras
from maskwright.export.verification import LIMIT

ALONE = """
import sys
import keras
import numpy as np

for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    image = np.load(path + ".npy", allow_pickle=False)
    np.savez(path + ".npz", **model.predict(image, verbose=0))
assert not [name for name in sys.modules if name.startswith("maskwright")]
print(keras.backend.backend())
"""


def test_keras_alone_gives_the_same_output_in_two_and_three_dimensions_with_every_head(
    subjects: Callable[[str], Any], kinds: list[str], tmp_path: Path
) -> None:
    paths = {kind: tmp_path / f"{kind.replace(' ', '_')}.keras" for kind in kinds}
    for kind, path in paths.items():
        write_keras(path, subjects(kind).graph, subjects(kind).facts)
        np.save(f"{path}.npy", np.moveaxis(subjects(kind).batches[1], 1, -1))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *map(str, paths.values())], check=False,
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "KERAS_BACKEND": "torch"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "torch"
    seen = set()
    for kind, path in paths.items():
        with torch.inference_mode():
            outputs = subjects(kind).network(torch.from_numpy(subjects(kind).batches[1]))
        with np.load(f"{path}.npz", allow_pickle=False) as found:
            for name, expected in flat_outputs(outputs).items():
                seen.add(name)
                difference = np.abs(np.moveaxis(found[name], -1, 1) - expected.numpy()).max()
                assert difference < LIMIT / 4, (kind, name)
    assert seen == {"logits", "level_0", "level_1", "image_logits"}
