"Data as people have them: rough annotations, names with slashes and spaces, features in every common form; read, or refused by name"
import json, os, shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import small
from loco.core.clock import Clock
from loco.core.errors import BadInput
from loco.data.annotations import Annotations
from loco.data.check import check
from loco.data.features import FeatureStore, align, load_array
from loco.data.locate import FolderPair, locate
from loco.data.pack import pack
from loco.program.data import data_app

FPS, WINDOW, STRIDE = 16, 16, 4
CLOCK = Clock(FPS, WINDOW, STRIDE)
NAMES = {'train': 'training', 'validation': 'Val'}

@pytest.fixture(scope='module')
def source(tmp_path_factory):
    "Sixteen videos to learn from and four to choose by, and their features"
    root = small.write(tmp_path_factory.mktemp('data')/'small', splits={'train': 16, 'validation': 4})
    return json.loads((root/'annotations.json').read_text())['database'], FeatureStore(root/'features')

def rough(database):
    "The same, as a person would have written it"
    out = {}
    for i, (v, e) in enumerate(database.items()):
        events = [dict(a) for a in e['annotations']]
        if i == 0: events[0].pop('label_id', None)
        if i == 1: events[0]['segment'] = [events[0]['segment'][0], e['duration'] + .004]
        if i == 2: events.append(dict(events[0], segment=[3., 3.]))
        out[f'session {i % 2}/{v} (take 1)'] = dict(duration=e['duration'], subset=NAMES[e['subset']], annotations=events)
    return out

def write(root, database, features, save, bom=False):
    "A data set of two folders; `save` writes one file"
    for (v, _), name in zip(features.index.items(), database):
        for m, x in zip(('visual', 'audio'), features[v]):
            path = root/m/name
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, x)
    text = json.dumps({'database': database})
    (root/'annotations.json').write_text(text, encoding='utf-8-sig' if bom else 'utf-8')
    return root

def npy(path, x): np.save(f'{path}.npy', x)
def npz(path, x): np.savez(f'{path}.npz', features=x)
def one_more_axis(path, x): np.save(f'{path}.npy', x[None])
def transposed(path, x): np.save(f'{path}.npy', x.T)
def fortran(path, x): np.save(f'{path}.npy', np.asfortranarray(x))
def doubles(path, x): np.save(f'{path}.npy', x.astype('float64'))
def safetensors(path, x):
    from safetensors.numpy import save_file
    save_file({'x': np.ascontiguousarray(x)}, f'{path}.safetensors')
def pt(path, x):
    import torch
    torch.save(torch.from_numpy(x.copy()), f'{path}.pt')
def pth_of_a_dict(path, x):
    import torch
    torch.save({'feats': torch.from_numpy(x.copy()).bfloat16().float()}, f'{path}.pth')

# ---------------------------------------------------------------- from rough files to a picture

def test_a_rough_data_set_trains_is_judged_and_drawn(source, tmp_path):
    from loco.training.judge import evaluate, plot_runs
    from loco.training.run import train
    root = write(tmp_path/'my set', rough(source[0]), source[1], npy, bom=True)
    report = check(root, clock=CLOCK)
    assert report.ok, [p.what for p in report.problems if p.level == 'error']
    said = CliRunner().invoke(data_app, ['pack', str(root), '--fps', str(FPS), '--window', str(WINDOW), '--stride', str(STRIDE), '--quiet', '--workers', '1'])
    assert said.exit_code == 0 and '1 event reaching a little past the video' in said.output and '1 event of no length' in said.output and "'training' is read as 'train'" in said.output, said.output
    cfg = small.config(root, **{'data.features': 'folders-store', 'train.epochs': 1, 'train.warmup': 0})
    train(cfg, tmp_path/'run', progress=False)
    evaluate(tmp_path/'run', subset='validation')
    pictures = plot_runs([tmp_path/'run'], tmp_path/'plots', subset='validation', videos=3)
    assert len(set(pictures)) == 4 and all(p.is_file() and p.resolve().is_relative_to(tmp_path/'plots') for p in pictures)

def test_names_with_slashes_are_exported(source, tmp_path):
    from loco.rivals.opentad_export import write_features
    root = write(tmp_path/'set', rough(source[0]), source[1], npy)
    features = locate(root, clock=CLOCK).features
    (tmp_path/'out').mkdir()
    steps = write_features(tmp_path/'out', features, list(rough(source[0])))
    assert all(len(np.load(tmp_path/'out'/f'{v}.npy')) == n for v, n in steps.items())
    with pytest.raises(ValueError): write_features(tmp_path/'out', features, ['../x'])

# ---------------------------------------------------------------- annotations

def entry(subset='train', duration=10., label='dog', segment=(1., 2.), **more): return dict(duration=duration, subset=subset, annotations=[dict(segment=list(segment), label=label, **more)])

@pytest.mark.parametrize('name, read', [('training', 'train'), ('Training', 'train'), (' train', 'train'), ('val', 'validation'), ('VAL', 'validation'), ('valid', 'validation'), ('testing', 'test'), ('holdout', 'holdout')])
def test_splits_by_their_common_names(name, read):
    a = Annotations.from_dict({'database': {'v': entry(name)}})
    assert a.subset == {'v': read} and bool(a.notes) == (name not in ('train', 'validation', 'test'))     # what is read as another, or used by nothing, is said

@pytest.mark.parametrize('segment, kept', [((2., 10.004), [2., 10.]), ((-.01, 3.), [0., 3.]), ((4., 4.), None), ((10., 10.2), None)])
def test_what_is_slightly_off_is_clipped_or_dropped_and_counted(segment, kept):
    a = Annotations.from_dict({'database': {'v': entry(segment=segment)}})
    assert a.events('v')[0].tolist() == ([kept] if kept else []) and len(a.notes) == 1 and '1 event' in a.notes[0]

@pytest.mark.parametrize('segment', [(2., 11.), (-1., 2.), (5., 4.)])
def test_what_is_far_off_is_refused(segment):
    with pytest.raises(BadInput, match="video 'v'"): Annotations.from_dict({'database': {'v': entry(segment=segment)}})

def test_one_event_without_its_label_id_keeps_its_class():
    d = {'a': entry(label='zebra', label_id=0), 'b': entry(label='ant', label_id=1), 'c': entry(label='zebra')}
    assert Annotations.from_dict({'database': d}).labels == ('zebra', 'ant')

def test_a_byte_order_mark_is_read(tmp_path):
    (tmp_path/'a.json').write_text(json.dumps({'database': {'v': entry()}}), encoding='utf-8-sig')
    assert Annotations.load(tmp_path/'a.json').labels == ('dog',)

def test_no_test_split_is_ready_to_train(source, tmp_path):
    root = write(tmp_path/'set', source[0], source[1], npy)
    report = check(root, clock=CLOCK)
    assert report.ok and [p.kind for p in report.problems if p.where == 'test'] == ['no test']

# ---------------------------------------------------------------- features

@pytest.mark.parametrize('save', [npz, one_more_axis, transposed, fortran, doubles, safetensors, pt, pth_of_a_dict], ids=lambda f: f.__name__)
def test_features_in_other_forms_are_read(save, source, tmp_path):
    root = write(tmp_path/'set', source[0], source[1], save)
    found = locate(root, clock=CLOCK)
    for v in list(source[0])[:3]:
        for mine, theirs in zip(found.features[v], source[1][v]): np.testing.assert_allclose(mine, theirs, rtol=.01 if save is pth_of_a_dict else 0)
    assert check(root, clock=CLOCK).ok
    assert pack(found, tmp_path/'store').videos == 20

def test_hdf5_and_files_of_several_arrays_are_refused_by_name(source, tmp_path):
    for end, write_one, says in (('h5', lambda p, x: Path(f'{p}.h5').write_bytes(b'\x89HDF\r\n'), 'HDF5'), ('npz', lambda p, x: np.savez(f'{p}.npz', rgb=x, flow=x), 'rgb, flow')):
        root = write(tmp_path/end, source[0], source[1], write_one)
        with pytest.raises(BadInput, match=says) as e: locate(root, clock=CLOCK)
        assert f'.{end}' in str(e.value)

@pytest.mark.parametrize('content', ['[torch.zeros(2, 2)]', '3', 'torch.zeros(2, 2).to_sparse()', '{"features": 3}'])
def test_what_a_torch_file_holds_instead_is_said(content, tmp_path):
    "A whole file called damaged, and to be fetched again"
    import torch
    torch.save(eval(content), path := tmp_path/'v.pt')
    with pytest.raises(BadInput, match='save its features as a tensor') as e: load_array(path)
    assert str(path) in str(e.value) and 'fetch' not in str(e.value)

def test_a_small_npz_does_not_become_a_large_array(tmp_path):
    np.savez_compressed(path := tmp_path/'v.npz', features=np.zeros((10**6, 16), np.float32))
    assert path.stat().st_size < 10**6
    with pytest.raises(BadInput, match='fifty times'): load_array(path)

@pytest.mark.parametrize('kind', ['int16', 'bool', 'complex64', 'U3'])
def test_only_real_numbers_are_features(kind, source, tmp_path):
    root = write(tmp_path/'set', source[0], source[1], npy)
    v = list(source[0])[0]
    np.save(root/'audio'/f'{v}.npy', np.ones((9, 64)).astype(kind))
    with pytest.raises(BadInput, match=f'{v}.npy'): locate(root, clock=CLOCK).features[v]
    report = check(root, clock=CLOCK)
    assert not report.ok and f'{v}.npy' in ' '.join(p.where for p in report.problems if p.level == 'error')

@pytest.mark.parametrize('template', ['feats/{video}/clip.npy', 'feats [0]/{video}.npy', 'feats/{video}/{video}_clip.npy', 'f*?/{video}.npy'])
def test_features_by_a_path_with_the_id_in_it(template, source, tmp_path):
    for v in source[1].index:
        for m, x in zip(('visual', 'audio'), source[1][v]):
            path = tmp_path/m/template.replace('{video}', v)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, x)
    pair = FolderPair(tmp_path/'visual'/template, tmp_path/'audio'/template)
    v = list(source[1].index)[0]
    assert len(pair) == 20 and pair.visual_dim == 64 and np.array_equal(pair[v][0], source[1][v][0])
    (tmp_path/'annotations.json').write_text(json.dumps({'database': source[0]}))
    report = check(tmp_path, visual=tmp_path/'visual'/template, audio=tmp_path/'audio'/template, clock=CLOCK)
    assert report.ok and not [p for p in report.problems if p.kind == 'orphan']

def test_modalities_that_drift_apart_are_trimmed_and_counted(source, tmp_path):
    assert [len(x) for x in align([np.ones((2400, 2)), np.ones((2397, 2))])] == [2397, 2397]
    with pytest.raises(ValueError, match='more than 24 apart'): align([np.ones((2400, 2)), np.ones((2300, 2))])
    database = {'long': dict(duration=600., subset='train', annotations=[dict(segment=[1, 2], label='dog')]), 'too': dict(duration=600., subset='validation', annotations=[dict(segment=[1, 2], label='dog')])}
    x = np.random.default_rng(0).normal(size=(2, 2397, 8)).astype('float32')
    for m, cut in (('visual', 2397), ('audio', 2394)):
        (tmp_path/m).mkdir()
        for v, y in zip(database, x): np.save(tmp_path/m/f'{v}.npy', y[:cut])
    (tmp_path/'annotations.json').write_text(json.dumps({'database': database}))
    report = check(tmp_path, clock=CLOCK)
    assert report.ok and [p.kind for p in report.problems if 'not used' in p.what] == ['trimmed']*2
    assert pack(locate(tmp_path, clock=CLOCK), tmp_path/'store').trimmed == 2

def test_unav100_as_its_authors_publish_it(tmp_path):
    "`av_features.tar.gz` in a folder, and unpacked beside `annotations/`"
    import io, tarfile
    from loco.data.download import download
    files = {f'{v}_{end}.npy': np.random.default_rng(0).normal(size=(Clock(25, 24, 8).steps(10.), dim)).astype('float32')
             for v in 'ab' for end, dim in (('rgb', 1024), ('flow', 1024), ('vggish', 128))}
    (tmp_path/'hand').mkdir()
    (tmp_path/'hand'/'unav100_annotations.json').write_text(json.dumps({'database': {'a': entry('train'), 'b': entry('validation')}}))
    with tarfile.open(tmp_path/'hand'/'av_features.tar.gz', 'w:gz') as t:
        for name, x in files.items():
            buffer = io.BytesIO(); np.save(buffer, x)
            info = tarfile.TarInfo(f'av_features/{name}'); info.size = buffer.tell()
            t.addfile(info, io.BytesIO(buffer.getvalue()))
    assert download(tmp_path/'out', features='i3d-vggish', source=tmp_path/'hand').videos == 2
    with tarfile.open(tmp_path/'hand'/'av_features.tar.gz') as t: t.extractall(tmp_path/'unav100', **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))     # new in 3.11.4
    (tmp_path/'unav100'/'annotations').mkdir()
    shutil.copy(tmp_path/'hand'/'unav100_annotations.json', tmp_path/'unav100'/'annotations')
    found = locate(tmp_path/'unav100')
    assert (found.layout, found.annotations.parent.name, found.clock) == ('i3d-vggish', 'annotations', Clock(25, 24, 8))
    assert check(tmp_path/'unav100').ok

# ---------------------------------------------------------------- ids that would lead elsewhere

@pytest.mark.parametrize('video', ['../secret', '/etc/secret', 'a/../../secret'])
def test_ids_do_not_lead_out_of_the_features(video, source, tmp_path):
    root = write(tmp_path/'set', source[0], source[1], npy)
    with pytest.raises(BadInput, match='secret'): locate(root, clock=CLOCK).features[video]
    d = {**source[0], video: dict(list(source[0].values())[0])}
    (root/'annotations.json').write_text(json.dumps({'database': d}))
    report = check(root, clock=CLOCK)
    assert not report.ok and 'secret' in ' '.join(p.what for p in report.problems if p.level == 'error')
    with pytest.raises(BadInput, match='secret'): pack(locate(root, clock=CLOCK), tmp_path/'store')
