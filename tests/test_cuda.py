"What must hold on a GPU; skipped where there is none. `make test-cuda` runs it and leaves a report, runs/cuda.json"
import copy, itertools, json, os, subprocess, sys, time

import pytest
import torch

import small
from loco.core.config import Config
from loco.data.samples import Resident, VideoDataset
from loco.data.features import open_dataset
from loco.model.localizer import make_model, systems
from loco.model.network import LoCo
from loco.detection.nms import soft_nms
from loco.data.samples import Batch
from loco.core.checkpoint import load
from loco.detection.inference import candidates
from loco.training.objective import Objective, make_optimizer, training_batches
from loco.training.run import train, train_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
REPORT = small.ROOT/'runs'/'cuda.json'
PAPER = Config.preset('unav100-onepeace')
VARIANTS = [dict(cross=c, pyramid=p, lcc=l) for c, p, l in itertools.product(('cdp', 'fixed', 'global', 'none'), (True, False), (True, False))]

def inputs(cfg, B=3, T=96, seed=0):
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(T) < torch.tensor([T, 61, 40])[:, None]
    return torch.randn(B, T, cfg.visual_dim, generator=g), torch.randn(B, T, cfg.audio_dim, generator=g), mask

@pytest.mark.parametrize('kw', VARIANTS, ids=lambda o: '-'.join(map(str, o.values())))
def test_cpu_and_cuda_agree(kw):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cfg = Config.preset('stampsav').model.replace(dim=32, lcc_dim=16, scale_init=1., drop_path=0., **kw)
    torch.manual_seed(0)
    model = LoCo(cfg)
    twin, x = copy.deepcopy(model).cuda(), inputs(cfg)
    a, b = model(*x), twin(*(o.cuda() for o in x))
    for p, q in zip(a.logits + a.offsets + ([a.lcc] if cfg.lcc else []), b.logits + b.offsets + ([b.lcc] if cfg.lcc else [])):
        torch.testing.assert_close(p, q.cpu(), rtol=1e-4, atol=1e-4)

def test_half_precision_is_close():
    cfg = Config.preset('stampsav').model.replace(dim=32, lcc_dim=16, drop_path=0.)
    torch.manual_seed(0)
    model, x = LoCo(cfg).cuda(), [o.cuda() for o in inputs(cfg)]
    whole = model(*x)
    with torch.autocast('cuda', torch.bfloat16): half = model(*x)
    assert half.lcc.dtype == torch.float32
    torch.testing.assert_close(half.logits[0].float(), whole.logits[0], rtol=.05, atol=.1)

def test_soft_nms_agrees():
    g = torch.Generator().manual_seed(0)
    s = torch.rand(4, 500, 2, generator=g, dtype=torch.float64).cumsum(-1)
    p, c = torch.rand(4, 500, generator=g, dtype=torch.float64), torch.randint(0, 5, (4, 500), generator=g)
    for x, y in zip(soft_nms(s, p, c), soft_nms(s.cuda(), p.cuda(), c.cuda())): torch.testing.assert_close(x, y.cpu())

def test_resident_features_give_the_same_batches(tmp_path):
    cfg = small.config(small.write(tmp_path/'data'))
    annotations, features = open_dataset(cfg.data)
    sets = [VideoDataset(annotations, f, cfg.clock, subset='train') for f in (features, Resident(features, annotations.videos('train'), device='cuda'))]
    for a, b in zip(*(training_batches(o, cfg, epoch=0) for o in sets)):
        assert b.visual.is_cuda and torch.equal(a.visual, b.visual.cpu()) and torch.equal(a.audio, b.audio.cpu()) and torch.equal(a.mask, b.mask)

@pytest.mark.parametrize('precision', ['float32', 'bf16'])
def test_trains(tmp_path, precision):
    cfg = small.config(small.write(tmp_path/'data'), **{'train.device': 'cuda', 'train.precision': precision})
    run = train(cfg, tmp_path/'run', progress=False)
    assert run.history[-1]['total'] < run.history[0]['total']

def note(**numbers):
    "Add to the report: the device's name, the version of PyTorch, what was measured"
    known = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({**known, 'device': torch.cuda.get_device_name(), 'torch': torch.__version__, **numbers}, indent=1) + '\n')

@pytest.mark.parametrize('system', [k for k in systems if k != 'loco'])
def test_compared_systems_agree(system):
    "An operation whose path on a GPU computes something else, such as a convolution that loses its bias"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cfg = Config.preset('stampsav').model.replace(dim=32, system=system, scale_init=1., drop_path=0.)
    torch.manual_seed(0)
    model = make_model(cfg).eval()
    twin, x = copy.deepcopy(model).cuda(), inputs(cfg)
    a, b = model(*x), twin(*(o.cuda() for o in x))
    for p, q in zip(a.logits + a.offsets, b.logits + b.offsets): torch.testing.assert_close(p, q.cpu(), rtol=1e-4, atol=1e-4)

def trained(folder, data, **changes):
    cfg = small.config(data, **{'train.device': 'cuda', **changes})
    train(cfg, folder, progress=False)
    return load(folder/'last.safetensors')[0]

def test_runs_repeat(tmp_path):
    "A kernel whose result depends on the order in which threads arrive"
    data = small.write(tmp_path/'data')
    a, b = (trained(tmp_path/k, data) for k in 'ab')
    off = {k: (a[k].float() - b[k].float()).abs().max().item() for k in a if a[k].numel()}
    note(**{'largest difference of two equal runs': max(off.values())})
    assert max(off.values()) < 1e-3, max(off, key=off.get)

def test_resumes(tmp_path):
    "A run killed after an epoch forgets something that lives on the device"
    data, resume = small.write(tmp_path/'data'), 'import sys, torch, small; from pathlib import Path; from loco.training import run; '
    whole = trained(tmp_path/'whole', data)
    script = (resume + "cfg = small.config(Path(sys.argv[1]), **{'train.device': 'cuda'}); kept = run.save_run\n"
              "def once(r): kept(r); raise SystemExit(9)\nrun.save_run = once\nrun.train(cfg, sys.argv[2], progress=False)")
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(small.ROOT), str(small.ROOT/'tests')])}
    assert subprocess.run([sys.executable, '-c', script, str(data), str(tmp_path/'cut')], env=env).returncode == 9
    cut = trained(tmp_path/'cut', data)
    assert max((whole[k].float() - cut[k].float()).abs().max().item() for k in whole if whole[k].numel()) < 1e-3

def test_torchrun_with_one_process(tmp_path):
    data = small.write(tmp_path/'data')
    words = small.words(data, **{'train.device': 'cuda', 'train.epochs': 1})
    done = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=1', '-m', 'loco.program.main', 'train', '--quiet',
                           '--out', str(tmp_path/'run'), *words], env={**os.environ, 'PYTHONPATH': str(small.ROOT)}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and (tmp_path/'run'/'model.safetensors').exists(), done.stderr

def paper_batch(seed=0, videos=16, steps=256, events=3):
    "A batch of UnAV-100's size"
    g, m = torch.Generator().manual_seed(seed), PAPER.model
    start, length = torch.rand(2, videos, events, generator=g)*torch.tensor([180., 70.])[:, None, None]
    return Batch(torch.randn(videos, steps, m.visual_dim, generator=g), torch.randn(videos, steps, m.audio_dim, generator=g), torch.ones(videos, steps, dtype=torch.bool),
                 torch.stack([start, start + length + 1], -1), torch.randint(0, m.classes, (videos, events), generator=g), [str(i) for i in range(videos)],
                 torch.full((videos,), 60., dtype=torch.float64))

def seconds(f, times=10):
    "Middle time of a call, the queue emptied before and after"
    taken = []
    for _ in range(times + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        f()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return sorted(taken[3:])[times//2]

@pytest.mark.parametrize('precision', ['float32', 'bf16'])
@pytest.mark.parametrize('way', ['eager', 'compiled'])
def test_step_at_the_papers_size(precision, way):
    "A step that fails, or whose loss is not finite, at the size of UnAV-100; its time and memory go into the report"
    cfg = PAPER.override({'train.precision': precision})
    torch.manual_seed(0)
    objective = Objective(make_model(cfg.model), cfg).cuda().train()
    optimizer, batch = make_optimizer(objective.model, cfg.train), paper_batch().to('cuda')
    if way == 'compiled': objective.model.compile()
    torch.cuda.reset_peak_memory_stats()
    terms = {}
    taken = seconds(lambda: terms.update(train_step(objective, optimizer, batch, lr=1e-4, cfg=cfg.train)))
    note(**{f'step {precision} {way}': dict(seconds=taken, gigabytes=torch.cuda.max_memory_allocated()/1e9, minutes_of_45_epochs=45*6489/16*taken/60)})
    assert all(v.isfinite() for v in terms.values()), terms

def test_detection_at_the_papers_size():
    torch.manual_seed(0)
    model, batch = make_model(PAPER.model).cuda().eval(), paper_batch().to('cuda')
    with torch.inference_mode():
        out = model(batch.visual, batch.audio, batch.mask)
        note(**{'detection of 16 videos': dict(network=seconds(lambda: model(batch.visual, batch.audio, batch.mask)), after=seconds(lambda: soft_nms(*candidates(out))))})
