"""Weights of networks written by others give the same output in ours, or are refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet
from monai.networks.nets import UNet as MonaiUNet
from safetensors.torch import save_file
from torch import Tensor, nn

from maskwright.config import ModelConfig
from maskwright.errors import ConfigError, RunError
from maskwright.nn.matching import Matching, match
from maskwright.nn.state_dict import layers_of, read_state_dict
from maskwright.nn.unet import build_unet


class Plain(nn.Module):
    """A U-Net as many people write it: ``inc``, ``down1``, …, ``up1``, …, ``outc``."""

    def __init__(
        self,
        *,
        channels: int = 3,
        classes: int = 2,
        widths: tuple[int, ...] = (4, 8, 16),
        bias: bool = False,
        norm: bool = True,
        up_bias: bool = True,
        up_first: bool = False,
        fine_first: bool = False,
        ups_apart: bool = False,
    ) -> None:
        super().__init__()
        self.up_first = up_first
        self.depth = len(widths) - 1

        def double(inner: int, outer: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for before in (inner, outer):
                layers.append(nn.Conv2d(before, outer, 3, padding=1, bias=bias or not norm))
                layers += [nn.BatchNorm2d(outer)] * norm + [nn.ReLU()]
            return nn.Sequential(*layers)

        self.inc = double(channels, widths[0])
        for level in range(1, len(widths)):
            self.add_module(f"down{level}", double(widths[level - 1], widths[level]))
        levels = list(range(self.depth))
        listed = levels if fine_first else levels[::-1]
        self.names = {level: str(number + 1) for number, level in enumerate(listed)}

        def transposed(level: int) -> nn.Module:
            return nn.ConvTranspose2d(widths[level + 1], widths[level], 2, 2, bias=up_bias)

        if ups_apart:
            self.ups = nn.ModuleList(transposed(level) for level in listed)
        for level in listed:
            if not ups_apart:
                self.add_module(f"up{self.names[level]}", transposed(level))
            self.add_module(f"conv{self.names[level]}", double(2 * widths[level], widths[level]))
        self.outc = nn.Conv2d(widths[0], classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        features = self.inc(features)
        skips = [features]
        for level in range(1, self.depth + 1):
            features = self.get_submodule(f"down{level}")(nn.functional.max_pool2d(features, 2))
            skips.append(features)
        features = skips.pop()
        for level in reversed(range(self.depth)):
            number = self.names[level]
            apart = hasattr(self, "ups")
            up = self.ups[int(number) - 1] if apart else self.get_submodule(f"up{number}")
            pair = [skips.pop(), up(features)]
            features = torch.cat(pair[::-1] if self.up_first else pair, dim=1)
            features = self.get_submodule(f"conv{number}")(features)
        scores: Tensor = self.outc(features)
        return scores


def trained(network: nn.Module) -> nn.Module:
    """The network as after a training: nothing at its starting value."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                if name.endswith("running_var"):
                    tensor.copy_(noise + 0.5)
                elif tensor.ndim == 1:
                    tensor.add_(noise - 0.5)
    return network.eval()


def same_output(
    theirs: nn.Module, model: ModelConfig, matching: Matching, side_px: int = 16
) -> None:
    ours = build_unet(model, seed=9).eval()
    ours.load_state_dict(dict(matching.tensors))
    image = torch.randn(2, model.channels, *(side_px,) * model.dims)
    with torch.no_grad():
        found, expected = ours(image)["logits"], theirs(image)
    assert expected.std() > 1e-2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def small(**settings: Any) -> ModelConfig:
    return ModelConfig(**{"depth": 2, "width": 4, "channels": 3, **settings})


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {}),
    "biases before batch normalisation are folded": ({"bias": True}, {}),
    "no normalisation": ({"norm": False}, {"norm": "none"}),
    "up-convolutions without bias": ({"up_bias": False}, {}),
    "the upsampled features first": ({"up_first": True}, {}),
    "the decoder from fine to coarse": ({"fine_first": True}, {}),
    "up-convolutions in a list of their own": ({"ups_apart": True}, {}),
    "many classes": ({"classes": 5}, {"classes": 5}),
    "equal widths at the bottom": (
        {"widths": (4, 8, 8, 8)}, {"depth": 3, "max_width": 8}),
    "equal widths at the bottom, from fine to coarse, apart": (
        {"widths": (4, 8, 8, 8), "fine_first": True, "ups_apart": True},
        {"depth": 3, "max_width": 8}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("saved", [".pth", ".safetensors"])
def test_a_network_of_others_gives_the_same_output_in_ours(
    case: str, saved: str, tmp_path: Path
) -> None:
    theirs, ours = CASES[case]
    network, model = trained(Plain(**theirs)), small(**ours)
    path = tmp_path / f"weights{saved}"
    if saved == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    concat = "up-first" if theirs.get("up_first") else "skip-first"
    matching = match(read_state_dict(path), model, concat=concat)  # type: ignore[arg-type]
    same_output(network, model, matching)
    named = {row.theirs for row in matching.rows if row.theirs}
    assert named == {n for n in network.state_dict() if "num_batches" not in n}


def test_the_order_of_concatenation_is_not_in_the_shapes() -> None:
    network = trained(Plain(up_first=True))
    matching = match(network.state_dict(), small())
    with pytest.raises(AssertionError, match="not close"):
        same_output(network, small(), matching)
    swapped = [row.ours for row in match(network.state_dict(), small(), concat="up-first").rows
               if row.change]  # fmt: skip
    assert swapped == ["decoder.1.0.weight", "decoder.0.0.weight"]


def test_a_single_score_becomes_two_classes_of_the_same_probability() -> None:
    network = trained(Plain(classes=1))
    matching = match(network.state_dict(), small())
    ours = build_unet(small()).eval()
    ours.load_state_dict(dict(matching.tensors))
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        probability = ours(image)["logits"].softmax(1)[:, 1:]
        torch.testing.assert_close(probability, network(image).sigmoid(), atol=1e-6, rtol=1e-5)
    assert [row.shape for row in matching.rows if row.ours == "head.weight"] == [(1, 4, 1, 1)]


@pytest.mark.parametrize("dims", [2, 3])
def test_basic_unet_of_monai_gives_the_same_output(dims: int) -> None:
    act = ("leakyrelu", {"negative_slope": 0.01, "inplace": True})
    features = (4, 4, 8, 16, 32, 4)
    network = trained(BasicUNet(dims, 1, 3, features=features, act=act))
    model = ModelConfig(dims=dims, depth=4, widths=(4, 4, 8, 16, 32), classes=3, norm="instance",
                        activation="leaky_relu")  # fmt: skip
    same_output(network, model, match(network.state_dict(), model), side_px=32)
    rows = match(network.state_dict(), model).rows
    dropped = [row for row in rows if not row.ours]
    assert len(dropped) == 18
    assert all(row.theirs.endswith("conv.bias") for row in dropped)


def test_the_slope_of_an_activation_is_not_in_the_weights() -> None:
    network = trained(BasicUNet(2, 1, 2, features=(4, 4, 8, 16, 32, 4)))
    model = ModelConfig(depth=4, widths=(4, 4, 8, 16, 32), norm="instance",
                        activation="leaky_relu")  # fmt: skip
    with pytest.raises(AssertionError, match="not close"):
        same_output(network, model, match(network.state_dict(), model), side_px=32)


@pytest.mark.parametrize("dims", [2, 3])
def test_dyn_unet_of_monai_with_its_tensors_named_twice_gives_the_same_output(
    dims: int, tmp_path: Path
) -> None:
    network = trained(DynUNet(dims, 2, 3, [3, 3, 3, 3], [1, 2, 2, 2], [2, 2, 2],
                              filters=[4, 8, 8, 8]))  # fmt: skip
    model = ModelConfig(dims=dims, channels=2, classes=3, depth=3, width=4, max_width=8,
                        norm="instance", activation="leaky_relu", down="stride")  # fmt: skip
    torch.save({"network_weights": network.state_dict(), "epoch": 3}, tmp_path / "dyn.pt")
    tensors = read_state_dict(tmp_path / "dyn.pt")
    assert len(tensors) < len(network.state_dict())
    same_output(network, model, match(tensors, model, concat="up-first"))


def test_every_plain_network_of_ours_matches_itself_by_name() -> None:
    for settings in (
        {"levels": "supervised", "depth": 3}, {"up": "resize"}, {"widen": "second"},
        {"norm": "group", "groups": 2}, {"convolutions": 3}, {"padding": "valid"},
        {"dims": 3, "strides": ((1, 2, 2), (2, 2, 2)), "kernels": ((1, 3, 3),) * 3},
    ):  # fmt: skip
        model = small(**settings)
        network = build_unet(model, seed=1)
        matching = match(network.state_dict(), model)
        assert all(row.ours == row.theirs and not row.change for row in matching.rows)
        for name, tensor in network.state_dict().items():
            assert torch.equal(matching.tensors[name], tensor)


@pytest.mark.parametrize("seed", range(40))
def test_any_usual_order_is_matched_rightly_or_refused(
    seed: int, draw_model: Callable[..., ModelConfig]
) -> None:
    model = draw_model(seed, block="plain", attention=False, squeeze_excitation=0, image_classes=0,
                       levels="none")  # fmt: skip
    pick = random.Random(seed)  # noqa: S311
    network = build_unet(model, seed=seed)
    decoder = list(range(model.depth))[:: pick.choice([1, -1])]
    encoder = [f"encoder.{level}." for level in range(model.depth + 1)]
    ups, blocks = ([f"{kind}.{level}." for level in decoder] for kind in ("upsample", "decoder"))
    paired = [name for pair in zip(ups, blocks, strict=True) for name in pair]
    order = pick.choice([[*encoder, *paired], [*encoder, *ups, *blocks], [*ups, *blocks, *encoder],
                         [*encoder[1:], *paired, encoder[0]]])  # fmt: skip
    state = network.state_dict()
    tensors = {n: state[n] for prefix in [*order, "head."] for n in state if n.startswith(prefix)}
    assert len(tensors) == len(state)
    try:
        matching = match(tensors, model)
    except ConfigError as error:
        assert error.code == "import-ambiguous"  # noqa: PT017
        assert len(set(model.level_widths)) <= model.depth or model.up == "resize"
    else:
        assert all(row.ours == row.theirs for row in matching.rows)


REFUSALS: Iterable[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"channels": 1}, "import-mismatch", "--set channels=3"),
    ({}, {"depth": 3}, "import-mismatch", "--set depth=2"),
    ({}, {"width": 8}, "import-mismatch", "--set width=4"),
    ({"widths": (4, 6, 10)}, {}, "import-mismatch", "--set widths=4,6,10"),
    ({"classes": 4}, {}, "import-mismatch", "--set classes=4"),
    ({}, {"dims": 3}, "import-mismatch", "--set dims=2"),
    ({}, {"norm": "none"}, "import-norm", "--set norm=batch"),
    ({"norm": False}, {}, "import-norm", "--set norm=none"),
    ({}, {"norm": "instance"}, "import-norm", "--set norm=batch"),
    ({}, {"up_bias": False}, "import-bias", "--set up_bias=true"),
    ({"widths": (4, 4, 4)}, {"widths": (4, 4, 4)}, "import-ambiguous", "at least 2 ways"),
    ({}, {"block": "residual"}, "import-kind", "block"),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "ours", "code", "said"), REFUSALS)
def test_weights_that_do_not_fit_are_refused_with_the_setting_to_use(
    theirs: dict[str, Any], ours: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        match(trained(Plain(**theirs)).state_dict(), small(**ours), subject="w.pth")
    assert caught.value.code == code
    assert said in str(caught.value)


def test_an_order_that_does_not_say_which_level_is_which_is_refused() -> None:
    network = trained(Plain(widths=(4, 8, 8, 8)))
    tensors = network.state_dict()
    # As if the lowest level had a name that sorts before those above it.
    moved = {n: t for n, t in tensors.items() if n.startswith("down3")}
    model = small(depth=3, max_width=8)
    with pytest.raises(ConfigError, match=r"encoder 2.*\[import-ambiguous\]"):
        match({**moved, **tensors}, model)
    # Where shapes tell all levels apart, any order of the blocks will do.
    other = trained(Plain())
    state = other.state_dict()
    last = {n: t for n, t in state.items() if n.startswith("down2")}
    same_output(other, small(), match({**last, **state}, small()))


def test_other_architectures_are_refused_with_the_first_layers_that_do_not_fit() -> None:
    network = MonaiUNet(2, 3, 2, channels=(4, 8, 16), strides=(2, 2))
    with pytest.raises(ConfigError, match=r"no place for model\.0\.adn\.A \(1,\)"):
        match(network.state_dict(), small())
    tensors = {**trained(Plain()).state_dict(), "extra.weight": torch.ones(7, 5, 3, 3)}
    with pytest.raises(ConfigError, match=r"no place for extra \(7, 5, 3, 3\)"):
        match(tensors, small())


def nested(state: Mapping[str, Tensor]) -> Iterable[dict[str, Any]]:
    yield {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 4}
    yield {"model_state_dict": state, "optimizer": {"lr": 0.1, "state": {0: torch.ones(3)}}}
    yield {"network_weights": state}
    yield {**state, "mask_values": [0, 1]}


def test_weights_are_found_where_programs_keep_them(tmp_path: Path) -> None:
    state = trained(Plain()).state_dict()
    for content in nested(state):
        torch.save(content, tmp_path / "a.pth")
        found = match(read_state_dict(tmp_path / "a.pth"), small())
        assert torch.equal(found.tensors["head.weight"], state["outc.weight"])


def test_files_that_are_no_weights_are_refused_and_no_code_is_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("the file ran",))

    contents = {
        "code.pth": {"state_dict": Bomb()}, "network.pth": Plain(), "none.pth": {"epoch": 1},
        "nan.pth": {"a.weight": torch.tensor([1.0, torch.nan])},
    }  # fmt: skip
    codes = {}
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "noise.pth").write_bytes(b"PK" + bytes(range(200)))
    (tmp_path / "old.pth").write_bytes(b"\x80\x02" + bytes(range(200)))
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(200)))
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in (*contents, "noise.pth", "old.pth", "noise.safetensors", "empty.pth", "gone.pth"):
        with pytest.raises(RunError) as caught:
            read_state_dict(tmp_path / name)
        codes[name] = caught.value.code.removeprefix("weights-")
    assert codes == {
        "code.pth": "unreadable", "network.pth": "unreadable", "none.pth": "none",
        "nan.pth": "not-finite", "noise.pth": "unreadable", "old.pth": "unreadable",
        "noise.safetensors": "unreadable", "empty.pth": "unreadable", "gone.pth": "missing",
    }  # fmt: skip


def test_names_of_safetensors_are_sorted_with_numbers_as_numbers(tmp_path: Path) -> None:
    names = ["conv.weight", "conv2.weight", "conv10.weight", "up.2.bias", "up.10.bias"]
    save_file({n: torch.ones(2) for n in reversed(names)}, tmp_path / "a.safetensors")
    assert list(read_state_dict(tmp_path / "a.safetensors")) == names


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "a.safetensors")
    (layer,) = layers_of(read_state_dict(tmp_path / "a.safetensors"))
    assert layer.tensors["weight"].dtype == torch.float32
