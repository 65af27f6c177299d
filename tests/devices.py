"What an accelerator would punish is found without one: mixed devices, reads by the host, double precision"
import copy, dataclasses

import numpy as np
import pytest
import torch

import strict_device
from strict_device import Strict, on_device
from loco.core.config import Config
from loco.data.samples import Sample, collate
from loco.detection.inference import predict
from loco.detection.nms import soft_nms
from loco.detection.targets import assign_targets
from loco.model.localizer import make_model, systems
from loco.training.objective import Average, Objective, make_optimizer
from loco.training.run import train_step

try: strict_device.register()
except (ImportError, AttributeError): pytest.skip('this PyTorch takes no device written in Python', allow_module_level=True)

VARIANTS = {'LoCo': {}, 'global': dict(cross='global'), 'fixed': dict(cross='fixed'), 'cdp-keys': dict(cross='cdp-keys'), 'softened': dict(target='softened'),
            'diagonal': dict(target='diagonal'), 'base': dict(cross='none', lcc=False, pyramid=False), 'guided': dict(guided=True, border=True),
            **{k: dict(system=k) for k in systems if k != 'loco'}}
each = pytest.mark.parametrize('change', VARIANTS.values(), ids=VARIANTS)

def config(change):
    cfg = Config.preset('stampsav').override({'model.dim': 16, 'model.lcc_dim': 8, 'model.levels': 4, 'model.max_steps': 64})
    return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, **change))

def video(i, steps, cfg):
    rng = np.random.default_rng(i)
    visual, audio = (rng.normal(size=(steps, n)).astype('f4') for n in (cfg.model.visual_dim, cfg.model.audio_dim))
    return Sample(f'v{i}', visual, audio, np.array([[1, 9], [3, 30], [2, 20]], 'f4'), np.array([1, 2, 1]), steps*.25)

def batch(cfg): return collate([video(0, 50, cfg), video(1, 64, cfg), video(2, 33, cfg)])

def objective(cfg):
    torch.manual_seed(0)
    return Objective(make_model(cfg.model), cfg)

def host(x): return x.detach().bare if isinstance(x.detach(), Strict) else x.detach()

def step(cfg, obj, data, precision='float32'):
    "One whole training step with everything that a run does in it: loss terms, gradients, averaged weights"
    train = dataclasses.replace(cfg.train, clip=1., precision=precision)
    optimizer = make_optimizer(obj.model, train)
    average = Average(obj.model, decay=.999)
    torch.manual_seed(1)
    terms = train_step(obj.train(), optimizer, data, lr=1e-3, cfg=train)
    average.update(obj.model, 0)
    return terms, {k: p.grad for k, p in obj.named_parameters() if p.grad is not None}, average.weights

@each
def test_training_step(change):
    "Devices that mix, more than two reads in a whole step, double precision where MPS has none, another result than the CPU's"
    cfg = config({**change, 'drop_path': 0.})
    here, data = objective(cfg), batch(cfg)
    there = copy.deepcopy(here)
    terms, grads, weights = step(cfg, here, data)
    with strict_device.strict_device(float64=False) as device:
        moved = data.to(device.name)
        device.reads.clear()
        terms_there, grads_there, weights_there = step(cfg, on_device(there), moved)
        reads = device.reads.copy()
    assert reads.total() <= 2, reads
    for k in terms: assert torch.allclose(host(terms_there[k]), terms[k], rtol=1e-4, atol=1e-5), k
    assert grads.keys() == grads_there.keys()
    for k in grads: assert torch.allclose(host(grads_there[k]), grads[k], rtol=1e-3, atol=1e-5), k
    for k in weights: assert torch.allclose(host(weights_there[k]), weights[k], atol=2e-3), k      # Adam makes a step of 0.001 of the smallest rounding

class Split:
    "A data set of three videos in memory"
    subset = 'test'
    def __init__(self, cfg):
        self.samples = batch_samples(cfg)
        self.videos = [s.video for s in self.samples]
        self.annotations = type('Table', (), dict(labels=tuple(f'class {i}' for i in range(cfg.model.classes)), duration={s.video: s.duration for s in self.samples}))
        self.clock = cfg.clock
    def __len__(self): return len(self.samples)
    def __getitem__(self, i): return self.samples[i]

def batch_samples(cfg): return [video(0, 50, cfg), video(1, 64, cfg), video(2, 33, cfg)]

@each
def test_predict(change, monkeypatch):
    "More than one read before the events are fetched, more than one transfer to fetch them, other events than the CPU's"
    cfg = config(change)
    model = objective(cfg).model.eval()
    there, data = copy.deepcopy(model), Split(cfg)
    found = predict(model, data, cfg=cfg.inference)
    monkeypatch.setattr(torch, 'inference_mode', torch.no_grad)          # wrapped tensors have no version counter in inference mode
    with strict_device.strict_device(float64=False) as device:
        found_there = predict(on_device(there), data, cfg=cfg.inference)
    what = sorted(k for k, _ in device.reads.elements())
    assert what == ['to the host', 'tolist'], device.reads
    for k in ('video', 'label'): assert (found[k] == found_there[k]).all()
    for k in ('start', 'end', 'score'): np.testing.assert_allclose(found_there[k], found[k], rtol=1e-4, atol=1e-5)

def test_targets_on_a_device_are_those_of_the_cpu():
    "The running count that replaces `nonzero` loses, adds or moves a positive; padding, a mask, no event, a class too many"
    g = torch.Generator().manual_seed(0)
    ranges = (0, 4), (4, 8), (8, float('inf'))
    for case in range(20):
        start, length = torch.rand(2, 3, case % 6, generator=g)*30
        segments, labels = torch.stack([start, start + length], -1).round(), torch.randint(-1, 3, (3, case % 6), generator=g)
        kw = dict(steps=30, ranges=ranges, classes=3, mask=torch.arange(30)[None] < torch.tensor([[30], [9], [0]]))
        with strict_device.strict_device() as device:
            there = assign_targets(Strict(segments), Strict(labels), **{**kw, 'mask': Strict(kw['mask'])})
            assert device.reads.total() == 1
        here = assign_targets(segments, labels, **kw)
        assert torch.equal(host(there.cls), here.cls) and torch.equal(host(there.index), here.index) and torch.equal(host(there.offsets), here.offsets)
    with strict_device.strict_device(), pytest.raises(ValueError, match='class 3, the model has 3 classes'):
        assign_targets(Strict(segments), Strict(torch.full_like(labels, 3)), **{**kw, 'mask': None})

@pytest.mark.parametrize('candidates, coarse', [(128, True), (300, False)], ids=['ties and duplicates', 'columns that join late'])
def test_soft_nms_on_a_device_is_that_of_the_cpu(candidates, coarse):
    "All rounds without a question differ from rounds that stop early: padding, videos without candidates"
    g = torch.Generator().manual_seed(0)
    for case in range(6):
        start = torch.randint(0, 12, (4, candidates, 1), generator=g).double()
        scores = torch.randint(1, 9, (4, candidates), generator=g)/8 if coarse else 1 - .3*torch.rand(4, candidates, generator=g)
        segments = torch.cat([start, start + torch.randint(0, 6, (4, candidates, 1), generator=g)], -1)
        labels = torch.randint(-1, 3, (4, candidates), generator=g)
        labels[0] = -1
        kw = dict(sigma=(.1, .4)[case % 2], min_score=(1e-3, .2, 0.)[case % 3], max_segments=(100, 7)[case % 2])
        with strict_device.strict_device() as device:
            there = soft_nms(*map(Strict, (segments, scores, labels)), **kw)
            assert device.reads.total() == 1
        for a, b in zip(there, soft_nms(segments, scores, labels, **kw)): torch.testing.assert_close(host(a), b)

# ---------------------------------------------------------------- the device itself is strict

def test_mixed_devices_are_found():
    with strict_device.strict_device(), pytest.raises(RuntimeError, match='mixes devices'): Strict(torch.ones(3)) + torch.ones(3)

def test_double_precision_is_found():
    with strict_device.strict_device(float64=False) as device, pytest.raises(TypeError, match='no float64'): torch.zeros(3, device=device.name).double()

@pytest.mark.parametrize('read', [lambda x: x.sum().item(), lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: x.cpu(), lambda x: x.tolist(), lambda x: bool(x.sum() > 1),
                                  lambda x: float(x[0]), lambda x: torch.zeros(3).copy_(x), lambda x: x.masked_select(x > 0), lambda x: torch.where(x > 0)],
                         ids='item nonzero index cpu tolist truth float copy masked_select where'.split())
def test_reads_are_counted(read):
    with strict_device.strict_device() as device: read(Strict(torch.ones(3)))
    assert device.reads.total() == 1, device.reads

def test_what_stays_on_the_device_is_no_read():
    with strict_device.strict_device() as device:
        x = torch.arange(6., device=device.name).view(2, 3)
        y = x[torch.tensor([1, 0], device=device.name)].where(x > 2, 0).cumsum(0).sort(1)[0]
        assert isinstance(y, Strict) and not device.reads
