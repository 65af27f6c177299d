"A command that is killed at random moments, or finds no room or no rights, ends as one that was not disturbed"
import json, multiprocessing, random, time

import pytest
import torch

import faults, small
from loco.core.checkpoint import load
from loco.training.run import train

KILLS = 3                                                      # of each kind here, and 2 of each command; `make faults` does a hundred

def life(cfg, folder, seconds=None):
    "Train in a process of its own, killed after some seconds; whether it was"
    p = multiprocessing.get_context('fork').Process(target=train, args=(cfg, folder), kwargs={'progress': False})
    p.start()
    p.join(seconds)
    killed = p.is_alive()
    if killed: p.kill(); p.join()
    else: assert p.exitcode == 0
    return killed

def outcome(folder):
    "All numbers of a finished run, and its history without the times"
    parts = [load(folder/name)[0] for name in ('last.safetensors', 'model.safetensors')]
    rows = [json.loads(l) for l in (folder/'history.jsonl').read_text().splitlines()]
    return parts, [{k: v for k, v in o.items() if k != 'seconds'} for o in rows]

def same(a, b):
    return a[1] == b[1] and all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in zip(a[0], b[0]))

@pytest.mark.parametrize('ema', [0., .9], ids=['plain', 'averaged'])
def test_killed_and_continued(tmp_path, ema):
    torch.set_num_threads(1)
    data = small.write(tmp_path/'data', splits={'train': 8, 'validation': 2, 'test': 1})
    cfg = small.config(data, **{'train.epochs': 5, 'train.ema': ema, 'model.dim': 8, 'model.lcc_dim': 4, 'inference.top_k': 50})
    life(cfg, tmp_path/'warm')                                # pages, caches
    begin = time.perf_counter()
    life(cfg, tmp_path/'whole')
    epoch = (time.perf_counter() - begin)/cfg.train.total_epochs
    whole, rng, kills = outcome(tmp_path/'whole'), random.Random(0), 0
    while life(cfg, tmp_path/'killed', rng.uniform(.3, 2)*epoch if kills < KILLS else None): kills += 1
    assert kills and same(outcome(tmp_path/'killed'), whole)

# ---------------------------------------------------------------- the program; `python nbs/_tools/faults.py` does this at length

@pytest.fixture(scope='module')
def world(tmp_path_factory):
    torch.set_num_threads(1)
    faults.warm_up()
    return faults.make_world(tmp_path_factory.mktemp('world'))

@pytest.mark.parametrize('name', ['train', 'data pack', 'eval'])
def test_command_survives_kills(world, tmp_path, name):
    command = faults.COMMANDS[name]
    whole, seconds = faults.undisturbed(command, world, tmp_path/'whole'/'run')
    seen = faults.kill(name, command, world, tmp_path, whole, seconds, kills=2)
    assert sum(seen['kills'].values()) == 2 and seen['ends'] == seen['identical'] and not seen['faults']

def test_no_room_and_no_rights(world, tmp_path):
    "A full disk at each file, a read-only folder and unreadable annotations are said by name, and nothing is lost"
    command = faults.COMMANDS['data pack']
    ends = world/'ends'/'data pack'
    ends.mkdir(parents=True)
    whole, _ = faults.undisturbed(command, world, ends/'run')
    for what in (faults.fill, faults.deny):
        seen = what('data pack', command, world, tmp_path/what.__name__, whole)
        assert seen['cases'] >= 2 and seen['cases'] == seen['said'] == seen['identical'], seen['faults']

def test_differences_are_found(tmp_path):
    "The comparison sees a changed number, a changed weight and a file that is left over, and overlooks durations"
    from safetensors.torch import save_file
    def folder(name, score=1., weight=0., seconds=1., extra=False):
        (at := tmp_path/name).mkdir()
        (at/'metrics.json').write_text(json.dumps({'mAP': score, 'seconds': seconds}))
        save_file({'w': torch.full((3,), weight)}, at/'model.safetensors')
        if extra: (at/'.model.tmp-1').write_text('half')
        return faults.outcome(at)
    whole = folder('whole')
    assert not faults.differences(whole, folder('slow', seconds=9.))
    assert faults.differences(whole, folder('other', score=2.)) == ['metrics.json']
    assert faults.differences(whole, folder('weights', weight=1e-7)) == ['model.safetensors']
    assert faults.differences(whole, folder('left', extra=True)) == ['.model.tmp-1']
