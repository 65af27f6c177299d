"A video gives the same answer alone, in a batch, and whatever lies in the padding"
import itertools
import pytest
import torch

from loco.core.config import Config
from loco.model.network import LoCo

VARIANTS = [dict(cross=c, pyramid=p) for c, p in itertools.product(('cdp', 'fixed', 'global', 'none'), (True, False))]

def build(**kw):
    torch.manual_seed(0)
    cfg = Config.preset('stampsav').model.replace(dim=32, classes=5, lcc_dim=16, max_steps=48, scale_init=1.0, **kw)
    model = LoCo(cfg).eval()
    with torch.no_grad():           # windows that really move, and queries that really attend
        for p in model.parameters(): p.add_(0.1*torch.randn_like(p))
    return model, cfg

@pytest.mark.parametrize('kw', VARIANTS, ids=lambda o: f"{o['cross']}-{'pyramid' if o['pyramid'] else 'single'}")
@pytest.mark.parametrize('length', [1, 7, 33, 64, 77])
def test_padding_changes_nothing(kw, length):
    model, cfg = build(**kw)
    v, a = torch.randn(1, length, cfg.visual_dim), torch.randn(1, length, cfg.audio_dim)
    alone = model(v, a, torch.ones(1, length, dtype=torch.bool))
    T = 100
    V, A = 50*torch.randn(3, T, cfg.visual_dim), 50*torch.randn(3, T, cfg.audio_dim)
    mask = torch.ones(3, T, dtype=torch.bool)
    V[1, :length], A[1, :length], mask[1, length:] = v[0], a[0], False
    batch = model(V, A, mask)
    for x, y, m in zip(alone.logits + alone.offsets, batch.logits + batch.offsets, batch.masks*2):
        assert m[1].sum() == x.shape[1]
        torch.testing.assert_close(y[1, :x.shape[1]], x[0], rtol=1e-4, atol=1e-4)
