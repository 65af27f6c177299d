"Two processes with half the batch each must learn exactly what one process with the whole batch does"
import os, sys, types
import pytest, torch, torch.distributed as dist, torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from loco.core.config import LossConfig
from loco.model.gaussian import KINDS
from loco.model.lcc import LCC, lcc_loss
from loco.detection.losses import DetectionLoss
from loco.detection.targets import assign_targets

pytestmark = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch has no gloo backend here")
RANGES = (0,4), (4,float("inf"))

def videos():
    "Four videos: features of two modalities, and which steps are valid"
    g = torch.Generator().manual_seed(0)
    mask = torch.arange(12) < torch.tensor([12, 7, 9, 5])[:,None]
    return torch.randn(4, 12, 16, generator=g), torch.randn(4, 12, 16, generator=g), mask

def shares(uneven):
    "The videos and steps of either rank; uneven ranks differ in the number of videos and in padded length"
    return ((slice(0,3), slice(0,12)), (slice(3,4), slice(0,6))) if uneven else ((slice(0,2), slice(0,12)), (slice(2,4), slice(0,12)))

def backward(model, x):
    "Loss of a module, and the gradient of each of its parameters"
    model.zero_grad()
    loss = model(*x)
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters()]

class Detector(torch.nn.Module):
    "Just enough of a model for `DetectionLoss`: one linear layer to three classes and their offsets"
    def __init__(self):
        super().__init__()
        self.head, self.loss = torch.nn.Linear(16, 9), DetectionLoss(LossConfig(positives=7))
    def forward(self, v, a, mask):
        y = self.head(torch.cat([v+a, (v+a)[:,::2]], 1))
        out = types.SimpleNamespace(flat=lambda: (y[...,:3], y[...,3:].unflatten(-1, (3,2)).exp(), torch.cat([mask, mask[:,::2]], 1)))
        n = mask.sum(1)
        segments, labels = torch.stack([n*.1, n*.8], -1)[:,None], (n % 3)[:,None]
        losses = self.loss(out, assign_targets(segments, labels, steps=mask.shape[1], ranges=RANGES, classes=3))
        return losses["cls"] + 3*losses["reg"]

def cases():
    for kind in KINDS:
        yield lambda: LCC(16, proj_dim=8, target=kind, sigma=1.4, tau=.2)
    yield Detector

def run(rank, store, folder):
    torch.set_num_threads(1)
    if sys.platform == "linux": os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    res = []
    for make in cases():
        for uneven in (False, True):
            torch.manual_seed(1)
            model = DistributedDataParallel(make())
            x = tuple(t[shares(uneven)[rank]] for t in videos())
            res.append([backward(model, x) for _ in range(2)])
    empty = lcc_loss(torch.randn(1,3,4), torch.randn(1,3,4), torch.full((1,3), rank == 0))
    torch.save((res, empty), f"{folder}/{rank}.pt")
    dist.destroy_process_group()

@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run, (folder/"store", folder), nprocs=2)
    return [torch.load(folder/f"{r}.pt") for r in range(2)]

def test_two_ranks_equal_one(ranks):
    ours = zip(ranks[0][0], ranks[1][0])
    for make in cases():
        torch.manual_seed(1)
        whole = make()
        expected = [backward(whole, videos()) for _ in range(2)]        # the second call sees the moved running mean
        for uneven in (False, True):
            for (loss0, grads0), (loss1, grads1), (loss, grads) in zip(*next(ours), expected):
                assert torch.allclose((loss0+loss1)/2, loss, atol=1e-5, rtol=1e-5)
                if isinstance(whole, LCC): assert torch.equal(loss0, loss1), "every rank must report the loss of the whole batch"
                for g0, g1, g in zip(grads0, grads1, grads):
                    assert torch.equal(g0, g1) and torch.allclose(g0, g, atol=1e-5, rtol=1e-5)

def test_a_rank_without_segments(ranks):
    assert ranks[0][1].isfinite() and torch.equal(ranks[0][1], ranks[1][1])
