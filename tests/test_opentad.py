"What `loco export opentad` writes is read by the library that OpenTAD reads it with"
import pytest

from loco.data.features import open_dataset
from loco.rivals.opentad import system_settings, systems
from loco.rivals.opentad_export import export_opentad
import small

@pytest.fixture(scope='module')
def export(tmp_path_factory):
    root = tmp_path_factory.mktemp('opentad')
    cfg = small.config(small.write(root/'data'))
    annotations, features = open_dataset(cfg.data)
    return annotations, features, cfg.clock, export_opentad(annotations, features, cfg.clock, out=root/'out', names=systems)

def plain(x):
    if isinstance(x, dict): return {k: plain(v) for k, v in x.items()}
    return type(x)(map(plain, x)) if isinstance(x, (list, tuple)) else x

@pytest.mark.parametrize('name', systems)
@pytest.mark.parametrize('split', ['test', 'validation'])
def test_mmengine_reads_it(export, name, split, monkeypatch):
    config = pytest.importorskip('mmengine.config')
    annotations, features, clock, done = export
    if split != 'test': monkeypatch.setenv('LOCO_SPLIT', split)
    cfg = config.Config.fromfile(done.folder/f'{name}.py')
    want = system_settings(name, dim=features.visual_dim + features.audio_dim, classes=len(annotations.labels), clock=clock, window=done.window)
    here = lambda x: {k: here(v) for k, v in x.items()} if isinstance(x, dict) else (
        x.replace('{{ fileDirname }}', str(done.folder)).replace('{{$LOCO_SPLIT:test}}', split) if isinstance(x, str) else x)
    assert plain(cfg._cfg_dict.to_dict()) == plain(here(want))

def test_a_moved_export_is_whole(export):
    done = export[3]
    assert str(done.folder) not in ''.join((done.folder/f'{n}.py').read_text() for n in systems)
    assert {p.stem for p in (done.folder/'features').iterdir()} == set(export[0].duration)
