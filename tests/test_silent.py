"Numbers about other files than those named: every way in which data, settings, weights and predictions can stop belonging together is noticed"
import json, os, shutil, warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import small
from loco.core.checkpoint import load, save
from loco.core.clock import Clock
from loco.core.config import Config
from loco.core.errors import BadInput
from loco.data.annotations import Annotations
from loco.data.features import FeatureStore, open_dataset, write_store
from loco.data.locate import locate
from loco.data.pack import pack
from loco.detection.metric import mean_ap
from loco.training.judge import detections_of, evaluate, load_run
from loco.training.run import train

@pytest.fixture(scope='module')
def data(tmp_path_factory): return small.write(tmp_path_factory.mktemp('data')/'small')

@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    "A finished run on the small data set, judged on its test split"
    folder = tmp_path_factory.mktemp('runs')/'run'
    train(small.config(data), folder, progress=False)
    evaluate(folder)
    return folder

@pytest.fixture
def world(data, trained, tmp_path):
    "The small data set and a finished run of it, to be spoilt"
    return Path(shutil.copytree(data, tmp_path/'data')), Path(shutil.copytree(trained, tmp_path/'run'))

def manifest_of(store, **changes):
    "Write a store's manifest with changes"
    path = store/'manifest.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

def all_of(store):
    opened = FeatureStore(store)
    return {v: opened[v] for v in opened.index}

# ---------------------------------------------------------------- a store that is not what was written

def _flip(store):
    with open(store/'visual.npy', 'r+b') as f:
        f.seek(-777, 2); old = f.read(1)[0]
        f.seek(-777, 2); f.write(bytes([old ^ 1]))

def _shift(store):
    x = np.load(store/'audio.npy'); np.save(store/'audio.npy', np.roll(x, 100, 0))

def _exchange(store):
    index = json.loads((store/'manifest.json').read_text())['videos']
    manifest_of(store, videos=dict(zip(index, list(index.values())[1:] + list(index.values())[:1])))

def _swap(store):
    os.replace(store/'visual.npy', store/'x'); os.replace(store/'audio.npy', store/'visual.npy'); os.replace(store/'x', store/'audio.npy')

def _other_scale(store):
    old = json.loads((store/'manifest.json').read_text())['visual']
    manifest_of(store, visual=dict(old, scale=[1.5*s for s in old['scale']]))

HARMS = (_flip, _shift, _exchange, _swap, _other_scale)

@pytest.mark.parametrize('harm', HARMS, ids=lambda f: f.__name__)
def test_features_changed_after_packing_are_noticed_when_read(harm, data, tmp_path):
    source = FeatureStore(data/'features')
    store = write_store(tmp_path/'store', ((v, *source[v]) for v in source.index), clock=source.clock, dtype='int8')
    all_of(store)
    harm(store)
    with pytest.raises(BadInput, match='differ from those that were written'): all_of(store)

def test_no_score_of_changed_features(world):
    root, run = world
    _flip(root/'features')
    with pytest.raises(BadInput, match='visual.npy, video'): evaluate(run, subset='test', root=str(root)) and evaluate(run, subset='train', root=str(root)) and evaluate(run, subset='validation', root=str(root))

@pytest.mark.parametrize('change', [lambda m: m.pop('scale'), lambda m: m.update(scale=None), lambda m: m.update(scale=m['scale'][:-1]), lambda m: m.update(scale=[0.]*len(m['scale'])),
                                    lambda m: m.update(scale=['a']*len(m['scale'])), lambda m: m.update(dtype='float32')], ids=['none', 'null', 'short', 'zero', 'text', 'dtype'])
def test_integers_are_never_features(change, data, tmp_path):
    source = FeatureStore(data/'features')
    store = write_store(tmp_path/'store', ((v, *source[v]) for v in source.index), clock=source.clock, dtype='int8')
    visual = json.loads((store/'manifest.json').read_text())['visual']
    change(visual)
    manifest_of(store, visual=visual)
    with pytest.raises(BadInput, match='visual.npy'): FeatureStore(store)

@given(st.data())
@settings(max_examples=60)
def test_an_index_shares_out_all_rows_or_is_refused(d):
    from loco.data.features import check_index
    lengths = d.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    firsts = np.cumsum([0, *lengths])[:-1].tolist()
    index = {f'v{i}': [a, n] for i, (a, n) in enumerate(zip(firsts, lengths))}
    check_index(dict(d.draw(st.permutations(list(index.items())))), rows=(sum(lengths),)*2, where='store')
    v, place, by = d.draw(st.sampled_from(list(index))), d.draw(st.integers(0, 1)), d.draw(st.sampled_from([-2, -1, 1, 2]))
    index[v] = [x + by if i == place else x for i, x in enumerate(index[v])]
    with pytest.raises(BadInput): check_index(index, rows=(sum(lengths),)*2, where='store')

def test_stores_from_before_there_were_checksums_are_read(data, tmp_path):
    store = shutil.copytree(data/'features', tmp_path/'store')
    m = json.loads((store/'manifest.json').read_text())
    (store/'manifest.json').write_text(json.dumps({k: v for k, v in m.items() if k != 'crc32'}))
    assert all_of(store).keys() == m['videos'].keys()

# ---------------------------------------------------------------- packing

@pytest.fixture
def folders(data, tmp_path):
    "The small data set as two folders of files"
    source = FeatureStore(data/'features')
    for m in ('visual', 'audio'): (tmp_path/'files'/m).mkdir(parents=True)
    for v in source.index:
        for m, x in zip(('visual', 'audio'), source[v]): np.save(tmp_path/'files'/m/f'{v}.npy', x)
    shutil.copy(data/'annotations.json', tmp_path/'files')
    return tmp_path/'files'

def test_packing_again_decides_by_content(folders, tmp_path):
    found = locate(folders, clock=FeatureStore(small.STAMPSAV/'features').clock)
    first = pack(found, tmp_path/'store')
    assert pack(found, tmp_path/'store').earlier == first.videos
    path = sorted((folders/'audio').iterdir())[3]
    when = path.stat().st_mtime_ns - 10**13
    np.save(path, np.load(path)[::-1]); os.utime(path, ns=(when, when))          # as `rsync -t` and `tar x` leave it
    again = pack(found, tmp_path/'store')
    assert again.earlier == 0 and np.array_equal(FeatureStore(tmp_path/'store')[path.stem][1], np.load(path).astype('float16').astype('float32'))
    _flip(tmp_path/'store')                                                       # nor is a damaged store "there already"
    assert pack(found, tmp_path/'store').earlier == 0
    all_of(tmp_path/'store')

def test_a_clock_wrong_by_two_is_refused_unless_forced(folders, data, tmp_path):
    right = FeatureStore(small.STAMPSAV/'features').clock
    wrong = Clock(right.fps/2, right.window, right.stride)
    with pytest.raises(BadInput, match='--any-clock'): pack(locate(folders, clock=wrong), tmp_path/'store')
    store = pack(locate(folders, clock=wrong), tmp_path/'store', any_clock=True).store
    shutil.copy(data/'annotations.json', tmp_path/'annotations.json')
    cfg = small.config(tmp_path, **{'data.fps': wrong.fps, 'data.features': str(store)})
    with pytest.raises(BadInput, match='--data.any_clock true'): train(cfg, tmp_path/'run', progress=False)
    open_dataset(cfg.override({'data.any_clock': True}).data)

# ---------------------------------------------------------------- runs and their data

def _other_labels(root):
    d = json.loads((root/'annotations.json').read_text())
    names = sorted({a['label'] for e in d['database'].values() for a in e['annotations']})
    turn = dict(zip(names, names[1:] + names[:1]))
    for e in d['database'].values():
        for a in e['annotations']: a['label'] = turn[a['label']]
    (root/'annotations.json').write_text(json.dumps(d))

def _other_times(root):
    d = json.loads((root/'annotations.json').read_text())
    for e in d['database'].values():
        for a in e['annotations']: a['segment'][0] = (a['segment'][0] + a['segment'][1])/2
    (root/'annotations.json').write_text(json.dumps(d))

def _other_features(root):
    source = FeatureStore(root/'features')
    write_store(root/'features', [(v, -source[v][0], source[v][1]) for v in source.index], clock=source.clock, dtype='float32')

@pytest.mark.parametrize('harm', [_other_labels, _other_times, _other_features], ids=lambda f: f.__name__)
def test_a_run_is_neither_continued_nor_judged_on_other_data(harm, world):
    root, run = world
    longer = small.config(root, **{'train.epochs': 3})
    harm(root)
    with pytest.raises(BadInput, match='was trained on other data'): train(longer, run, progress=False)
    with pytest.raises(BadInput, match='was trained on other data'): evaluate(run, root=str(root))
    evaluate(run, root=str(root), other_data=True)

def test_the_same_data_elsewhere_are_the_same_data(world, trained):
    root, run = world
    assert evaluate(run, root=str(root)).row() == evaluate(trained).row()
    assert train(small.config(root, **{'train.epochs': 3}), run, progress=False).epoch == 4

def test_runs_from_before_there_were_fingerprints_are_judged(world):
    root, run = world
    (run/'data.json').unlink()
    evaluate(run, root=str(root))

@pytest.mark.parametrize('file, change', [('run.json', lambda d: d['data'].update(fps=2*d['data']['fps'])), ('config.json', lambda d: d['clock'].update(fps=2*d['clock']['fps'])),
                                          ('config.json', lambda d: d.update(labels=d['labels'][::-1])), ('config.json', lambda d: d['model'].update(guided=not d['model']['guided'])),
                                          ('run.json', lambda d: d['model'].update(guided=not d['model']['guided']))], ids=['rate', 'clock', 'labels', 'roles', 'roles of the run'])
def test_settings_description_and_weights_are_one_truth(file, change, world):
    _, run = world
    d = json.loads((run/file).read_text())
    change(d)
    (run/file).write_text(json.dumps(d))
    with pytest.raises(BadInput, match=r'config.json|weights'): load_run(run)

# ---------------------------------------------------------------- going on from a state that cannot be

def _missing(t, meta, name): t.pop(name)
def _nan(t, meta, name): t[name] = torch.full_like(t[name], torch.nan)
def _misshapen(t, meta, name): t[name] = t[name].flatten()[:1].clone()
def _unknown(t, meta, name): t[name + 'x'] = t[name].clone()
def _negative(t, meta, name): meta['epoch'] = -5
def _text(t, meta, name): meta['epoch'] = '3'
def _fewer_rows(t, meta, name): meta['history'].pop()

@pytest.mark.parametrize('harm, part', [(f, p) for f in (_missing, _nan, _misshapen, _unknown) for p in ('exp_avg', 'exp_avg_sq', 'objective')] + [(f, 'objective') for f in (_negative, _text, _fewer_rows)],
                         ids=lambda o: getattr(o, '__name__', o))
def test_a_run_does_not_go_on_from_a_state_that_cannot_be(harm, part, world):
    root, run = world
    tensors, meta = load(run/'last.safetensors')
    harm(tensors, meta, next(k for k, v in tensors.items() if (k.startswith(part) or k.endswith(f'/{part}')) and v.ndim == 2))
    save(run/'last.safetensors', tensors, meta=meta)
    with pytest.raises(BadInput, match='last.safetensors'): train(small.config(root, **{'train.epochs': 3}), run, progress=False)

def test_a_finished_run_takes_more_epochs_and_nothing_else(world, capsys):
    root, run = world
    with pytest.raises(BadInput, match='train.lr'): train(small.config(root, **{'train.epochs': 3, 'train.lr': 1e-5}), run, progress=False)
    with pytest.raises(BadInput, match='train.epochs'): train(small.config(root, **{'train.epochs': 1}), run, progress=False)
    before = [json.loads(l) for l in (run/'history.jsonl').read_text().splitlines()]
    longer = train(small.config(root, **{'train.epochs': 4}), run)
    said = ''.join(capsys.readouterr())
    assert longer.history[:3] == before and [o['epoch'] for o in longer.history] == [1, 2, 3, 4, 5]
    assert 'goes on to 5' in said and 'learning rate' in said
    again = train(small.config(root, **{'train.epochs': 4}), run, progress=False)     # and is finished then
    assert again.history == longer.history

# ---------------------------------------------------------------- predictions and their weights

def test_predictions_of_other_weights_are_not_shown(world):
    root, run = world
    annotations, _ = open_dataset(small.config(root).data)
    detections_of(run, annotations, subset='test')
    with torch.no_grad():
        model, _ = load_run(run, root=str(root))
        for p in model.parameters(): p.mul_(1.01)
    model.save_pretrained(run)
    with pytest.raises(BadInput, match='other weights'): detections_of(run, annotations, subset='test')
    evaluate(run, root=str(root))
    detections_of(run, annotations, subset='test')
    path = run/'predictions_test.json'
    path.write_text(path.read_text().replace('0.', '0.0', 1))
    with pytest.raises(BadInput, match='is not what metrics_test.json is about'): detections_of(run, annotations, subset='test')

def test_predictions_about_other_events_are_not_shown(world):
    root, run = world
    _other_times(root)
    annotations, _ = open_dataset(small.config(root).data)
    with pytest.raises(BadInput, match='other events'): detections_of(run, annotations, subset='test')

def test_old_predictions_are_known_by_their_date(world):
    root, run = world
    annotations, _ = open_dataset(small.config(root).data)
    metrics = json.loads((run/'metrics_test.json').read_text())
    metrics.pop('of')
    (run/'metrics_test.json').write_text(json.dumps(metrics))
    (run/'predictions_test.json').touch()
    detections_of(run, annotations, subset='test')
    later = (run/'predictions_test.json').stat().st_mtime_ns + 10**9
    os.utime(run/'model.safetensors', ns=(later, later))
    with pytest.raises(BadInput, match='older than the weights'): detections_of(run, annotations, subset='test')

def test_two_data_sets_of_one_name_are_kept_apart(data, tmp_path):
    from loco.study.experiments import claim
    from loco.study.tables import bundle, unpack
    from loco.training.provenance import fingerprint
    cfg = small.config(data)
    mine = fingerprint(*open_dataset(cfg.data))
    root = shutil.copytree(data, tmp_path/'elsewhere'/'small')
    _other_times(root)
    other = fingerprint(*open_dataset(small.config(root).data))
    claim(tmp_path/'out', cfg, data=mine)
    claim(tmp_path/'out', cfg, data=mine)
    with pytest.raises(BadInput, match='--out'): claim(tmp_path/'out', small.config(root), data=other)
    kept = bundle(tmp_path/'out')
    with pytest.raises(BadInput, match='other data'): unpack(kept, tmp_path/'new', base=cfg, data=other)
    unpack(kept, tmp_path/'new', base=cfg, data=mine)
    with pytest.raises(BadInput, match='--out'): claim(tmp_path/'new', cfg, data=other)

# ---------------------------------------------------------------- truth and detections

TRUTH = dict(video=['a', 'b', 'b'], label=['dog', 'cat', 'dog'], start=[0., 1., 4.], end=[2., 3., 9.])
CLAIMS = {**TRUTH, 'score': [.9, .8, .7]}

@pytest.mark.parametrize('column, strange', [('video', 'v_'), ('label', 'my ')])
def test_names_that_match_nothing_are_no_score_of_zero(column, strange):
    with pytest.raises(BadInput) as e: mean_ap(TRUTH, {**CLAIMS, column: [strange + o for o in CLAIMS[column]]})
    assert repr(strange + CLAIMS[column][0]) in str(e.value) and repr(TRUTH[column][0]) in str(e.value)
    few = {k: v*2 for k, v in CLAIMS.items()}
    with pytest.warns(UserWarning, match=f'{column}s among the detections are not in the ground truth'): mean_ap(TRUTH, {**few, column: ['x', 'y', 'z', *CLAIMS[column]]})
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        mean_ap(TRUTH, CLAIMS)
        mean_ap(TRUTH, {k: [] for k in CLAIMS})

@given(st.data())
@settings(max_examples=80)
def test_map_does_not_depend_on_the_order_of_rows(d):
    "Few times, few scores: everything ties with something"
    row = lambda *more: st.tuples(st.sampled_from('abc'), st.sampled_from('xy'), st.integers(0, 4), st.integers(0, 3), *more)
    truth, found = d.draw(st.lists(row(), min_size=1, max_size=8)), d.draw(st.lists(row(st.sampled_from([.25, .5])), max_size=14))
    table = lambda rows: dict(video=[r[0] for r in rows], label=[r[1] for r in rows], start=[r[2] for r in rows], end=[r[2] + r[3] for r in rows], score=[r[-1] for r in rows])
    score = lambda t, f: mean_ap(table(t), table(f), labels=['x', 'y'], videos='abc').at
    assert score(truth, found) == score(d.draw(st.permutations(truth)), d.draw(st.permutations(found)))

def test_labels_that_look_alike_are_said_and_empty_ones_refused():
    entry = lambda *labels: {'database': {'v': dict(duration=9, subset='train', annotations=[dict(segment=[i, i + 1], label=l) for i, l in enumerate(labels)])}}
    assert any("'cat ' and 'cat'" in o or "'cat' and 'cat '" in o for o in Annotations.from_dict(entry('cat', 'cat ')).notes)
    assert Annotations.from_dict(entry('cat', 'dog')).notes == ()
    for empty in ('', ' ', '\t'):
        with pytest.raises(BadInput, match='empty label'): Annotations.from_dict(entry('cat', empty))
