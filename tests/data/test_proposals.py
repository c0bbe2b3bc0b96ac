"""Wrong lists of proposals are errors."""

import pathlib
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oadp.data.converted.cache import FOLDER
from oadp.data.proposals import check_proposals, load_proposals, outside

IDS = [7, 3, 5]
SIZES = [(640, 480), (100, 100), (300, 200)]


def filling(*sizes: tuple[int, int]) -> list[np.ndarray]:
    """Return one box per size, which covers an image of that size."""
    return [np.array([[0, 0, w, h, 0.5]], np.float32) for w, h in sizes]


def test_wrong_order_is_detected():
    by_id = filling(SIZES[1], SIZES[2], SIZES[0])
    assert check_proposals('p.pkl', by_id, IDS, SIZES, is_sorted=True)[2].tolist() == [
        [0, 0, 640, 480, 0.5]
    ]
    with pytest.raises(ValueError, match='p.pkl: 2 of 3 .*image 3 of 100 × 100 .*fit in the other order, so set proposal_sorted=True'):  # fmt: skip
        check_proposals('p.pkl', by_id, IDS, SIZES, is_sorted=False)
    with pytest.raises(ValueError, match='fit in the other order, so set proposal_sorted=False'):
        check_proposals('p.pkl', filling(*SIZES), IDS, SIZES, is_sorted=True)
    with pytest.raises(ValueError, match='check proposal_sorted'):
        check_proposals('p.pkl', filling(*[(700, 700)] * 3), IDS, SIZES, is_sorted=True)


def test_images_of_unknown_size_are_not_compared():
    assert len(check_proposals('p.pkl', filling(*[(700, 700)] * 3), IDS, [None] * 3, True)) == 3


@pytest.mark.parametrize(
    ('box', 'is_outside'),
    [
        ([0, 0, 100, 1000], False),
        ([-1.9, -1.9, 101.9, 1000], False),
        ([0, 0, 102.5, 10], True),
        ([0, 0, 10, 1009], False),
        ([0, 0, 10, 1011], True),
        ([0, -11, 10, 100], True),
        ([500, 0, 510, 10], True),
    ],
)
def test_small_overhang_is_allowed(box, is_outside):
    """The tolerance is two pixels or a hundredth of the side."""
    assert outside(np.array([box], np.float32), (100, 1000)).tolist() == [is_outside]


GOOD = [[0, 0, 4, 4, 0.5]]


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (np.array([[9, 0, 4, 4, 0.5]]), 'image 3: 1 boxes whose x2 or y2 is less'),
        (np.array([['0', '0', '4', '4', '1']]), 'image 3: expected an array of numbers, found <U1'),
        (np.zeros(5), r'image 3: expected an \(n, 5\) array .* found \(5,\)'),
        (np.zeros((1, 5), complex), 'image 3: expected an array of numbers, found complex128'),
        (np.zeros((1, 5), bool), 'image 3: expected an array of numbers, found bool'),
        (GOOD, 'image 3: expected .* found list'),
    ],
)
def test_wrong_arrays(array, message):
    arrays = [np.array(GOOD), array, np.array(GOOD)]
    with pytest.raises(ValueError, match='p.pkl: number 1 of the list, proposals of ' + message):
        check_proposals('p.pkl', arrays, IDS, SIZES, is_sorted=False)


NUMBERS = st.floats(width=32) | st.integers(-1000, 1000) | st.text(max_size=2) | st.none()
ARRAYS = st.builds(
    lambda rows, dtype: _array(rows, dtype),
    st.lists(st.lists(st.floats(-9, 900), min_size=5, max_size=5) | st.lists(NUMBERS, max_size=6), max_size=3),
    st.sampled_from([None, 'f2', 'f8', 'i4', 'U4']),
)  # fmt: skip


def _array(rows, dtype):
    try:
        with np.errstate(all='ignore'):
            return np.array(rows, dtype)
    except (ValueError, TypeError, OverflowError):
        return rows


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.lists(ARRAYS | NUMBERS, min_size=2, max_size=4) | NUMBERS, is_sorted=st.booleans()
)
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_any_list_is_read_or_an_error_with_the_file(tmp_path: pathlib.Path, content, is_sorted):
    file = tmp_path / 'p.pkl'
    file.write_bytes(pickle.dumps(content))
    try:
        by_id = load_proposals(file, IDS, SIZES, is_sorted)
    except ValueError as e:
        assert type(e) is ValueError and 'p.pkl' in str(e)
        return
    for i, size in zip(IDS, SIZES, strict=True):
        assert by_id[i].dtype == np.float32 and by_id[i].shape[1:] == (5,)
        if np.isfinite(by_id[i]).all():
            assert not outside(by_id[i][:, :4], size).any()


def test_error_for_missing_proposals_names_the_readme(tmp_path):
    with pytest.raises(FileNotFoundError, match='Proposals'):
        load_proposals(tmp_path / 'none.pkl', [], [], True)


UNKNOWN = (7, 3, 5), (None, None, None)


def proposals_file(tmp_path, content):
    file = tmp_path / 'proposals.pkl'
    file.write_bytes(pickle.dumps(content))
    return file


def test_order_of_proposals(tmp_path):
    arrays = [np.full((k, 5), k, dtype=np.float64) for k in range(3)]
    file = proposals_file(tmp_path, arrays)
    by_id = load_proposals(file, *UNKNOWN, is_sorted=True)
    assert {i: len(a) for i, a in by_id.items()} == {3: 0, 5: 1, 7: 2}
    by_id = load_proposals(file, *UNKNOWN, is_sorted=False)
    assert {i: len(a) for i, a in by_id.items()} == {7: 0, 3: 1, 5: 2}
    assert by_id[5].dtype == np.float32


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([np.zeros((1, 5))] * 2, 'proposals of 2 images, but the annotation file has 3'),
        ([np.zeros((1, 4))] * 3, r'image 3: expected an \(n, 5\).*found \(1, 4\)'),
        ([None] * 3, 'found NoneType'),
        (dict(a=1), 'expected a list'),
        ([print] * 3, 'expected a pickle of NumPy arrays'),
    ],
)
def test_wrong_proposals(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load_proposals(proposals_file(tmp_path, content), *UNKNOWN, is_sorted=True)


def test_a_file_is_converted_once_for_any_split_and_order(tmp_path, monkeypatch):
    file = proposals_file(tmp_path, filling(SIZES[1], SIZES[2], SIZES[0]))
    first = load_proposals(file, IDS, SIZES, True)
    monkeypatch.setattr('oadp.data.proposals.locate_pickled_arrays', None)  # is not called
    second = load_proposals(file, IDS, SIZES, True)
    assert list(first) == list(second) == [3, 5, 7] and len(second) == 3
    for image_id in IDS:
        np.testing.assert_array_equal(first[image_id], second[image_id])
    with pytest.raises(ValueError, match='fit in the other order, so set proposal_sorted=True'):
        load_proposals(file, IDS, SIZES, False)
    with pytest.raises(ValueError, match='proposals of 3 images, but the annotation file has 2'):
        load_proposals(file, IDS[:2], SIZES[:2], True)
    with pytest.raises(KeyError):
        second[4]


def test_arrays_can_be_changed_and_sent_to_other_processes(tmp_path):
    by_id = load_proposals(proposals_file(tmp_path, filling(*SIZES)), IDS, SIZES, False)
    by_id[7][:] = 0
    assert by_id[7][0, 2] == 640
    content = pickle.dumps(by_id.arrays)
    assert len(content) < 1000
    assert pickle.loads(content)[1:][0].tolist() == by_id[3].tolist()
    chosen = by_id.arrays.select([2, 0])
    assert len(chosen) == 2 and chosen[-1].tolist() == by_id[7].tolist()


@pytest.mark.parametrize('content', [b'', b'x' * 400], ids=['empty', 'something else'])
def test_a_damaged_result_is_made_again(tmp_path, log, content):
    file = proposals_file(tmp_path, filling(*SIZES))
    load_proposals(file, IDS, SIZES, False)
    [made] = (tmp_path / FOLDER).glob('*.npz')
    made.write_bytes(content)
    assert load_proposals(file, IDS, SIZES, False)[3].tolist() == [[0, 0, 100, 100, 0.5]]
    assert 'it is made again' in log.text


@pytest.mark.parametrize('protocol', [2, 4])
def test_few_arrays_are_in_memory_at_once(tmp_path, protocol):
    """Neither at the conversion nor later; a file of COCO has 2.4 GB."""
    num, one = 1000, np.zeros((1000, 5), np.float32)
    (tmp_path / 'p.pkl').write_bytes(pickle.dumps([one.copy() for _ in range(num)], protocol))
    load_proposals(proposals_file(tmp_path, filling(*SIZES)), IDS, SIZES, False)  # imports
    for _ in range(2):
        tracemalloc.start()
        by_id = load_proposals(tmp_path / 'p.pkl', range(num), [None] * num, False)
        assert sum(len(by_id[i]) for i in range(num)) == num * len(one)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < num * one.nbytes / 4
