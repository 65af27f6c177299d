"A reproduction that is killed again and again ends with the numbers of one that was not, and several workers agree with one"
import random, time

import pytest

import faults, small
from loco.study.tables import bundle, records
from loco.study.experiments import plan, perform_all
from loco.core.config import Config

TOY = {'model.dim': 8, 'model.lcc_dim': 4, 'inference.top_k': 50, 'train.epochs': 1}

def command(data, out, *words):
    "Words of `loco reproduce` as a user types them"
    return ['reproduce', *words, '--data', data, '--out', out, *small.words(data, **TOY)]

def numbers(out):
    "What was measured, without how long it took"
    return {(o['slug'], o['seed']): (o['test'], o['history'], o['best_epoch']) for o in records(out)}

@pytest.fixture(scope='module')
def data(tmp_path_factory): return small.write(tmp_path_factory.mktemp('data')/'data', splits={'train': 8, 'validation': 2, 'test': 2})

def test_killed_and_continued(data, tmp_path):
    faults.warm_up()
    begin = time.perf_counter()
    code, said = faults.live(command(data, tmp_path/'whole', 'fig4', '--seeds', '1'))
    seconds, kills, rng = time.perf_counter() - begin, 0, random.Random(0)
    assert code == 0, said
    while True:
        life = faults.Life(command(data, tmp_path/'killed', 'fig4', '--seeds', '1'))
        code, said = life.end(rng.uniform(.2, .5)*seconds, 'SIGKILL' if kills < 3 else None)
        if not life.stopped: break
        kills += 1
    assert code == 0, said
    assert kills and numbers(tmp_path/'killed') == numbers(tmp_path/'whole')
    assert 'Fig. 4' in said and (tmp_path/'killed'/'fig4.png').stat().st_size

def test_workers_agree(data, tmp_path):
    jobs = plan(['fig4'], small.config(data, **TOY), seeds=1)
    for n in (1, 2): assert not perform_all(jobs, tmp_path/str(n), workers=n, tell=lambda s: None)
    assert numbers(tmp_path/'1') == numbers(tmp_path/'2')

def test_one_failure_spares_the_others(data, tmp_path):
    jobs, lines = plan(['fig4'], small.config(data, **TOY), seeds=1), []
    folder = jobs[0].folder(tmp_path)
    folder.mkdir(parents=True)
    (folder/'last.safetensors').write_bytes(b'not a checkpoint')
    failed = perform_all(jobs, tmp_path, tell=lines.append)
    assert list(failed) == [(jobs[0].slug, 0)] and 'last.safetensors cannot be read' in str(failed[jobs[0].slug, 0])
    assert [o['slug'] for o in records(tmp_path)] == [jobs[1].slug] and any('FAILED' in l for l in lines)

def test_pairs_see_the_same_batches(data):
    "Rows differ in the model only: the videos, their order and crops are a function of the seed"
    from loco.data.samples import VideoDataset
    from loco.training.objective import open_data, training_batches
    def seen(job):
        annotations, features = open_data(job.config)
        batches = training_batches(VideoDataset(annotations, features, job.config.clock, subset='train'), job.config, epoch=1)
        return [(b.videos, b.visual.sum().item(), tuple(b.mask.shape)) for b in batches]
    jobs = plan(['table2a', 'table2d'], small.config(data, **TOY), seeds=2)
    assert all(seen(j) == seen(jobs[0]) for j in jobs if j.seed == 0)
    assert seen(jobs[-1]) != seen(jobs[0])

def test_nothing_to_show(tmp_path):
    code, said = faults.live(['reproduce', 'fig4', '--show', '--out', tmp_path/'none'])
    assert code == 2 and 'holds no reproduction yet' in said and 'Traceback' not in said
