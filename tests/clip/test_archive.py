"""TorchScript archives are read without running them, with the tensors of torch's loader."""

import pathlib
import re
import zipfile

import pytest
import torch
from torch import Tensor, nn

from oadp.clip import weights as clip_model
from oadp.clip.archive import is_archive, read_archive

pytestmark = pytest.mark.filterwarnings('ignore:.*torch.jit:DeprecationWarning')


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.mask = torch.full((2, 2), -1.0)  # an attribute that is neither, as CLIP's attn_mask
        self.scales = [1, 2]
        self.register_buffer('seen', torch.tensor(7))
        self.transposed = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.scales[0] + self.mask.sum()


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(3), Block(3))
        self.tied = self.blocks[0].linear.weight
        self.register_buffer('context_length', torch.tensor(24))
        self.register_buffer('empty', torch.empty(0, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def save(network: nn.Module, path: pathlib.Path, traced: bool = False) -> pathlib.Path:
    torch.manual_seed(0)
    if traced:
        torch.jit.save(torch.jit.trace(network, torch.ones(1, 3)), path)
    else:
        torch.jit.save(torch.jit.script(network), path)
    return path


def assert_as_torch_reads_it(path: pathlib.Path) -> None:
    mine, expected = read_archive(path), torch.jit.load(path, map_location='cpu').state_dict()
    assert [*mine] == [*expected]
    for key, value in expected.items():
        assert mine[key].dtype == value.dtype
        assert mine[key].stride() == value.stride()
        assert torch.equal(mine[key], value)


@pytest.mark.parametrize('traced', [False, True])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.bfloat16])
def test_tensors(tmp_path: pathlib.Path, traced: bool, dtype: torch.dtype) -> None:
    network = Network()
    if not traced or dtype == torch.float32:
        network = network.to(dtype)
    assert_as_torch_reads_it(save(network, tmp_path / 'n.pt', traced))


def test_the_recorded_clip(golden: pathlib.Path) -> None:
    assert_as_torch_reads_it(golden / 'world/pretrained/clip/ViT-B-32.pt')


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_another_folder_name_and_order_of_entries(tmp_path: pathlib.Path, compression: int) -> None:
    """In OpenAI's archives, the folder has another name than the file, and entries are in any order."""
    source = save(Network(), tmp_path / 'source.pt')
    rewrite(source, tmp_path / 'other.pt', lambda name, data: data, compression)
    expected = read_archive(source)
    found = read_archive(tmp_path / 'other.pt')
    assert [*found] == [*expected] and all(torch.equal(found[k], expected[k]) for k in found)


def rewrite(source: pathlib.Path, target: pathlib.Path, change, compression: int = 0) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w', compression) as new:
        for name in sorted(old.namelist()):
            if (data := change(name, old.read(name))) is not None:
                new.writestr(re.sub('^[^/]+', 'top-folder', name), data)


class Writing(nn.Module):
    """An object that writes a file when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.weight = state[0]
        self.training = state[1]
        torch.save(state[0], 'overwritten')


def test_code_is_not_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(Writing(), tmp_path / 'evil.pt')
    torch.jit.load(path)
    assert (tmp_path / 'overwritten').is_file(), 'torch runs it'
    (tmp_path / 'overwritten').unlink()
    with pytest.raises(
        ValueError, match=r'evil\.pt.*expected a state that is a dict of attributes'
    ):
        clip_model.load_clip(path)
    assert not (tmp_path / 'overwritten').exists()


def forged(pickle_: bytes) -> bytes:
    return b'\x80\x02' + pickle_ + b'.'


@pytest.mark.parametrize(
    'data, message',
    [
        (forged(b'cos\nsystem\nX\x04\x00\x00\x00true\x85R'), 'os.system is neither'),
        (forged(b'c__torch__\nM\n)\x81K\x01b'), 'expected a state that is a dict of attributes'),
        (forged(b'K\x01'), 'a int, expected a module'),
        (forged(b'ctorch._utils\n_rebuild_tensor_v2\n}b'), 'sets the state of a function'),
        (forged(b'Nr\xff\xff\xff\x7f'), 'a NoneType, expected a module'),
        (b'', 'Ran out of input|EOF|truncated|NoneType|Error'),
    ],
)
def test_forged_pickles(tmp_path: pathlib.Path, data: bytes, message: str) -> None:
    source = save(Network(), tmp_path / 'source.pt')
    rewrite(source, tmp_path / 'f.pt', lambda n, old: data if n.endswith('data.pkl') else old)
    with pytest.raises(ValueError, match=rf'f\.pt: expected a TorchScript archive.*({message})'):
        read_archive(tmp_path / 'f.pt')


def test_missing_storages_and_wrong_sizes(tmp_path: pathlib.Path) -> None:
    source = save(Network(), tmp_path / 'source.pt')
    rewrite(source, tmp_path / 'f.pt', lambda n, old: old[:-1] if n.endswith('data/0') else old)
    with pytest.raises(ValueError, match=r'f\.pt.*data/0 has \d+ bytes, expected'):
        read_archive(tmp_path / 'f.pt')
    rewrite(source, tmp_path / 'f.pt', lambda n, old: None if n.endswith('data/0') else old)
    with pytest.raises(ValueError, match=r'f\.pt.*data/0'):
        read_archive(tmp_path / 'f.pt')


def test_a_zip_bomb(tmp_path: pathlib.Path) -> None:
    with zipfile.ZipFile(tmp_path / 'b.pt', 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('a/code/x.py', '')
        file.writestr('a/data.pkl', b'.')
        file.writestr('a/data/0', bytes(100 << 20))
    with pytest.raises(ValueError, match=r'b\.pt.*would decompress'):
        read_archive(tmp_path / 'b.pt')


def test_truncated_file(tmp_path: pathlib.Path) -> None:
    path = save(Network(), tmp_path / 'c.pt')
    assert is_archive(path)
    path.write_bytes(path.read_bytes()[:-50])
    assert not is_archive(path)
    with pytest.raises(ValueError, match=r'c\.pt'):
        clip_model.load_clip(path)
