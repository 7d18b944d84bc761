"""Tables of marks and findings, and the way from world to voxel and back, as in SimpleITK."""

import csv
import io

import numpy as np
import pytest
import SimpleITK

from maskwright.errors import DataError
from maskwright.evaluate.findings import (
    LUNA16_UNKNOWN_DIAMETER_MM,
    Candidate,
    Finding,
    parse_candidates,
    parse_findings,
    voxel_to_world,
    world_to_voxel,
)

FLIPS = [np.diag(signs) for signs in ((1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, 1))]


def rows(text):
    return csv.DictReader(io.StringIO(text))


def turned(seed):
    """A direction matrix of an oblique scan, every second one with a flipped axis."""
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix * (1, 1, (-1) ** seed)


def test_candidates_are_read_whatever_the_case_and_order_of_the_columns():
    text = "Probability,SERIESUID,coordz,coordy,coordx,note\n0.5, 1.2.840 ,3,-2.5,1e1,x\n"
    assert parse_candidates(rows(text), "marks.csv") == (Candidate("1.2.840", (10, -2.5, 3), 0.5),)


def test_findings_are_read():
    text = "seriesuid,coordX,coordY,coordZ,diameter_mm\na,1,2,3,5.6\nb,-1,-2,-3,30\n"
    assert parse_findings(rows(text), "nodules.csv") == (
        Finding("a", (1, 2, 3), 5.6),
        Finding("b", (-1, -2, -3), 30),
    )


def test_an_unknown_diameter_is_refused_or_replaced_as_luna16_does():
    text = "seriesuid,coordX,coordY,coordZ,diameter_mm\na,1,2,3,-1\n"
    with pytest.raises(DataError, match=r"row 2, diameter_mm: .* found -1.*finding-diameter"):
        parse_findings(rows(text), "excluded.csv")
    taken = parse_findings(
        rows(text), "excluded.csv", unknown_diameter_mm=LUNA16_UNKNOWN_DIAMETER_MM
    )
    assert taken[0].diameter_mm == 10


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,1,2,3,nan", r"row 3, probability: .* found 'nan'.*table-number"),
        ("a,1,2,3,inf", r"row 3, probability: .* found 'inf'.*table-number"),
        ("a,1,2,3,high", r"row 3, probability: .* found 'high'.*table-number"),
        ("a,1,,3,0.5", r"row 3, coordY: .* found nothing.*table-number"),
        ("a,1,2", r"row 3, coordZ: .* found nothing.*table-number"),
        (",1,2,3,0.5", r"row 3, seriesuid: .* found nothing.*table-scan"),
    ],
)
def test_a_bad_value_is_named_with_its_row_and_column(line, message):
    text = f"seriesuid,coordX,coordY,coordZ,probability\na,1,2,3,0.5\n{line}\n"
    with pytest.raises(DataError, match=rf"marks\.csv, {message}"):
        parse_candidates(rows(text), "marks.csv")


def test_missing_columns_are_named():
    with pytest.raises(DataError, match="found no column coordZ and no column diameter_mm"):
        parse_findings(rows("seriesuid,coordX,coordY\na,1,2\n"), "nodules.csv")


def test_cells_beyond_the_header_are_ignored():
    text = "seriesuid,coordX,coordY,coordZ,probability\na,1,2,3,0.5,7,8\n"
    assert parse_candidates(rows(text), "marks.csv")[0].probability == 0.5


@pytest.mark.parametrize("direction", [*FLIPS, *(turned(seed) for seed in range(6))])
def test_world_and_voxel_agree_with_simple_itk_and_with_each_other(direction):
    generator = np.random.default_rng(0)
    origin, spacing = (-190.5, 120.25, -310.0), (0.7, 0.65, 2.5)
    image = SimpleITK.Image(8, 8, 8, SimpleITK.sitkUInt8)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction.ravel().tolist())
    world = generator.uniform(-400, 400, (20, 3))
    voxel = world_to_voxel(world, origin, spacing, image.GetDirection())
    for position, index in zip(world.tolist(), voxel, strict=True):
        assert index == pytest.approx(image.TransformPhysicalPointToContinuousIndex(position))
        theirs = image.TransformContinuousIndexToPhysicalPoint(index.tolist())
        assert voxel_to_world(index, origin, spacing, direction) == pytest.approx(theirs)
    assert np.abs(voxel_to_world(voxel, origin, spacing, direction) - world).max() < 1e-6


def test_a_voxel_index_keeps_its_sign():
    voxel = world_to_voxel((-10, 0, 5), (0, 0, 0), (2, 1, 1), np.eye(3))
    assert voxel.tolist() == [-5, 0, 5]
    assert world_to_voxel((-10, 0, 5), (0, 0, 0), (2, 1, 1), FLIPS[1]).tolist() == [5, 0, 5]


@pytest.mark.parametrize(
    ("spacing", "direction", "code"),
    [
        ((1, 1, 0), np.eye(3), "geometry-spacing"),
        ((1, 1, -2), np.eye(3), "geometry-spacing"),
        ((1, 1), np.eye(3), "geometry-spacing"),
        ((1, 1, 1), np.zeros((3, 3)), "geometry-direction"),
        ((1, 1, 1), np.eye(2), "geometry-direction"),
    ],
)
def test_geometry_that_cannot_be_inverted_is_refused(spacing, direction, code):
    with pytest.raises(DataError, match=code):
        world_to_voxel((0, 0, 0), (0, 0, 0), spacing, direction)
    with pytest.raises(DataError, match=code):
        voxel_to_world((0, 0, 0), (0, 0, 0), spacing, direction)
