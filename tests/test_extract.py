"Extraction: the kinds of fault are a file that ends the rest, a kill that loses or spoils what was done, shards that overlap, and engines that differ"
import importlib.util, json, os, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
import pytest
from loco.core.errors import BadInput, Missing
from loco.core.origin import read_origin
from loco.data.features import FeatureStore
from loco.media.extract import extract, named_videos, share

pytestmark = pytest.mark.skipif(not importlib.util.find_spec('av'), reason='PyAV is not installed')

TOY = '''
import os
import numpy as np
from loco.media.encoders import Encoder, windows
class Toy(Encoder):
    name, widths, size, rate, margin = 'toy_encoder:Toy', (3, 1), (8, 8), 8000, .05
    def see(self, frames):
        if frames.max() > 250 and frames.min() > 200: os._exit(11)     # a white picture takes the process down
        return frames.mean((1, 2))/255
    def hear(self, x, begins, seconds): return (windows(x, begins, seconds, length=800, rate=8000)**2).mean(1, keepdims=True)
    def weights(self): return dict(visual=dict(weights='none'), audio=dict(weights='none'))
'''

def film(path, *, seconds=3, grey=100):
    "A small film with sound"
    import av
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as c:
        v, a = c.add_stream('mpeg4', rate=8), c.add_stream('aac', rate=8000, layout='mono')
        v.width, v.height, v.pix_fmt = 32, 32, 'yuv420p'
        for k in range(seconds*8): c.mux(v.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), grey if grey == 255 else (grey + 7*k) % 200, np.uint8), format='rgb24')))
        x = (.3*np.sin(np.arange(seconds*8000)*.1*(1 + grey % 5))).astype(np.float32)
        for k in range(0, len(x), 1024):
            f = av.AudioFrame.from_ndarray(x[None, k:k + 1024], format='fltp', layout='mono')
            f.sample_rate, f.pts = 8000, k
            c.mux(a.encode(f))
        for s in (v, a): c.mux(s.encode())
    return path

@pytest.fixture
def videos(tmp_path, monkeypatch):
    "Five films, and an encoder that worker processes can import"
    (tmp_path/'code').mkdir()
    (tmp_path/'code'/'toy_encoder.py').write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path/'code'))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path/'code'), str(Path(__file__).resolve().parents[1]), os.environ.get('PYTHONPATH', '')]))
    for i in range(5): film(tmp_path/'videos'/f'v{i}.mp4', seconds=2 + i % 2, grey=20*i)
    return tmp_path/'videos'

HOW = dict(encoder='toy_encoder:Toy', dtype='float32')

def same(a, b):
    "Whether two feature sets hold the same bytes for every video"
    a, b = FeatureStore(a/'features'), FeatureStore(b/'features')
    return set(a.index) == set(b.index) and all(x.tobytes() == y.tobytes() for v in a.index for x, y in zip(a[v], b[v]))

def test_bad_files_never_end_the_rest(videos, tmp_path):
    "Text, nothing, a missing file: listed with their names, and the good ones are there"
    (videos/'text.mp4').write_text('no video')
    (videos/'empty.mkv').touch()
    done = extract([videos, videos/'gone.mp4'], tmp_path/'out', **HOW)
    assert done.done == 5 and set(done.failed) == {'text', 'empty', 'gone'} and all(k in w for k, w in done.failed.items())
    store = FeatureStore(tmp_path/'out'/'features')
    assert set(store.index) == {f'v{i}' for i in range(5)} and read_origin(store.root).encoder['name'] == 'toy_encoder:Toy'
    told = json.loads((tmp_path/'out'/'extract.json').read_text())
    assert told['failed'].keys() == done.failed.keys() and told['videos']['v0']['duration'] == pytest.approx(2, abs=.3)

def test_a_decoder_that_takes_the_process_down_costs_one_video(videos, tmp_path):
    film(videos/'white.mp4', grey=255)
    done = extract([videos], tmp_path/'out', workers=2, **HOW)
    assert done.done == 5 and 'ended with status 11' in done.failed['white']

def test_what_is_done_is_not_done_again_and_what_changed_is(videos, tmp_path):
    first = extract([videos], tmp_path/'out', **HOW)
    again = extract([videos], tmp_path/'out', **HOW)
    film(videos/'v1.mp4', seconds=4, grey=77)
    film(videos/'new.mp4')
    more = extract([videos], tmp_path/'out', **HOW)
    assert (first.now, again.now, more.now, more.done) == (5, 0, 2, 6)
    fresh = extract([videos], tmp_path/'fresh', **HOW)
    assert same(tmp_path/'out', fresh.folder)

@pytest.mark.parametrize('other', [dict(reader=dict(video_only=True)), dict(dtype='float16')], ids=['reader', 'dtype'])
def test_what_was_extracted_in_another_way_is_done_again(other, videos, tmp_path):
    "Another track or number type: not the old numbers under the new command"
    extract([videos], tmp_path/'out', **HOW)
    again = extract([videos], tmp_path/'out', **HOW | other)
    assert again.now == 5 and same(tmp_path/'out', extract([videos], tmp_path/'fresh', **HOW | other).folder)
    assert extract([videos], tmp_path/'out', **HOW | other).now == 0

def test_shards_together_are_the_whole(videos, tmp_path):
    whole = extract([videos], tmp_path/'whole', **HOW)
    parts = [extract([videos], tmp_path/'parts', shard=f'{i}/3', **HOW) for i in (3, 1, 2)]
    assert [p.waiting for p in parts] == [4, 2, 0] and [p.store is None for p in parts] == [True, True, False]
    assert same(whole.folder, tmp_path/'parts')
    names = named_videos([videos])
    assert sorted(v for i in (1, 2, 3) for v in share(names, f'{i}/3')) == sorted(names)
    with pytest.raises(BadInput, match='--shard'): share(names, '0/3')

def test_killed_at_any_moment_the_same_command_goes_on(videos, tmp_path):
    "Killed three times at different moments; the end is byte for byte that of an undisturbed run"
    whole = extract([videos], tmp_path/'whole', **HOW)
    program = f'from loco.media.extract import extract; extract([{str(videos)!r}], {str(tmp_path/"out")!r}, encoder="toy_encoder:Toy", dtype="float32")'
    for wait in (1, 2, 3):
        p = subprocess.Popen([sys.executable, '-c', program])
        end = time.monotonic() + 60
        while p.poll() is None and len(list((tmp_path/'out'/'records').glob('*.json')) if (tmp_path/'out'/'records').is_dir() else []) < wait and time.monotonic() < end: time.sleep(.005)
        p.send_signal(signal.SIGKILL)
        p.wait()
    assert not extract([videos], tmp_path/'out', **HOW).failed
    assert same(whole.folder, tmp_path/'out')

def test_another_encoder_is_refused_by_name(videos, tmp_path):
    extract([videos/'v0.mp4'], tmp_path/'out', **HOW)
    with pytest.raises(BadInput, match='clock.stride: 4 wanted, 8 here'):
        from loco.core.clock import Clock
        extract([videos], tmp_path/'out', settings=dict(clock=Clock(16, 16, 8)), **HOW)

def test_two_at_work_in_one_folder(videos, tmp_path):
    from filelock import FileLock
    (tmp_path/'out').mkdir()
    with FileLock(tmp_path/'out'/'.extract.lock'), pytest.raises(RuntimeError, match='another extraction'): extract([videos], tmp_path/'out', **HOW)

def test_ids_never_leave_the_folder(videos, tmp_path):
    "Whatever an id holds, its files stay inside"
    ids = {'../../up': videos/'v0.mp4', 'a/b': videos/'v1.mp4', 'C:\\x': videos/'v2.mp4', '.hidden': videos/'v3.mp4', 'é'*200: videos/'v4.mp4'}
    before = {p for p in tmp_path.rglob('*') if 'out' not in p.parts}
    done = extract(ids, tmp_path/'deep'/'out', keep=True, **HOW)
    assert done.done == 5 and set(FeatureStore(done.store).index) == set(ids)
    assert {p for p in tmp_path.rglob('*') if 'out' not in p.parts} - before <= {tmp_path/'deep'}

def test_the_program_says_what_failed_and_exits_with_1(videos, tmp_path):
    from typer.testing import CliRunner
    from loco.program.main import app
    (videos/'text.mp4').write_text('no video')
    done = CliRunner().invoke(app, ['extract', str(videos), '--encoder', 'toy_encoder:Toy', '--out', str(tmp_path/'out'), '--quiet'])
    assert done.exit_code == 1 and '1 failed' in done.stdout and 'text.mp4' in done.stdout and '5 videos' in done.stdout

def test_what_is_extracted_can_be_trained_on_as_it_is(videos, tmp_path):
    "Check and train take the folder; widths, clock and classes come with it"
    from typer.testing import CliRunner
    from loco.program.main import app
    extract([videos], tmp_path/'out', **HOW)
    entry = lambda s: dict(duration=2., subset=s, annotations=[dict(segment=[.4, 1.6], label='hum'), dict(segment=[.2, 1.], label='buzz')])
    (tmp_path/'labels.json').write_text(json.dumps(dict(database={f'v{i}': entry(s) for i, s in enumerate(('train', 'train', 'train', 'validation', 'test'))})))
    run = lambda *words: CliRunner().invoke(app, [str(o) for o in words], catch_exceptions=False)
    assert run('data', 'check', tmp_path/'out', '--annotations', tmp_path/'labels.json', '--quiet').exit_code == 0
    small = ['--model.dim', 8, '--model.lcc_dim', 4, '--train.epochs', 1, '--train.warmup', 0, '--train.batch', 2, '--train.device', 'cpu']
    done = run('train', '--data', tmp_path/'out', '--annotations', tmp_path/'labels.json', '--out', tmp_path/'run', '--quiet', *small)
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path/'run'/'config.json').read_text())
    assert (kept['model']['visual_dim'], kept['model']['audio_dim'], kept['model']['classes']) == (3, 1, 2) and kept['encoder']['name'] == 'toy_encoder:Toy'

def test_ray_gives_the_same_bytes(videos, tmp_path):
    pytest.importorskip('ray')
    (videos/'text.mp4').write_text('no video')
    plain = extract([videos], tmp_path/'plain', **HOW)
    try: ray = extract([videos], tmp_path/'ray', engine='ray', workers=2, **HOW)
    except Exception as e:
        if 'timed out during startup' not in str(e): raise
        pytest.skip('Ray gives its own services 30 s to start, and this machine is too busy')
    assert ray.done == plain.done == 5 and list(ray.failed) == ['text'] and same(plain.folder, ray.folder)
