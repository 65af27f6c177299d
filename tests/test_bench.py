"Every benchmark runs, every fast path equals its naive twin, and starting is quick; no time is judged but that of importing"
import json, math, os, statistics, subprocess, sys
from pathlib import Path
import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from loco.data.invent import random_annotations
from loco.study import bench, growth, measure
from loco.program import bench as cli_bench
from loco.detection.metric import mean_ap
from loco.model.network import LoCo
from loco.detection.nms import soft_nms
from loco.detection.targets import assign_targets

ROOT = Path(__file__).resolve().parents[1]
TINY = measure.sizes['tiny']

# ---------------------------------------------------------------- every benchmark

OPTIONS = {'imports': [dict(times=1)], 'epoch': [dict(precision='float32'), dict(precision='bf16')],
           'train': [*(dict(variant=v) for v in measure.variants), dict(plain=True), dict(precision='bf16')]}
RUNS = [(name, o) for name in bench.benchmarks for o in OPTIONS.get(name, [{}])]

@pytest.mark.parametrize('name, options', RUNS, ids=lambda o: o if isinstance(o, str) else '-'.join(map(str, o.values())))
def test_runs(name, options):
    "At toy size, in this process, each returns figures that can be shown and written as JSON"
    said = json.loads(json.dumps(bench.answer(dict(name=name, size='tiny', device='cpu', threads=1, options=options)), allow_nan=False))
    assert len(said['load']) == 2
    for f in said.get('figures', []):
        assert f['value'] is None or math.isfinite(f['value'])
        assert cli_bench.show(f['value'], f['unit']) and isinstance(cli_bench.goal(f), str)
    assert name == 'machine' or said['figures']

def test_both_lists_name_the_same_benchmarks():
    assert {*cli_bench.benchmarks, 'machine'} == set(bench.benchmarks) | set(cli_bench.homes) and list(cli_bench.models) == list(measure.variants)

def test_every_job_is_one_a_benchmark_takes():
    import importlib, inspect
    for device in ('cpu', 'cuda'):
        for name, options in cli_bench.jobs(device=device):
            home = importlib.import_module(cli_bench.homes.get(name, 'loco.study.bench'))
            assert options.keys() - {'keep'} <= inspect.signature(home.benchmarks[name]).parameters.keys()
            assert options.get('variant', 'LoCo') in measure.variants

def test_command_reports(tmp_path):
    "Processes, table and JSON of the real command"
    app, out = Typer(), tmp_path/'deep'/'speed.json'
    app.command()(cli_bench.bench)
    done = CliRunner().invoke(app, ['--tiny', '--only', 'nms', '--only', 'inference', '--threads', '1', '--json', str(out)])
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text(encoding='utf-8'))
    assert [o['benchmark'] for o in report['results']] == ['nms', 'inference'] and report['machine']['matrix']['float32']['matmul'] > 0
    assert 'peak memory' in done.output and 'faster than the loops' in done.output
    assert report['results'][1]['figures'][-1]['value'] > 5e7

def test_films():
    "A film from the file to its events, in a process of its own; the goal stands at the film that moves"
    if not cli_bench.has_media(): pytest.skip('the extra media is not installed')
    moving, still = (cli_bench.isolated('video', size='tiny', threads=1, **o)['figures'] for o in ({}, dict(still=True)))
    assert [f['what'] for f in moving] == [f['what'] for f in still] and all(f['value'] > 0 for f in moving + still)
    assert any('above' in f for f in moving) and not any('above' in f for f in still)

def test_what_gives_memory_back_has_no_goals():
    "Goals are for what the program does; `keep=False` is there for comparison"
    kept, given = (cli_bench.isolated('inference', size='tiny', threads=1, **o)['figures'] for o in ({}, dict(keep=False)))
    assert any('below' in f for f in kept) and not any({'below', 'above'} & f.keys() for f in given)

def test_a_failure_says_which():
    with pytest.raises(RuntimeError, match='(?s)benchmark nms.*colour'): cli_bench.isolated('nms', size='tiny', threads=1, colour='red')
    with pytest.raises(ValueError, match='inference'): cli_bench.jobs(['infrence'])
    with pytest.raises(ValueError, match='base'): cli_bench.jobs(chosen=('bse',))

# ---------------------------------------------------------------- twins

@pytest.mark.parametrize('seed', range(6))
def test_soft_nms_equals_its_loop(seed):
    data = [x.double() if x.is_floating_point() else x for x in bench.crowd(3, 150 + 40*seed, seed=seed)]
    for v in range(3):
        one = [x[v] for x in data]
        kept = measure.soft_nms_loop(*(x.tolist() for x in one), sigma=.2 + .2*seed, keep=60)
        s, p, c = soft_nms(*one, sigma=.2 + .2*seed, max_segments=60)
        assert c.tolist() == [o[2] for o in kept] and s.tolist() == [o[1] for o in kept]
        np.testing.assert_allclose(p, [o[0] for o in kept], rtol=1e-12)

@pytest.mark.parametrize('seed', range(3))
def test_mean_ap_equals_its_transcription(seed):
    truth = random_annotations(40, classes=12, seed=seed).table('test')
    found = bench.clumsy(truth, each=30, seed=seed)
    assert abs(mean_ap(truth, found).average - measure.mean_ap_loop(truth, found)) < 1e-12

@pytest.mark.parametrize('seed', range(4))
def test_targets_equal_their_loop(seed):
    g = torch.Generator().manual_seed(seed)
    segments = (70*torch.rand(3, 6, 2, generator=g) - 3).sort(-1).values
    labels = torch.randint(-1, 4, (3, 6), generator=g)      # few classes: several events of one class overlap
    ranges = measure.settings(TINY).model.ranges
    slow = measure.assign_targets_loop(segments, labels, steps=64, ranges=ranges)
    fast = assign_targets(segments, labels, steps=64, ranges=ranges, classes=4)
    assert sorted(slow) == [tuple(o) for o in fast.index.tolist()]
    torch.testing.assert_close(torch.tensor([slow[k] for k in sorted(slow)]), fast.offsets, atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('T, window', [(1, 8), (7, 4), (40, 8), (53, 16)])
def test_dynamic_perception_equals_its_loop(T, window):
    "Values and gradients, with windows that leave the sequence and videos of different lengths"
    torch.manual_seed(T)
    layer, mask = measure.moving(16, window=window), torch.arange(T) < torch.tensor([[T], [(T + 1)//2]])
    fast, slow = (torch.randn(3, 2, T, 16, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in 'fs')
    a, b = layer(*fast, mask), measure.cdp_loop(layer, *slow, mask)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    weight = torch.randn(a.shape)
    for y in (a, b): (y*weight).sum().backward()
    torch.testing.assert_close(fast.grad[0], slow.grad[0], atol=1e-4, rtol=1e-3)

@pytest.mark.parametrize('variant', measure.variants)
def test_fast_layers_equal_pytorchs(variant):
    torch.manual_seed(0)
    model, batch = LoCo(measure.settings(TINY, variant=variant).model.replace(drop_path=0, scale_init=1.)), measure.random_batch(TINY)
    batch.mask[1, 41:] = False
    both = []
    for plain in (False, True):
        model.zero_grad()
        with measure.plain_layers(plain):
            out = model.train()(batch.visual, batch.audio, batch.mask)
            loss = sum(o.square().mean() for o in out.logits + out.offsets) + (0 if out.lcc is None else out.lcc)
            loss.backward()
        both.append((*out.flat()[:2], *(p.grad for p in model.parameters() if p.grad is not None)))
    for a, b in zip(*both, strict=True): torch.testing.assert_close(a, b, atol=1e-3*float(b.detach().abs().max() + 1), rtol=1e-3)

def test_windows_equal_a_masked_matrix():
    assert growth.naive_attention(TINY, steps=200)['steps'] == 200         # compares the two before it times them

# ---------------------------------------------------------------- growth

def test_memory_of_dynamic_perception_is_linear():
    "Memory is counted, not timed, so its growth can be tested: eight times the length, eight times the memory"
    bytes_ = [o['bytes'] for o in growth.grow(measure.moving(32), TINY.__class__(dim=32, longest=4096, seconds=.001))]
    assert len(bytes_) == 5 and bytes_[-1] < 1.1*8*bytes_[1]

def test_peak_counts_what_is_held_at_once():
    x = torch.ones(1000, 1000)
    assert 3.9e6 < growth.peak_of(lambda: (x + 1).sum()) < 4.2e6
    assert 1.19e7 < growth.peak_of(lambda: ((x + 1) + (x + 2)).sum()) < 1.25e7

# ---------------------------------------------------------------- starting

def python(program, *words):
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', program, *words], capture_output=True, text=True, env=env)
    assert not done.returncode, done.stderr
    return done.stdout

TIMES = 'import time; a = time.perf_counter(); import torch; b = time.perf_counter(); import loco; loco.Config; print(b - a, time.perf_counter() - b)'

def test_import_loco_adds_little_to_import_torch():
    "Medians over fresh processes: less than 0.3 s, or on a slow or busy machine less than a quarter of what torch takes there"
    torch_s, loco_s = map(statistics.median, zip(*(map(float, python(TIMES).split()) for _ in range(3))))
    assert loco_s < max(.3, torch_s/4)

@pytest.mark.parametrize('module', ['loco', 'loco.program.main', 'loco.program.bench'])
def test_does_not_import_torch(module):
    assert python(f'import sys, {module}; print("torch" in sys.modules)').strip() == 'False'

@pytest.mark.parametrize('words', [['--help'], ['train', '--help'], ['config']])
def test_program_answers_without_torch(words):
    said = python(f'''import sys
from loco.program.main import main
sys.argv = ["loco", *{words}]
try: main()
except SystemExit as e: assert not e.code
print("torch loaded:", "torch" in sys.modules)''')
    assert 'torch loaded: False' in said
