"Training on two processes is training on one"
import json

import pytest
import torch

import faults, small
from loco.core.checkpoint import load

def run(data, out, processes):
    "Train through the program, started by torchrun when there are several processes"
    words = ['train', '--quiet', '--out', out, *small.words(data, **{'model.drop_path': 0, 'train.epochs': 1, 'train.warmup': 0})]
    if processes == 1: return faults.live(words)
    p = faults.torchrun(words)
    said = p.communicate(timeout=600)[0]
    return p.returncode, said

def test_two_processes_train_the_same_model(tmp_path):
    data = small.write(tmp_path/'data')
    for n in (1, 2):
        code, said = run(data, tmp_path/str(n), n)
        assert code == 0, said
    (a, _), (b, _) = (load(tmp_path/str(n)/'last.safetensors') for n in (1, 2))
    assert a.keys() == b.keys()
    rows = [[json.loads(l) for l in (tmp_path/str(n)/'history.jsonl').read_text().splitlines()] for n in (1, 2)]
    for x, y in zip(*rows):
        for k in ('cls', 'reg', 'lcc', 'sigma', 'tau'): assert x[k] == pytest.approx(y[k], rel=1e-4)
    weights = [k for k in a if k.startswith('objective:model.') and a[k].is_floating_point()]
    off = max((a[k] - b[k]).abs().max().item() for k in weights)
    assert off < 2e-3, off                        # Adam divides by the gradient's size, which magnifies rounding of tiny gradients
    assert torch.allclose(a['objective:detection.positives'], b['objective:detection.positives'])

def tiny(folder):
    small.write(folder/'data', splits={'train': 8, 'validation': 2, 'test': 2})
    return folder

def test_a_lost_rank_is_named(tmp_path):
    "One of two ranks is killed: the other ends soon, and says who is gone and what to do"
    seconds, said = faults.lose_rank(tiny(tmp_path), tmp_path)
    assert seconds is not None and seconds < 30, said
    assert 'process 1 of 2 has ended' in said and 'the same command goes on' in said, said

def test_validation_may_last_longer_than_a_collective_waits(tmp_path):
    status, said = faults.validate_long(tiny(tmp_path), tmp_path, pause=12)
    assert status == 0, said
