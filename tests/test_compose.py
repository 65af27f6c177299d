"Faults of composing: a killed run that starts again or differs, a plan whose truth disagrees with its tracks, a test source that training has seen"
import importlib.util, shutil
from dataclasses import replace
from pathlib import Path
import numpy as np
import pytest
from loco.core.config import Config
from loco.core.files import read_json
from loco.data.features import open_dataset
from loco.media import stampsav
from loco.media.sources import allowed, games, kinds
from loco.media.scenes import SceneRecipe, plan_scene, recipe_of, shares
from loco.media.stamps import Recipe, stamps

needs_sources = pytest.mark.skipif(not (stamps.is_dir() and games.is_dir() and shutil.which('fluidsynth') and importlib.util.find_spec('av')),
                                   reason='tuxpaint-stamps-default, gcompris-qt-data, fluidsynth or av is not installed')

class Mean:
    "Stands for the encoders: the mean colour of a frame, and the number of samples"
    calls = 0
    def __call__(self, video):
        Mean.calls += 1
        frames, samples = video
        return frames.mean((1, 2)), np.full((len(frames), 3), len(samples) % 1000)

def short(**changes): return replace(SceneRecipe(longest=16.), train=2, validation=1, test=1, **changes)

def contents(folder): return {p.name: {k: v.tobytes() for k, v in np.load(p).items()} for p in sorted(folder.glob('*.npz'))}

@needs_sources
def test_a_killed_run_goes_on_to_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(stampsav, '_encoder', lambda *size: Mean())
    stampsav.encode_all(short(), folder=tmp_path/'whole', processes=1)

    def stop(videos):
        for i, video in enumerate(videos):
            if i == 2: raise KeyboardInterrupt
            yield video
    with pytest.raises(KeyboardInterrupt): stampsav.encode_all(short(), folder=tmp_path/'killed', processes=1, progress=stop)
    (tmp_path/'killed'/'.test_0000.npz.part').write_bytes(b'half')
    before = Mean.calls
    plans = stampsav.encode_all(short(), folder=tmp_path/'killed', processes=1)
    assert Mean.calls - before <= 2
    assert contents(tmp_path/'killed') == contents(tmp_path/'whole')
    assert [p.video for p in plans] == ['train_0000', 'train_0001', 'validation_0000', 'test_0000']

@needs_sources
def test_more_videos_leave_the_first_as_they_are():
    few, many = SceneRecipe(**shares(8)), SceneRecipe(**shares(800))
    assert few.plan('test', 1) == many.plan('test', 1)
    assert few.plan('test', 1) != replace(many, seed=1).plan('test', 1)
    assert stampsav.work_folder(few) == stampsav.work_folder(many)

@needs_sources
def test_the_test_split_has_sources_of_its_own():
    for subset, index in (('train', 3), ('validation', 3), ('test', 3)):
        for track in plan_scene(subset, index).tracks: assert track.source in allowed(track.label, track.modality, subset=subset)
    for label in kinds:
        for modality in ('visual', 'audio'):
            train, test = (set(allowed(label, modality, subset=s)) for s in ('train', 'test'))
            assert train == test == {0} or not train & test

@needs_sources
def test_only_what_belongs_together_is_an_event():
    for index in range(12):
        plan = plan_scene('validation', index)
        starts = [a.start - v.start for v in plan.of('visual') for a in plan.of('audio', v.label)]
        assert sum(-plan.early <= x <= plan.reach for x in starts) == len(plan.events()) > 0
        assert not any(-1 < x < -plan.early or plan.reach < x < plan.reach + 1.5 for x in starts), 'a pair hangs on a tenth of a second'
        assert all(0 <= s < e <= plan.duration for s, e, _ in plan.events())

def test_the_first_edition_has_no_bounce(): assert Recipe().bounce == 0

SECOND = Path(__file__).parents[1]/'data'/'stampsav2'

@needs_sources
def test_the_committed_timelines_are_what_the_recipe_gives():
    recipe, shipped = recipe_of(SECOND), read_json(SECOND/'annotations.json')['database']
    assert len(shipped) == recipe.train + recipe.validation + recipe.test
    plans = [recipe.plan(s, i) for s in ('train', 'validation', 'test') for i in (0, getattr(recipe, s) - 1)]
    for video, entry in stampsav.annotations_of(plans, recipe=recipe)['database'].items(): assert entry == shipped[video], video
    others = read_json(SECOND/'distractors.json')
    for video, entry in stampsav.distractors_of(plans).items(): assert entry == others[video], video

def test_the_second_edition_can_be_trained_on():
    cfg = Config.preset('stampsav2').override({'data.root': str(SECOND)})
    annotations, features = open_dataset(cfg.data)
    assert len(annotations.labels) == cfg.model.classes
    visual, audio = features[annotations.videos('train')[0]]
    assert (visual.shape[1], audio.shape[1]) == (cfg.model.visual_dim, cfg.model.audio_dim)
