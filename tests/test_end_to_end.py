"From a data set to events, through the program as a person uses it, and what it says when something is wrong"
import json, os, shutil

import numpy as np
import pytest
import torch

import faults, small
from loco.data.features import open_dataset
from loco.data.samples import VideoDataset, collate
from loco.detection.tables import read_predictions
from loco.model.network import LoCo

def loco(*args, ok=True, cwd=None):
    "Run the program; return its exit status and everything it printed"
    def prepare():
        os.environ.update(COLUMNS='160', NO_COLOR='1')
        if cwd: os.chdir(cwd)
    faults.warm_up()
    code, said = faults.live(args, prepare)
    if ok: assert code == 0, said
    return code, said

@pytest.fixture(scope='module')
def data(tmp_path_factory): return small.write(tmp_path_factory.mktemp('data')/'small')

@pytest.fixture(scope='module')
def runs(data, tmp_path_factory):
    "A trained LoCo and a trained base"
    top = tmp_path_factory.mktemp('runs')
    loco('train', '--out', top/'loco', '--quiet', *small.words(data))
    loco('train', '--out', top/'base', '--quiet', *small.words(data, **{'model.cross': 'none', 'model.lcc': 'false', 'model.pyramid': 'false'}))
    return top

def test_train_eval_plot(runs):
    said = loco('eval', runs/'loco', runs/'base', '--quiet')[1]
    assert all(w in said for w in ('loco', 'base', '0.5', '0.9', 'Avg.'))
    found = read_predictions(runs/'loco'/'predictions_test.json')
    metrics = json.loads((runs/'loco'/'metrics_test.json').read_text())
    assert len(found['score']) and set(metrics) == {'mAP', *(f'mAP@0.{i}' for i in range(5, 10)), 'of'}
    loco('plot', runs/'loco', runs/'base', '--videos', 2)
    pictures = sorted(p.name for p in (runs/'plots').rglob('*.png'))
    assert len(pictures) == 3 and 'curves.png' in pictures

def test_run_folder_is_complete(runs):
    assert {'run.json', 'config.json', 'model.safetensors', 'last.safetensors', 'history.jsonl'} <= {p.name for p in (runs/'loco').iterdir()}
    history = [json.loads(l) for l in (runs/'loco'/'history.jsonl').read_text().splitlines()]
    assert [o['epoch'] for o in history] == [1, 2, 3]
    assert {'total', 'cls', 'reg', 'lcc', 'sigma', 'tau', 'mAP', 'lr'} <= set(history[0])

def test_saved_model_serves_alone(runs, data):
    "A run's folder is all that is needed to detect: it knows sizes, class names and clock"
    from loco.detection.inference import detect
    model = LoCo.from_pretrained(runs/'loco')
    annotations, features = open_dataset(small.config(data).data)
    batch = collate([VideoDataset(annotations, features, model.clock, subset='test')[0]])
    found = detect(model, batch)
    assert set(found['label']) <= set(annotations.labels) and (found['end'] <= float(batch.durations[0])).all()

def test_same_command_same_weights(runs, data, tmp_path):
    loco('train', '--out', tmp_path/'again', '--quiet', *small.words(data))
    a, b = (LoCo.from_pretrained(p).state_dict() for p in (runs/'loco', tmp_path/'again'))
    assert all(torch.equal(a[k], b[k]) for k in a)

# ---------------------------------------------------------------- what a person can get wrong

@pytest.mark.parametrize('args, says', [
    (['train', '--model.crss', 'global'], "model.cross"),
    (['train', '--model.cross', 'globl'], 'cdp, cdp-keys, fixed, global, none'),
    (['train', '--train.lr', 'fast'], 'train.lr must be a number'),
    (['train', '--train.lr'], 'needs a value'),
    (['train', '--model.heads', '5'], 'divisible'),
    (['train', '--preset', 'stampsv'], 'stampsav'),
    (['train', '--data', 'nowhere'], 'nowhere'),
    (['train', '--config', 'nowhere.json'], 'nowhere.json'),
    (['train', '--model.classes', '7'], 'model.classes'),
    (['train', '--model.visual_dim', '7'], 'model.visual_dim'),
    (['eval', 'nowhere'], 'holds no trained model'),
    (['plot', 'nowhere'], 'nowhere'),
    (['detect', 'nowhere', 'x.mp4'], 'nowhere'),
], ids=lambda o: ' '.join(o) if isinstance(o, list) else '')
def test_wrong_words(args, says, tmp_path):
    code, said = loco(*args, *(['--out', tmp_path/'run'] if args[0] == 'train' else []), ok=False, cwd=small.ROOT)
    assert code != 0 and says in said, said
    assert 'Traceback' not in said and not (tmp_path/'run').exists()

@pytest.mark.parametrize('words', [['--help'], ['train', '--help'], ['eval', '--help'], ['plot', '--help'], ['detect', '--help'], ['config']],
                         ids=' '.join)
def test_help(words):
    said = loco(*words)[1]
    assert len(said) > 200 and 'Traceback' not in said

def _break_labels(d): next(iter(d['database'].values()))['annotations'][0].pop('label')
def _break_end(d): next(iter(d['database'].values()))['annotations'][0]['segment'][1] = 1e4
def _break_order(d): next(iter(d['database'].values()))['annotations'][0]['segment'].reverse()
def _break_split(d): [o.update(subset='train') for o in d['database'].values()]
def _break_video(d): d['database']['unseen'] = dict(next(iter(d['database'].values())))

@pytest.mark.parametrize('harm, says', [(_break_labels, 'label'), (_break_end, 'outside'), (_break_order, 'starts at'), (_break_split, 'no video in split'),
                                        (_break_video, 'unseen')], ids=lambda o: getattr(o, '__name__', ''))
def test_wrong_annotations(data, tmp_path, harm, says):
    root = shutil.copytree(data, tmp_path/'data')
    d = json.loads((root/'annotations.json').read_text())
    harm(d)
    (root/'annotations.json').write_text(json.dumps(d))
    code, said = loco('train', '--out', tmp_path/'run', *small.words(data, **{'data.root': root}), ok=False)
    assert code == 2 and says in said and 'Traceback' not in said, said
    assert not (tmp_path/'run').exists()

@pytest.mark.parametrize('file', ['visual.npy', 'audio.npy', 'manifest.json'])
def test_damaged_store(data, tmp_path, file):
    root = shutil.copytree(data, tmp_path/'data')
    path = root/'features'/file
    path.write_bytes(path.read_bytes()[:path.stat().st_size//2])
    code, said = loco('train', '--out', tmp_path/'run', *small.words(data, **{'data.root': root}), ok=False)
    assert code == 2 and file in said and 'Traceback' not in said, said

def test_damaged_checkpoint(runs, tmp_path):
    run = shutil.copytree(runs/'loco', tmp_path/'run')
    path = run/'model.safetensors'
    path.write_bytes(path.read_bytes()[:1000])
    code, said = loco('eval', run, ok=False)
    assert code == 2 and 'model.safetensors' in said and 'Traceback' not in said, said
