"The map: runs that resume, places that differ in one thing, pairs that are pairs, sound that is late by what it says"
import dataclasses, subprocess, sys
import numpy as np, pytest
import small
from loco.core.clock import Clock
from loco.core.errors import BadInput
from loco.data.annotations import Annotations
from loco.data.invent import random_annotations
from loco.data.simulate import SimulatedFeatures
from loco.study.map import (AXES, BASE, CROSS, Place, Point, claim_map, data_of, gain, joined, map_bundle, map_verdicts, perform_map, plan_map, read_map, some_videos, unpack_map)
from loco.study.tables import write_bundle

TOY = BASE.override({'model.dim': 8, 'model.heads': 2, 'model.classes': 3, 'model.levels': 2, 'model.lcc_dim': 4, 'train.epochs': 1, 'train.warmup': 0})
LARGE = random_annotations(90, classes=5)
KEPT = small.ROOT/'nbs'/'results'/'map.json'

def place(**kw): return Place(videos=8, **kw)

def run(points, out): return perform_map(points, out, annotations=LARGE, base=TOY, test=4, tell=lambda s: None)

def test_a_map_goes_on_where_it_stopped(tmp_path):
    "A run is done twice, or a map that was stopped ends with other numbers than one that was not"
    points = [Point(place(lag=l), 'CDP', lcc, 0) for l in (0., 1.) for lcc in (False, True)]
    for part in (points[:1], points[:3], points): run(part, tmp_path/'parts')
    times = {p: p.path(tmp_path/'parts').stat().st_mtime_ns for p in points}
    run(points, tmp_path/'parts'), run(points[::-1], tmp_path/'whole')
    assert times == {p: p.path(tmp_path/'parts').stat().st_mtime_ns for p in points}
    for out in ('parts', 'whole'): claim_map(tmp_path/out, LARGE, TOY, source='invented', test=4)
    one, other = ([{k: v for k, v in o.items() if k != 'seconds'} for o in map_bundle(tmp_path/out)['runs']] for out in ('parts', 'whole'))
    assert one == other and len(one) == 4

def test_a_folder_belongs_to_one_map(tmp_path):
    "Runs with other settings or events are mixed into one curve"
    claim_map(tmp_path, LARGE, TOY, source='invented', test=4)
    for annotations, base, test in ((LARGE, BASE, 4), (random_annotations(90, classes=5, seed=1), TOY, 4), (LARGE, TOY, 5)):
        with pytest.raises(BadInput, match='choose another folder'): claim_map(tmp_path, annotations, base, source='invented', test=test)

def test_places_of_an_axis_differ_in_one_thing():
    "Two things change along an axis, so a curve does not say which of them matters"
    for a in AXES.values():
        changed = {f.name for f in dataclasses.fields(Place) if len({getattr(p, f.name) for p in a.places}) > 1}
        assert changed == {a.name} and len(a.places) >= 4 and list(a.values) == sorted(a.values)
    assert len({p.key for p in plan_map()}) == len(plan_map())

def test_systems_of_a_seed_share_their_data():
    "Pairs are no pairs: the systems that are compared see other videos or other features"
    worlds = [data_of(Point(place(lag=1.), s, lcc, 3), LARGE, TOY, test=4) for s in CROSS for lcc in (False, True)]
    video = worlds[0][0].videos('train')[0]
    for events, features in worlds[1:]:
        assert events.videos() == worlds[0][0].videos()
        for x, y in zip(features[video], worlds[0][1][video]): assert np.array_equal(x, y)
    other = data_of(Point(place(lag=1.), 'CDP', False, 4), LARGE, TOY, test=4)[1]
    assert not np.array_equal(other[video][0], worlds[0][1][video][0])

def test_gain_is_paired_by_seed(tmp_path):
    "A difference pairs runs of different seeds, or counts two systems of one seed as two pairs"
    rng, seeds = np.random.default_rng(0), (0, 1, 2)
    own = rng.normal(scale=20, size=3)
    score = lambda s, lcc, seed: own[seed] + 2*(s == 'CDP') - 3*lcc + .01*rng.normal()
    runs = [dict(zip(('place', 'cross', 'lcc', 'seed'), Point(place(), s, lcc, seed).key), test={'Avg.': score(s, lcc, seed)}) for s in CROSS for lcc in (False, True) for seed in seeds]
    kept = dict(runs=runs[::-1])
    d, l = gain(kept, place(), system='CDP'), gain(kept, place(), system='global', over='LCC')
    assert d.pairs == l.pairs == 3 and abs(d.mean - 2) < .05 and abs(l.mean + 3) < .05 and d.clear and l.clear
    assert gain(dict(runs=[o for o in runs if o['seed'] < 2 or o['cross'] != 'none']), place(), system='CDP').pairs == 2

@pytest.mark.parametrize('count', [1, 2, 3, 14])
def test_joined_videos_keep_every_event(count):
    "An event is lost, moved or clipped where videos are laid end to end"
    short = some_videos(LARGE, classes=5, counts={'train': 17, 'test': 5})
    long = joined(short, count)
    assert sum(long.duration.values()) == pytest.approx(sum(short.duration.values()))
    for split, n in (('train', 17), ('test', 5)):
        a, b = (o.table(split) for o in (short, long))
        assert len(long.videos(split)) == -(-n//count)
        assert list(a['label']) == list(b['label']) and (b['end'] - b['start']) == pytest.approx(a['end'] - a['start'])

@pytest.mark.parametrize('lag', [0., .5, 2., 4.])
def test_sound_is_as_late_as_it_says(lag):
    "The lag is in steps and not in seconds, has the wrong sign, or moves the picture"
    events = [dict(segment=[5 + 20*i, 9 + 20*i], label='dog') for i in range(4)]
    world = Annotations.from_dict({'database': {'v': dict(duration=90., subset='train', annotations=events)}})
    clock = Clock(16, 16, 8)
    make = lambda **kw: SimulatedFeatures(world, clock, visual_dim=64, audio_dim=64, distractors=0, scene=0, noise=.1, variation=0, **kw)
    (v0, a0), (v, a) = make()['v'], make(lag=lag)['v']
    strength = lambda f, x, m: x @ f.prototypes[m][0]
    shift = round(lag/clock.step)
    assert np.array_equal(v, v0)
    one, other = strength(make(), a0, 1), strength(make(lag=lag), a, 1)
    assert np.argmax([one[:len(one)-s or None] @ other[s:] for s in range(12)]) == shift
    half, = (make(lag=lag, lagged=0.)['v'][1],)
    assert np.array_equal(half, a0)

@pytest.mark.parametrize('bad', [dict(lag=-1.), dict(lag=float('inf')), dict(lagged=1.5), dict(lagged=-.1)])
def test_a_lag_that_cannot_be_is_refused(bad):
    "A lag of another sign or a share above one is taken silently"
    with pytest.raises(ValueError, match=next(iter(bad))): SimulatedFeatures(LARGE, Clock(16, 16, 8), visual_dim=4, audio_dim=4, **bad)

def test_the_map_is_shown_from_committed_results(tmp_path):
    "A reader cannot see the map without training for hours"
    p = subprocess.run([sys.executable, '-m', 'loco.program.main', 'reproduce', 'map', '--show', '--start', str(KEPT), '--out', str(tmp_path/'map')], capture_output=True, text=True, cwd=small.ROOT)
    assert p.returncode == 0, p.stderr
    assert 'The map: lag' in p.stdout and (tmp_path/'map'/'lag.png').stat().st_size
    p = subprocess.run([sys.executable, '-m', 'loco.program.main', 'reproduce', 'map', 'lagg', '--show'], capture_output=True, text=True, cwd=tmp_path)
    assert p.returncode and 'did you mean' in p.stderr + p.stdout

def test_a_map_that_is_none_is_refused(tmp_path):
    "A run of a strange file is written outside of the folder, or a table's results are taken for a map"
    kept = read_map(KEPT)
    for change in (dict(place='../up'), dict(cross='no'), dict(seed=-1), dict(lcc=1)):
        write_bundle(tmp_path/'odd.json', {**kept, 'runs': [{**kept['runs'][0], **change}]})
        with pytest.raises(BadInput, match='odd.json'): read_map(tmp_path/'odd.json')
    with pytest.raises(BadInput, match='is no map'): read_map(small.ROOT/'nbs'/'results'/'stampsav.json')
    assert unpack_map(kept, tmp_path/'map') == len(kept['runs']) and unpack_map(kept, tmp_path/'map') == 0
    assert len(map_verdicts(kept, 'lag')) == len(CROSS)*2 - 1
