"""Each preset is the network of its paper, counted parameter by parameter."""

from __future__ import annotations

import pytest

from maskwright.config import ModelConfig
from maskwright.errors import ConfigError
from maskwright.nn.presets import FIGURES, PRESETS, preset
from maskwright.nn.unet import UNet, build_unet, fold
from maskwright.workflow.description import describe, table

PARAMETERS = {
    "unet": 1_942_306,
    "small": 486_418,
    "ronneberger2015": 31_030_658,
    "cicek2016": 19_072_291,
    "isensee2021": 46_315_470,
    "fused": 1_942_778,
    "attention": 2_007_045,
    "residual": 2_030_834,
}


def _count(network: UNet) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_parameters_that_are_told(name: str) -> None:
    described = describe(preset=name)
    assert described["parameters"] == PARAMETERS[name]
    assert _count(build_unet(preset(name).model)) == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,}" in "\n".join(table(described))


def test_the_3d_unet_has_the_19069955_parameters_of_its_paper() -> None:
    model = preset("cicek2016").model
    assert (model.channels, model.classes) == (3, 3)
    # The paper counts one shift a channel for a convolution and its normalisation, as folding does.
    assert _count(fold(build_unet(model))) == 19_069_955
    scales = 32 + 64 + 64 + 128 + 128 + 256 + 256 + 512 + 2 * (256 + 128 + 64)
    assert _count(build_unet(model)) == 19_069_955 + scales
    described = describe(preset="cicek2016", input_px="116x132x132")
    assert described["input_px"] == list(FIGURES["cicek2016"])
    assert described["output_px"] == [28, 44, 44]


@pytest.mark.parametrize("dims", [2, 3])
def test_nnunets_plain_network_has_the_parameters_of_monais(dims: int) -> None:
    from monai.networks.nets import DynUNet

    update = {"dims": dims, "depth": 5, "max_width": 320 if dims == 3 else 512, "classes": 3}
    model = preset("isensee2021").model.model_copy(update=update)
    peer = DynUNet(
        spatial_dims=dims,
        in_channels=1,
        out_channels=3,
        kernel_size=[3] * 6,
        strides=[1] + [2] * 5,
        upsample_kernel_size=[2] * 5,
        filters=list(model.level_widths),
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"negative_slope": 0.01}),
        deep_supervision=True,
        deep_supr_num=4,
        trans_bias=True,
    )
    assert _count(build_unet(model)) == sum(p.numel() for p in peer.parameters())
    assert model.level_widths[-2:] == ((320, 320) if dims == 3 else (512, 512))


def test_nnunets_plain_network_has_the_parameters_of_its_formula() -> None:
    widths = [32, 64, 128, 256, 512, 512, 512, 512]
    count = 0
    for inner, outer in zip([1, *widths], widths, strict=False):
        count += 9 * inner * outer + 9 * outer * outer + 4 * outer
    for below, width in zip(widths[1:], widths, strict=False):
        count += 4 * below * width + width
        count += 9 * 2 * width * width + 9 * width * width + 4 * width
        count += 2 * width + 2
    assert count == PARAMETERS["isensee2021"]


def test_the_small_network_has_less_than_half_a_million_parameters() -> None:
    assert PARAMETERS["small"] <= 500_000


def test_an_attention_network_has_a_gate_at_each_level_but_the_first() -> None:
    gates = sum(w // 2 * (4 * w + 2 * w + 1) + w // 2 + 1 for w in (32, 64, 128))
    assert PARAMETERS["attention"] == PARAMETERS["unet"] + gates


def test_a_fused_network_has_a_prediction_a_level_and_one_fusion() -> None:
    heads = sum(2 * width + 2 for width in (32, 64, 128))
    assert PARAMETERS["fused"] == PARAMETERS["unet"] + heads + 4 * 2 * 2 + 2


def test_a_residual_network_has_a_projection_in_each_block() -> None:
    changes = [(1, 16), (16, 32), (32, 64), (64, 128), (128, 256)]
    changes += [(256, 128), (128, 64), (64, 32), (32, 16)]
    shortcuts = sum(inner * outer + 2 * outer for inner, outer in changes)
    assert PARAMETERS["residual"] == PARAMETERS["unet"] + shortcuts


def test_the_network_everyone_uses_is_the_default() -> None:
    assert preset("unet").model == ModelConfig()


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean ronneberger2015"):
        preset("ronneberger")
    assert set(PRESETS) == set(PARAMETERS)
