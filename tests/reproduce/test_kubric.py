"""The reader of Kubric's scenes, on scenes drawn here in both published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reproduce.kubric import choose_object, held_share, main, masks_of, read_scene
from reproduce.masks import with_amodal_target
from vtcd_ops import InputError, load_model
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.masks import read_masks
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import as_samples

SIZE, FRAMES = (24, 32), 5
PALETTE = [
    0,
    0,
    0,
    255,
    0,
    0,
    0,
    255,
    0,
    0,
    0,
    255,
]  # Kubric's has other colours
WALL, BALL, BOX = range(3)


def cube(centre: tuple[float, float, float], side: float) -> list[list[float]]:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) - 0.5
    return (centre + side * corners).tolist()


def squares() -> np.ndarray:
    """A ball that rolls from the left behind a wall, [K, T, H, W]; a box stands at the right."""
    whole = np.zeros((3, FRAMES, *SIZE), dtype=bool)
    for t in range(FRAMES):
        whole[WALL, t, 4:20, 14:22] = True
        whole[BALL, t, 10:14, 3 * t : 3 * t + 4] = True
        whole[BOX, t, 16:22, 24:31] = True
    return whole


def seen(whole: np.ndarray) -> np.ndarray:
    visible = np.zeros((FRAMES, *SIZE), dtype=np.uint8)
    for k in (BALL, BOX, WALL):  # from the back to the front
        visible[whole[k]] = k + 1
    return visible


def save_numbers(path: Path, numbers: np.ndarray) -> None:
    image = Image.fromarray(numbers.astype(np.uint8))
    image.putpalette(PALETTE)
    image.save(path)


def write_scene(folder: Path, whole: np.ndarray, *, plain: bool = False) -> Path:
    frames = folder if plain else folder / "frames_p0_v0"
    frames.mkdir(parents=True)
    for t, numbers in enumerate(seen(whole)):
        Image.new("RGBA", SIZE[::-1], (40 * t, 0, 0, 255)).save(frames / f"rgba_{t:05d}.png")
        save_numbers(frames / f"segmentation_{t:05d}.png", numbers)
        if not plain:
            for k in range(len(whole)):
                name = f"divided_segmentation_{k:03d}_{t:05d}.png"
                save_numbers(frames / name, whole[k, t] * (k + 1))
    places = {WALL: (20, 0, 0), BALL: (0, 0, 0), BOX: (40, 0, 0)}
    # in its last frame the ball is in the box, and the box is in the wall: a box in a box
    boxes = {k: [cube(place, 1 + 2 * (k != BALL))] * FRAMES for k, place in places.items()}
    boxes[BOX] = [*boxes[BOX][:-1], cube((0, 0, 0.2), 3)]
    boxes[WALL] = [*boxes[WALL][:-1], cube((0, 0, 0), 9)]
    instances = [{} if plain else {"bboxes_3d": boxes[k]} for k in range(3)]
    scene = {} if plain else {"scene": {"num_frames": FRAMES, "num_valo_instances": 3}}
    name = "metadata.json" if plain else f"{folder.name}_p0_v0.json"
    (folder / name).write_text(json.dumps({"instances": instances, **scene}))
    return folder


def test_the_ball_is_followed_behind_the_wall_and_into_the_box(tmp_path: Path) -> None:
    whole = squares()
    scene = read_scene(write_scene(tmp_path / "scn0", whole))
    assert choose_object(scene) == BALL, "the one that moves and is hidden"
    found = masks_of(scene, BALL)
    ball = whole[BALL] & ~whole[WALL]
    assert (found["target_masks"] == ball).all()
    assert (found["query_mask"] == ball[0]).all()
    assert (found["amodal_target"] == whole[BALL]).all()
    # columns 12 to 15 in the last frame: two of four are behind the wall, which hides not enough
    assert not found["occluder_masks"].any()
    assert not found["container_masks"][:-1].any()
    assert (found["container_masks"][-1] == whole[WALL, -1]).all(), "the outermost container"


def test_what_hides_the_object_is_its_occluder(tmp_path: Path) -> None:
    whole = squares()
    whole[BALL, 3:] = False
    whole[BALL, 3:, 10:14, 16:20] = True
    found = masks_of(read_scene(write_scene(tmp_path / "scn0", whole)), BALL)
    assert not found["target_masks"][3:].any()
    assert (found["occluder_masks"][3:] == whole[WALL, 3:]).all()
    assert not found["occluder_masks"][:3].any()


def test_a_manifest_that_the_tracker_takes(tmp_path: Path) -> None:
    whole = squares()
    for name in ("scn1", "scn0", "scn2"):
        write_scene(tmp_path / "scenes/val" / name, whole)
    main([str(tmp_path / "scenes"), str(tmp_path / "out"), "--split", "val", "--limit", "2"])
    samples = list(as_samples(str(tmp_path / "out/manifest.csv")))
    assert [Path(str(sample.video)).name for sample in samples] == ["scn0", "scn1"]
    assert (
        read_masks(samples[0].target_masks, range(FRAMES)).numpy() == (seen(whole) == BALL + 1)
    ).all()
    assert (with_amodal_target(samples[0]).target_masks == whole[BALL]).all()
    tracker = load_model("tcow:mini")
    source = open_video(samples[0].video)
    clip = VideoClip(tracker, source, list(range(FRAMES)), samples[0])
    query = tracker.inputs(samples[0], clip, 0)["query"]
    assert query[0, 0].any()
    assert not query[0, 1:].any()


def test_scenes_of_kubrics_own_workers_say_what_is_seen(tmp_path: Path) -> None:
    whole = squares()
    scene = read_scene(write_scene(tmp_path / "0", whole, plain=True))
    assert choose_object(scene) == BALL
    assert sorted(masks_of(scene, BALL)) == ["query_mask", "target_masks"]


def test_an_object_that_the_first_frame_does_not_show_is_not_followed(tmp_path: Path) -> None:
    whole = squares()
    whole[:, 0] = False
    assert choose_object(read_scene(write_scene(tmp_path / "scn0", whole))) is None


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_the_share_of_a_box_in_another(turn: float) -> None:
    """Half of a cube is in another that is moved by half a side, however both are turned."""
    rotation = np.array([
        [np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]
    ])  # fmt: skip
    order = np.random.default_rng(0).permutation(8)
    inner = np.array(cube((0, 0, 0), 1)) @ rotation.T
    outer = (np.array(cube((0.5, 0, 0), 1)) @ rotation.T)[order]
    assert held_share(inner, outer) == pytest.approx(0.5)
    long = np.array(cube((0, 0, 0), 1)) * [1, 1, 20]  # its face diagonals are shorter than an edge
    assert held_share(inner, (long @ rotation.T)[order]) == 1


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected to hold scenes"):
        main([str(tmp_path), str(tmp_path / "out"), "--split", "train"])
    scene = write_scene(tmp_path / "scn0", squares())
    Image.new("RGB", SIZE[::-1]).save(scene / "frames_p0_v0/segmentation_00002.png")
    with pytest.raises(InputError, match=r"segmentation_00002\.png expected numbers of objects"):
        read_scene(scene)
    (scene / "frames_p0_v0/segmentation_00002.png").unlink()
    with pytest.raises(InputError, match=r"segmentation_00002\.png does not exist"):
        read_scene(scene)
    (scene / "scn0_p0_v0.json").unlink()
    with pytest.raises(InputError, match=r"expected to hold one of scn0_p0_v0\.json"):
        read_scene(scene)
