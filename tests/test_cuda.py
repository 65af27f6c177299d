"What must hold on a GPU; skipped where there is none"
import copy, itertools

import pytest
import torch

import small
from loco.core.config import Config
from loco.data.samples import Resident, VideoDataset
from loco.data.features import open_dataset
from loco.model.network import LoCo
from loco.detection.nms import soft_nms
from loco.training.objective import Objective, training_batches
from loco.training.run import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
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
