"""Finding pairs: overlap on the sphere against an oracle of its own, bounds, chains, and every way to list an archive."""
# ruff: noqa: E501

import csv
import json
import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from stac_server import item, stac_api

from planetcd_jax import survey
from planetcd_jax.errors import DataError
from planetcd_jax.scenes.times import seconds_of
from planetcd_jax.simulate import demo_archive
from planetcd_jax.surveys import archives, finding, sphere
from planetcd_jax.surveys.finding import Bounds
from planetcd_jax.surveys.footprints import Footprint


def quad(rng, centre, radius):
    """Corners [4, 3] of a convex outline around a unit vector."""
    along = np.cross(centre, [0.3, -0.5, 0.8])
    along /= np.linalg.norm(along)
    across = np.cross(centre, along)
    turn = rng.uniform(0, 2 * np.pi) + np.arange(4) * np.pi / 2 + rng.uniform(-0.4, 0.4, 4)
    points = centre + np.tan(radius) * (np.cos(turn)[:, None] * along + np.sin(turn)[:, None] * across)
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def inside(corners, points):
    """Whether points [P, 3] lie in a convex outline: on the left of the plane through each of its edges."""
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    normals *= np.sign(normals @ corners.mean(axis=0))[:, None]
    return (points @ normals.T >= 0).all(axis=1)


def share(one, other, rng):
    """Oracle: share of the smaller outline that the other covers, by points that are thrown at random."""
    middle = one.mean(axis=0) / np.linalg.norm(one.mean(axis=0))
    reach = sphere.angle(one, middle).max()
    along = np.cross(middle, [0.31, 0.7, -0.2])
    along /= np.linalg.norm(along)
    z = rng.uniform(np.cos(reach), 1, 4_000)
    turn = rng.uniform(0, 2 * np.pi, z.size)
    flat = np.sqrt(1 - z**2)
    points = z[:, None] * middle + flat[:, None] * (
        np.cos(turn)[:, None] * along + np.sin(turn)[:, None] * np.cross(middle, along)
    )
    own, both = inside(one, points), inside(one, points) & inside(other, points)
    return both.sum() / max(own.sum(), 1), own.mean() * 2 * np.pi * (1 - np.cos(reach))


@pytest.fixture(scope="module")
def made():
    """2,000 outlines: everywhere, and crowded at both poles and along the seam. Corners [N, 4, 3]."""
    rng = np.random.default_rng(7)
    free = rng.standard_normal((800, 3))
    poles = rng.standard_normal((600, 3)) * 0.15 + np.where(rng.random(600) < 0.5, 1, -1)[:, None] * [0, 0, 1.0]
    lat = rng.uniform(-1.5, 1.5, 600)
    lon = np.pi + rng.normal(0, 0.1, 600)
    seam = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
    centres = np.concatenate([free, poles, seam])
    centres /= np.linalg.norm(centres, axis=-1, keepdims=True)
    return np.stack([quad(rng, centre, rng.uniform(0.005, 0.04)) for centre in centres])


@pytest.mark.slow
def test_pairs_of_a_made_archive_are_those_of_brute_force(made):
    images = [Footprint(f"{n:04d}", sphere.lon_lat(corners)) for n, corners in enumerate(made)]
    bounds = Bounds(overlap=0.3)
    got = {(row["before"], row["after"]): row["overlap"] for row in finding.find(images, bounds).rows}
    rng, middles = np.random.default_rng(1), made.mean(axis=1)
    middles /= np.linalg.norm(middles, axis=-1, keepdims=True)
    reach = sphere.angle(made, middles[:, None]).max(axis=1)
    near = np.argwhere(np.triu(middles @ middles.T > np.cos(np.minimum(reach[:, None] + reach, 3)), 1))
    areas = [share(corners, corners, rng)[1] for corners in made]
    wanted, margin = {}, set()
    for a, b in near.tolist():
        small, large = (a, b) if areas[a] <= areas[b] else (b, a)
        wanted[f"{a:04d}", f"{b:04d}"] = value = share(made[small], made[large], rng)[0]
        if abs(value - 0.3) < 0.06 or abs(areas[a] / areas[b] - 1) < 0.12:  # what chance may decide
            margin.add((f"{a:04d}", f"{b:04d}"))
    sure = {pair for pair, value in wanted.items() if value >= 0.3} - margin
    assert len(sure) > 200 and sure <= set(got) <= sure | margin
    assert max(abs(got[pair] - wanted[pair]) for pair in sure) < 0.06


def test_overlap_does_not_depend_on_where_on_the_sphere_it_is(made):
    near = made[:60]
    centre = near[0].mean(axis=0)
    moved = np.concatenate(
        [near[:1], np.stack([quad(np.random.default_rng(k), centre / np.linalg.norm(centre), 0.03) for k in range(20)])]
    )
    results = []
    for axis in ([0, 0, 1.0], [0, 0, -1.0], [-1.0, 0, 0], [-0.7, 1e-3, 0.7]):
        turn = _turn(centre / np.linalg.norm(centre), np.array(axis) / np.linalg.norm(axis))
        images = [Footprint(f"{n:03d}", sphere.lon_lat(corners @ turn.T)) for n, corners in enumerate(moved)]
        rows = finding.find(images, Bounds(overlap=0.0)).rows
        results.append({(row["before"], row["after"]): row["overlap"] for row in rows})
    assert len(results[0]) > 100
    for other in results[1:]:
        assert other.keys() == results[0].keys()
        assert max(abs(other[key] - results[0][key]) for key in other) < 1e-6


def _turn(one, other):
    """The rotation that brings one unit vector to another (Rodrigues)."""
    axis, cosine = np.cross(one, other), float(one @ other)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def test_an_image_around_the_pole_meets_one_at_the_pole():
    polar = Footprint("a", np.array([[lon, 85.0] for lon in range(-180, 180, 20)], float))
    small = Footprint("b", np.array([[10, 89.9], [100, 89.9], [190, 89.9], [280, 89.9]], float))
    (row,) = finding.find([polar, small], Bounds()).rows
    assert row["overlap"] == pytest.approx(1.0, abs=1e-9) and row["lat"] > 89.9


def square(name, *, lon=0.0, **known):
    ring = np.array([[lon, 0], [lon + 1, 0], [lon + 1, 1], [lon, 1]], float)
    return Footprint(name, ring, **known)


def test_each_bound_leaves_out_what_it_says_and_the_best_light_comes_first():
    day = 86400.0
    base = {"time": 0.0, "pixel_m": 5.0, "incidence": 50.0, "emission": 5.0, "phase": 45.0, "sun_azimuth": 350.0}
    others = {
        "good": {"time": 9 * day, "incidence": 55.0},
        "best": {"time": 8 * day, "incidence": 51.0, "sun_azimuth": 351.0},
        "coarse": {"pixel_m": 20.0}, "dark": {"incidence": 75.0}, "slant": {"emission": 30.0}, "turned": {"sun_azimuth": 60.0},
        "phase": {"phase": 100.0}, "late": {"time": 900 * day}, "aside": {"lon": 0.9}, "unknown": {"incidence": math.nan},
    }  # fmt: skip
    bounds = Bounds(most_days=100, unknown=False)
    for name, known in others.items():
        images = [square("a", **base), square(name, **{**base, "time": 5 * day, **known})]
        found = finding.find(images, bounds, explain=True)
        if name in ("good", "best"):
            assert len(found.rows) == 1 and not found.left_out
            continue
        wanted = {"coarse": "resolution_ratio 4 > 2", "dark": "incidence_difference 25 > 20", "slant": "emission_difference 25 > 20",
                  "turned": "azimuth_difference 70 > 45", "phase": "phase_difference 55 > 40", "late": "days 900 > 100",
                  "aside": "overlap 0.1", "unknown": "incidence is not known"}[name]  # fmt: skip
        ((_, _, why),) = found.left_out
        assert not found.rows and wanted in why.replace("most_days", "days")
    three = [square("a", **base), *(square(n, **{**base, **others[n]}) for n in ("good", "best"))]
    rows = finding.find(three, bounds).rows
    assert (rows[0]["before"], rows[0]["after"]) == ("a", "best")
    assert [row["light_difference"] for row in rows] == sorted(row["light_difference"] for row in rows)
    assert {row["chain"] for row in rows} == {1}
    chained = finding.find(three, bounds, chain=True, explain=True)
    assert sorted((row["before"], row["after"]) for row in chained.rows) == [("a", "best"), ("best", "good")]
    assert chained.left_out == [("a", "good", "a third image lies between in time")]


def test_light_difference_is_the_angle_between_two_suns():
    incidence, azimuth = np.array([[40.0, 60.0], [30.0, 30.0]]), np.array([[10.0, 10.0], [0.0, 180.0]])
    assert finding.light_difference(incidence, azimuth) == pytest.approx([20.0, 60.0])


def image(path, *, x=0.0, crs="IAU_2015:49910", **said):
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 100, "width": 100, "crs": crs}
    with rasterio.open(path, "w", **profile, transform=Affine(6, 0, x, 0, -6, 0)) as out:
        out.write(np.random.default_rng(0).integers(0, 255, (1, 100, 100)).astype(np.uint8))
        out.update_tags(**said)


def test_a_folder_is_read_and_broken_files_are_told(tmp_path, capsys):
    light = {"INCIDENCE_ANGLE": "41.5 <deg>", "SUB_SOLAR_AZIMUTH": "200", "EMISSION_ANGLE": "3"}
    image(tmp_path / "a.tif", START_TIME="2010-032T01:02:03", **light)
    image(tmp_path / "b.tif", x=120, START_TIME="2012-01-01T00:00:00", **light)
    image(tmp_path / "far.tif", x=60_000)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:6000])
    (tmp_path / "none.tif").write_bytes(b"no image")
    out = tmp_path / "out" / "pairs.csv"
    assert survey.execute(["find", f"--images={tmp_path}", f"--out={out}", "--explain"]) == 0
    said = capsys.readouterr().out
    assert "3 images placed, 2 left aside; 1 pair" in said and "cut.tif: it cannot be opened" in said
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert (
        row["before"].endswith("a.tif")
        and row["after"].endswith("b.tif")
        and row["before_time"] == "2010-02-01T01:02:03Z"
    )
    assert float(row["overlap"]) == pytest.approx(0.8, abs=1e-3) and float(row["light_difference"]) == 0.0
    one = archives.of_file(str(tmp_path / "a.tif"))
    assert (one.pixel_m, one.incidence, one.body) == (pytest.approx(6.0, rel=1e-3), 41.5, "Mars")
    assert "none.tif" in out.with_suffix(".left_out.csv").read_text()


def test_a_csv_with_outlines_and_one_without(tmp_path):
    image(tmp_path / "a.tif")
    (tmp_path / "own.csv").write_text("path,Incidence Angle\na.tif,33\n")
    (one,) = archives.read_archive(str(tmp_path / "own.csv")).images
    assert one.incidence == 33.0 and len(one.ring) == 32 and one.name == str(tmp_path / "a.tif")
    (tmp_path / "wkt.csv").write_text(
        'file,footprint,time\nx.tif,"POLYGON ((170 0, 190 0, 190 5, 170 0))",2011-05-06\n'
    )
    (one,) = archives.read_archive(str(tmp_path / "wkt.csv")).images
    assert len(one.ring) == 3 and one.time == seconds_of("2011-05-06T00:00:00")


def test_an_index_of_the_pds_is_read_by_its_label(tmp_path):
    names = [
        "FILE_SPECIFICATION_NAME",
        "START_TIME",
        "INCIDENCE_ANGLE",
        "SUB_SOLAR_AZIMUTH",
        "RESOLUTION",
        "TARGET_NAME",
    ]
    names += [
        f"{side}_{kind}"
        for side in ("UPPER_LEFT", "UPPER_RIGHT", "LOWER_RIGHT", "LOWER_LEFT")
        for kind in ("LATITUDE", "LONGITUDE")
    ]
    rows = [["DATA/M1.IMG", "2010-100T00:00:00", 45.5, 270, 1.2, "MOON", 1, 181, 1, 179, -1, 179, -1, 181]]
    columns, at, line = "", 1, ""
    for name, value in zip(names, rows[0], strict=True):
        width = 24
        columns += f"OBJECT = COLUMN\n NAME = {name}\n START_BYTE = {at}\n BYTES = {width}\nEND_OBJECT = COLUMN\n"
        line, at = line + f"{value!s:<{width}},", at + width + 1
    label = f'PDS_VERSION_ID = PDS3\n^INDEX_TABLE = "CUM.TAB"\nOBJECT = INDEX_TABLE\n{columns}END_OBJECT = INDEX_TABLE\nEND\n'
    (tmp_path / "CUM.LBL").write_text(label)
    (tmp_path / "CUM.TAB").write_text(line + "\r\n")
    for longitudes, turn in (("auto", 1), ("west", -1)):
        (one,) = archives.read_archive(str(tmp_path / "CUM.LBL"), longitudes=longitudes).images
        assert one.ring[:, 0].tolist() == [turn * v for v in (181, 179, 179, 181)] and one.body == "Moon"
        assert (one.incidence, one.pixel_m, one.time) == (45.5, 1.2, seconds_of("2010-04-10T00:00:00"))
    (tmp_path / "CUM.TAB").unlink()
    with pytest.raises(DataError, match="CUM.TAB, which is not beside it"):
        archives.read_archive(str(tmp_path / "CUM.LBL"))


def test_a_stac_catalogue_in_files_is_followed(tmp_path):
    ring = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
    properties = {
        "datetime": "2015-06-07T08:09:10Z",
        "view:sun_elevation": 30.0,
        "view:off_nadir": 4,
        "ssys:targets": ["mars"],
    }
    item = {
        "type": "Feature",
        "id": "one",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "assets": {"t": {"href": "t.png", "roles": ["thumbnail"]}, "i": {"href": "i.tif", "roles": ["data"]}},
    }
    folder = tmp_path / "items"
    folder.mkdir()
    (folder / "one.json").write_text(json.dumps(item))
    root = {
        "type": "Catalog",
        "links": [{"rel": "item", "href": "items/one.json"}, {"rel": "self", "href": "catalog.json"}],
    }
    (tmp_path / "catalog.json").write_text(json.dumps(root))
    (one,) = archives.read_archive(str(tmp_path / "catalog.json")).images
    assert one.name == str(folder / "i.tif") and one.body == "Mars" and len(one.ring) == 4
    assert (one.incidence, one.emission, one.time) == (60.0, 4.0, seconds_of("2015-06-07T08:09:10"))


def test_items_of_a_stac_api_come_page_by_page():
    pytest.importorskip("pystac_client")
    items = [item(n, collection) for collection in ("ctx", "hirise") for n in range(7)]
    with stac_api(items, page=3) as api:
        archive = archives.read_archive(api.address)
        assert len(api.searches) == 5 and len(archive.images) == 14 and archive.refused == []
        chosen = archives.read_archive(api.address + "?collections=ctx").images
        assert api.searches[-1]["collections"] == ["ctx"]
    assert [image.name for image in chosen] == [f"https://images.invalid/ctx/{n}.tif" for n in range(7)]
    assert [image.incidence for image in chosen] == [60.0 - n for n in range(7)]
    assert chosen[2].time == seconds_of("2015-06-03T00:00:00") and chosen[2].ring[:, 0].max() == 3.0


def test_an_api_that_is_away_is_one_line():
    with stac_api([], page=3) as api:
        gone = api.address + "nothing"
        with pytest.raises(DataError, match="nothing cannot be read as STAC .*; check the address") as caught:
            archives.read_archive(gone)
    assert "\n" not in str(caught.value)


def test_what_is_no_archive_is_one_line(tmp_path):
    for name, said in (("gone", "does not exist"), ("", "holds no image")):
        with pytest.raises(DataError, match=said):
            archives.read_archive(str(tmp_path / name))


@pytest.mark.slow
def test_the_archive_of_the_demo_has_pairs_changes_and_broken_files(tmp_path):
    truth = demo_archive.write_archive(tmp_path, places=2, side=150)
    (tmp_path / "place00_2012.tif").write_bytes(b"")
    archive = archives.read_archive(str(tmp_path))
    assert len(archive.images) == 5 and len(archive.refused) == 1 and "cannot be opened" in archive.refused[0][1]
    rows = finding.find(archive.images, Bounds(), chain=True).rows
    assert sorted(row["before_time"][:4] + row["after_time"][:4] for row in rows) == [
        "20082012",
        "20082017",
        "20122017",
    ]
    assert all(row["light_difference"] < 20 and row["overlap"] > 0.99 for row in rows)  # one of them across the seam
    (change,) = truth
    views = [rasterio.open(tmp_path / f"place01_{year}.tif") for year in (2008, 2012, 2017)]
    row, col = views[0].index(change.lon, change.lat)
    around = [view.read(1)[row - 4 : row + 5, col - 4 : col + 5].mean() for view in views]
    for view in views:
        view.close()
    assert change.since == 1 and around[1] < around[0] - 20 and around[2] < around[0] - 20


def test_flags_of_the_demo(capsys):
    assert survey.execute(["--demo", "--demo_places=0"]) == 1 and "give 1 to 11" in capsys.readouterr().err
    assert survey.execute(["--demo", "--demo_place=1"]) == 2
