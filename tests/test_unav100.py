"The real annotation file of UnAV-100: its statistics, and the metric on it"
import numpy as np
import pytest

from loco.core.config import Config
from loco.data.annotations import Annotations
from loco.detection.metric import mean_ap
from loco.detection.targets import assign_targets
import torch

@pytest.fixture(scope='module')
def annotations(unav100): return Annotations.load(unav100)

def test_statistics(annotations):
    table = annotations.table()
    length = table['end'] - table['start']
    durations = np.array(list(annotations.duration.values()))
    ends = np.array([annotations.duration[v] for v in table['video']])
    assert [len(annotations.videos(s)) for s in ('train', 'validation', 'test')] == [6489, 2134, 2167]
    assert (len(annotations), len(length), len(annotations.labels)) == (10790, 30059, 100)
    assert round(len(length)/len(annotations), 2) == 2.79
    assert 10 <= durations.min() and durations.max() <= 60.1 and round(durations.mean(), 2) == 42.15
    assert abs(np.median(length) - 6.4) < .05 and np.quantile(length, .1) <= 1.01 and abs(np.quantile(length, .9) - 41.9) < .5
    assert (table['end'] <= ends + 1e-6).all() and (length > 0).all()

def test_perfect_detections(annotations):
    truth = annotations.table('test')
    score = mean_ap(truth, {**truth, 'score': np.ones(len(truth['start']))})
    assert score.average == 1 and all(v == 1 for v in score.at.values())

def test_jitter_costs(annotations):
    "The more the boundaries are off, the lower the score, and the higher thresholds suffer first"
    truth, rng = annotations.table('test'), np.random.default_rng(0)
    noise = rng.normal(size=(2, len(truth['start'])))
    seen = []
    for jitter in (.1, .5, 2.):
        s, e = truth['start'] + jitter*noise[0], truth['end'] + jitter*noise[1]
        seen.append(mean_ap(truth, {**truth, 'start': np.minimum(s, e - .01), 'end': e, 'score': rng.random(len(s))}))
    averages = [o.average for o in seen]
    assert averages == sorted(averages, reverse=True) and averages[0] > .9 > averages[-1]
    assert all(o.at[.9] < o.at[.5] for o in seen)

@pytest.mark.parametrize('preset', ['unav100-onepeace', 'unav100-i3d-vggish'])
def test_nearly_every_event_is_a_target(annotations, preset):
    "Both clocks put at least 99.5 % of the events on some point of the pyramid"
    cfg = Config.preset(preset)
    found = total = 0
    for v in annotations.videos('validation'):
        s, l = annotations.events(v)
        s = torch.tensor(cfg.clock.index(s), dtype=torch.float32)[None]
        for i in range(len(l)):
            t = assign_targets(s[:, i:i+1], torch.tensor(l)[None, i:i+1], steps=256, ranges=cfg.model.ranges, classes=100)
            found, total = found + bool(len(t.index)), total + 1
    assert found/total > .995
