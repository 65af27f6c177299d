"A run that is killed at random moments ends with the weights of the run that was not"
import json, multiprocessing, random, time

import pytest
import torch

import small
from loco.core.checkpoint import load
from loco.training.run import train

KILLS = 20

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
    cfg = small.config(data, **{'train.epochs': 9, 'train.ema': ema, 'model.dim': 8, 'model.lcc_dim': 4, 'inference.top_k': 50})
    life(cfg, tmp_path/'warm')                                # pages, caches
    begin = time.perf_counter()
    life(cfg, tmp_path/'whole')
    epoch = (time.perf_counter() - begin)/cfg.train.total_epochs
    whole, rng, kills, runs = outcome(tmp_path/'whole'), random.Random(0), 0, 0
    while kills < KILLS/2 or not runs:
        folder = tmp_path/f'killed{runs}'
        while life(cfg, folder, rng.uniform(0, 3)*epoch): kills += 1
        assert same(outcome(folder), whole)
        runs += 1
