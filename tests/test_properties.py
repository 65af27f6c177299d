"What must hold for any input: padding, batches, order, shifts, empty classes, one step, parameters at their limits, half precision"
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from loco.core.config import Config
from loco.data.samples import Batch
from loco.detection.inference import detect
from loco.detection.losses import DetectionLoss
from loco.detection.metric import mean_ap
from loco.detection.nms import soft_nms
from loco.detection.targets import assign_targets
from loco.core.clock import Clock
from loco.model.gaussian import WIDTHS, gaussian_target
from loco.model.lcc import LCC, lcc_loss
from loco.model.network import LoCo

few, some = settings(max_examples=8), settings(max_examples=40)
CLOCK, LABELS = Clock(16, 16, 4), ('bark', 'bell', 'horn')
seeds = st.integers(0, 2**31)
lengths = st.lists(st.integers(1, 40), min_size=1, max_size=4)

@pytest.fixture(scope='module')
def model():
    "A small LoCo whose windows move and whose queries attend"
    torch.manual_seed(0)
    cfg = Config.preset('stampsav').model.replace(dim=16, classes=3, lcc_dim=8, max_steps=40, scale_init=1., levels=4, visual_dim=6, audio_dim=5)
    model = LoCo(cfg, labels=LABELS, clock=CLOCK).eval()
    with torch.no_grad():
        for p in model.parameters(): p.add_(.1*torch.randn_like(p))
    return model

def video(n, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=g), torch.randn(n, 5, generator=g)

def together(videos, *, to=0, rubbish=0.):
    "Visual, audio and mask of videos, padded with `rubbish` to at least `to` steps"
    T = max(to, *(len(v) for v, _ in videos))
    pad = lambda x: torch.cat([x, torch.full((T - len(x), x.shape[1]), rubbish)])
    return torch.stack([pad(v) for v, _ in videos]), torch.stack([pad(a) for _, a in videos]), torch.tensor([[i < len(v) for i in range(T)] for v, _ in videos])

def answers(out):
    "Of each video what is said at its own points: a list over videos of lists over levels"
    return [[x[b, m[b]] for x, m in zip(out.logits + out.offsets, out.masks*2)] for b in range(len(out.masks[0]))]

def close(a, b, tol=2e-4):
    for x, y in zip(a, b, strict=True): torch.testing.assert_close(x, y, rtol=tol, atol=tol)

# ---------------------------------------------------------------- the model

@few
@given(lengths, seeds, st.integers(0, 60), st.sampled_from([0., -30., 1e4]))
@torch.no_grad()
def test_batches_and_padding(model, ns, seed, extra, rubbish):
    "A video is answered alone as it is in any batch, whatever lies behind its end"
    videos = [video(n, seed + i) for i, n in enumerate(ns)]
    batch = answers(model(*together(videos, to=max(ns) + extra, rubbish=rubbish)))
    for i, v in enumerate(videos): close(batch[i], answers(model(*together([v])))[0])

@few
@given(lengths, seeds, st.randoms(use_true_random=False))
@torch.no_grad()
def test_permuted_batch(model, ns, seed, random):
    videos, order = [video(n, seed + i) for i, n in enumerate(ns)], list(range(len(ns)))
    random.shuffle(order)
    straight, mixed = answers(model(*together(videos))), answers(model(*together([videos[i] for i in order])))
    for at, i in enumerate(order): close(mixed[at], straight[i])

@few
@given(st.integers(1, 3), seeds)
def test_shortest_videos(model, n, seed):
    "A video of one to three steps has finite answers, and events inside it"
    v, a, mask = together([video(n, seed)])
    duration = n*CLOCK.step
    found = detect(model, Batch(v, a, mask, torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.long), ['short'], torch.tensor([duration])))
    assert np.isfinite(found['score']).all() and (found['start'] < found['end']).all()
    assert (found['start'] >= 0).all() and (found['end'] <= duration + 1e-6).all()

@few
@given(st.integers(1, 40), seeds)
@torch.no_grad()
def test_half_precision(model, n, seed):
    "bfloat16 keeps scores within 0.06 and offsets within 6 % of their size and 0.3 steps of their level"
    inputs = together([video(n, seed)])
    full = model(*inputs)
    with torch.autocast('cpu', torch.bfloat16): half = model(*inputs)
    for x, y, m in zip(full.logits, half.logits, full.masks):
        if m.any(): assert (x[m].sigmoid() - y[m].float().sigmoid()).abs().max() < .06
    for x, y, m in zip(full.offsets, half.offsets, full.masks):
        if m.any(): torch.testing.assert_close(y[m].float(), x[m], rtol=.06, atol=.3)

# ---------------------------------------------------------------- the correspondence loss

def lcc_inputs(ns, seed, d=8):
    g = torch.Generator().manual_seed(seed)
    T = max(ns)
    mask = torch.arange(T) < torch.tensor(ns)[:, None]
    return torch.randn(len(ns), T, d, generator=g, requires_grad=True), torch.randn(len(ns), T, d, generator=g, requires_grad=True), mask

@some
@given(lengths, seeds, st.floats(-300, 300), st.floats(-300, 300))
def test_sigma_and_tau_anywhere(ns, seed, log_sigma, log_tau):
    "Loss and gradients are finite for any logarithm of sigma and tau"
    v, a, mask = lcc_inputs(ns, seed)
    lcc = LCC(8, proj_dim=4)
    with torch.no_grad():
        lcc.log_sigma.fill_(log_sigma)
        lcc.log_tau.fill_(log_tau)
    loss = lcc(v, a, mask)
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in [v, a, *lcc.parameters()])

@pytest.mark.parametrize('sigma, tau', [(1., 1.), (-1., -1.)])
def test_driven_far_out(sigma, tau):
    "A training that pushes sigma and tau one way for ever keeps every weight finite"
    torch.manual_seed(0)
    lcc, (v, a, mask) = LCC(4, proj_dim=2), lcc_inputs([3, 2], 0, d=4)
    optimizer = torch.optim.Adam(lcc.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        lcc(v.detach(), a.detach(), mask).backward()
        optimizer.step()
        with torch.no_grad():
            lcc.log_sigma += sigma
            lcc.log_tau += tau
    assert all(p.isfinite().all() for p in lcc.parameters()) and lcc(v, a, mask).isfinite()

@some
@given(lengths, seeds, st.integers(0, 30), st.sampled_from(['learnable', 'softened', 'diagonal']))
def test_correspondence_does_not_see_where_a_video_begins(ns, seed, front, target):
    "Padding in front of a batch, behind it and the order of its videos change nothing"
    v, a, mask = lcc_inputs(ns, seed)
    v, a = v.detach(), a.detach()
    shift = lambda x: torch.nn.functional.pad(x, (0, 0)*(x.ndim - 2) + (front, 2))
    want = lcc_loss(v, a, mask, sigma=1.5, target=target)
    torch.testing.assert_close(lcc_loss(shift(v), shift(a), shift(mask), sigma=1.5, target=target), want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lcc_loss(v.flip(0), a.flip(0), mask.flip(0), sigma=1.5, target=target), want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lcc_loss(v.flip(1), a.flip(1), mask.flip(1), sigma=1.5, target=target), want, rtol=1e-4, atol=1e-5)

@some
@given(st.integers(1, 60), st.floats(*WIDTHS))
def test_gaussian_depends_on_distance_only(n, sigma):
    G = gaussian_target(n, sigma=sigma)
    assert G.isfinite().all() and torch.equal(G, G.T) and (G <= 1/(sigma*math.sqrt(2*math.pi)) + 1e-6).all()
    for k in range(n): assert (G.diagonal(k) == G[0, k]).all()

# ---------------------------------------------------------------- detections

events = st.lists(st.tuples(st.sampled_from(['a', 'b']), st.sampled_from(LABELS), st.integers(0, 40), st.integers(1, 20), st.integers(1, 999)),
                  min_size=1, max_size=25, unique_by=lambda o: o[4])

# one event of every class in every video, where no detection is: detections of classes that the truth does not know are refused
elsewhere = [(video, label, 1000, 5, 1) for video in 'ab' for label in LABELS]

def columns(rows, shift=0., scale=1.):
    video, label, start, length, score = zip(*rows)
    start = np.array(start, float)*scale + shift
    return dict(video=np.array(video), label=np.array(label), start=start, end=start + np.array(length)*scale, score=np.array(score)/1000)

@some
@given(events, events, st.randoms(use_true_random=False), st.integers(-64, 64), st.sampled_from([.25, 1., 8.]))
def test_map_sees_neither_order_nor_clock(truth, found, random, shift, scale):
    "Rows in another order, times from another zero and in another unit give the same mAP"
    truth = truth + elsewhere
    want = mean_ap(columns(truth), columns(found)).average
    again = [random.sample(o, len(o)) for o in (truth, found)]
    assert mean_ap(*(columns(o, shift, scale) for o in again)).average == pytest.approx(want, abs=1e-12)
    assert 0 <= want <= 1

@some
@given(events, events)
def test_map_of_empty_classes(truth, found):
    "A class that nobody looks for counts for nothing, one that nobody finds counts as 0"
    truth = truth + elsewhere
    have = {o[1] for o in truth}
    others = [('a', 'nothing', 0, 5, 500)]
    assert mean_ap(columns(truth), columns(found + others)).average == mean_ap(columns(truth), columns(found)).average
    none = mean_ap(columns(truth), {k: v[:0] for k, v in columns(found).items()})
    assert none.average == 0 and set(none.per_class) == have
    assert mean_ap(columns(truth), columns(truth)).average == pytest.approx(1) or len({o[:4] for o in truth}) < len(truth)

def decayed(rows, shift=0., **kw):
    c = columns(rows, shift)
    label = torch.tensor([LABELS.index(o) for o in c['label']])
    s, p, l = soft_nms(torch.tensor(np.stack([c['start'], c['end']], 1), dtype=torch.float32), torch.tensor(c['score'], dtype=torch.float32), label, **kw)
    return sorted(zip((s - shift).tolist(), p.tolist(), l.tolist()), key=lambda o: (-round(o[1], 5), o[0], o[2]))

@some
@given(events, st.randoms(use_true_random=False), st.integers(-64, 64))
def test_soft_nms_sees_neither_order_nor_clock(rows, random, shift):
    want, got = decayed(rows), decayed(random.sample(rows, len(rows)), shift)
    assert len(want) == len(got)
    for (s, p, l), (t, q, m) in zip(want, got): assert p == pytest.approx(q, abs=1e-5)

@some
@given(st.integers(1, 12), st.integers(0, 100), seeds)
def test_ties_that_do_not_overlap_all_stay(n, score, seed):
    "Equal scores of segments that share nothing: each keeps its score, whatever their order"
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    start = 10.*order
    s, p, _ = soft_nms(torch.stack([start, start + 5], 1), torch.full((n,), .1 + score/200), torch.zeros(n, dtype=torch.long))
    assert sorted(s[:, 0].tolist()) == sorted(start.tolist()) and (p == p[0]).all()

# ---------------------------------------------------------------- targets and losses

@few
@given(lengths, seeds, st.booleans())
def test_losses_without_events(model, ns, seed, one):
    "Batches in which no video, or only one, has an event have finite losses and gradients"
    inputs = together([video(n, seed + i) for i, n in enumerate(ns)])
    segments, labels = torch.zeros(len(ns), 1, 2), torch.full((len(ns), 1), -1)
    if one: segments[0, 0, 1], labels[0, 0] = float(ns[0]), 2
    out = model(*inputs)
    targets = assign_targets(segments, labels, steps=inputs[2].shape[1], ranges=model.cfg.ranges, classes=3, mask=inputs[2])
    terms = DetectionLoss().train()(out, targets)
    model.zero_grad()
    sum(terms.values()).backward()
    assert all(o.isfinite() for o in terms.values()) and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert one or terms['reg'] == 0
