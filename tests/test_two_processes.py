"Training on several processes, on one node or on two, is training on one"
import json, os, signal, socket, subprocess, sys, time

import pytest
import torch

import faults, small
from loco.core.checkpoint import load

STEPS = {'model.drop_path': 0, 'train.epochs': 4, 'train.warmup': 1}        # 16 videos, 4 a step: 20 steps

def start(data, out, *starter):
    "Train through the program, under torchrun where it has words of its own"
    torchrun = ['-m', 'torch.distributed.run', *starter] if starter else []
    env = {**os.environ, 'PYTHONPATH': str(small.ROOT), 'OMP_NUM_THREADS': '1'}
    words = small.words(data, **STEPS)
    return subprocess.Popen([sys.executable, *torchrun, '-m', 'loco.program.main', 'train', '--quiet', '--out', str(out), *words],
                            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

def finish(*started):
    for said, p in [(p.communicate(timeout=600)[0], p) for p in started]: assert p.returncode == 0, said

def port():
    "A port that nobody uses"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def two_nodes(data, out):
    "Two agents, as on two machines that know each other by an address, with two processes each"
    at = f'--rdzv-endpoint=127.0.0.1:{port()}'
    return [start(data, out, '--nnodes=2', '--nproc-per-node=2', '--rdzv-backend=c10d', '--rdzv-id=loco', at) for _ in range(2)]

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "Folders of the same training by one process, by two, and by two nodes of two"
    folder = tmp_path_factory.mktemp('trained')
    data = small.write(folder/'data')
    finish(start(data, folder/'1'))
    finish(start(data, folder/'2', '--standalone', '--nproc-per-node=2'))
    finish(*two_nodes(data, folder/'2x2'))
    return folder

def rows(folder): return [json.loads(l) for l in (folder/'history.jsonl').read_text().splitlines()]

@pytest.mark.parametrize('several', ['2', '2x2'])
def test_several_processes_train_the_same_model(trained, several):
    "A loss, a gradient or weights that depend on how many processes, on how many nodes, share the work"
    for x, y in zip(rows(trained/'1'), rows(trained/several), strict=True):
        for k in ('cls', 'reg', 'lcc', 'sigma', 'tau'): assert x[k] == pytest.approx(y[k], rel=1e-4)
        assert x['grad'] == pytest.approx(y['grad'], rel=1e-3)
    (a, _), (b, _) = (load(trained/n/'last.safetensors') for n in ('1', several))
    assert a.keys() == b.keys()
    weights = [k for k in a if k.startswith('objective:model.') and a[k].is_floating_point()]
    off = max((a[k] - b[k]).abs().max().item() for k in weights)
    assert off < 2e-3, off                        # Adam divides by the gradient's size, which magnifies rounding of tiny gradients
    assert torch.allclose(a['objective:detection.positives'], b['objective:detection.positives'])

def test_an_elastic_restart_goes_on_bit_for_bit(trained, tmp_path):
    "One of two ranks is killed: torchrun starts both again, and they end where two that nobody disturbed do"
    p = start(trained/'data', tmp_path/'run', '--standalone', '--nproc-per-node=2', '--max-restarts=1')
    while not (tmp_path/'run'/'history.jsonl').exists():
        assert p.poll() is None, p.communicate()[0]
        time.sleep(.05)
    os.kill(faults.rank_of(p.pid, 1), signal.SIGKILL)
    finish(p)
    (a, _), (b, _) = (load(o/'last.safetensors') for o in (trained/'2', tmp_path/'run'))
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []

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
