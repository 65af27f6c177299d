"Nothing that somebody has is lost: two writers, replaced files, own words, what a killed program leaves"
import errno, os, stat, subprocess, sys

import numpy as np
import pytest
import small
from loco.core import files
from loco.core.errors import BadInput, Occupied, Unwritable
from loco.core.files import aside, atomic, fresh_folder, read_json, write_json, write_text

def python(program, *args, **kw): return subprocess.Popen([sys.executable, '-c', program, *map(str, args)], cwd=small.ROOT, stderr=subprocess.PIPE, text=True, **kw)

@pytest.fixture(autouse=True)
def as_a_new_program(): files._swept.clear()

@pytest.mark.parametrize('write', ['write_json(p, [i]*500)', 'fill(p)'])
def test_two_writers_of_one_name(write, tmp_path):
    "150 writes each: no error, and in the end one of the two contents, whole"
    program = f'''
import sys
from pathlib import Path
from loco.core.files import atomic, write_json
p = Path(sys.argv[1])
def fill(p):
    with atomic(p) as tmp: tmp.write_text("[" + ", ".join(["1"]*500) + "]")
for i in range(150): {write}'''
    both = [python(program, tmp_path/'x.json') for _ in range(2)]
    assert [o.communicate()[1] for o in both] == ['', ''] and [o.returncode for o in both] == [0, 0]
    assert len(read_json(tmp_path/'x.json')) == 500 and os.listdir(tmp_path) == ['x.json']

@pytest.mark.parametrize('mode', [0o600, 0o640, 0o644, 0o444])
def test_a_replaced_file_keeps_its_mode(mode, tmp_path):
    path = tmp_path/'x.json'
    path.write_text('old'); path.chmod(mode)
    with atomic(path) as tmp:
        assert stat.S_IMODE(tmp.stat().st_mode) & 0o077 & ~mode == 0     # not even on the way
        tmp.write_text('new')
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_text() == 'new'

def test_planted_links_are_not_followed(tmp_path, monkeypatch):
    "Neither under the name that the temporary file once had, nor under the very name that it gets"
    (tmp_path/'victim').write_text('mine')
    (tmp_path/'.x.json.tmp').symlink_to(tmp_path/'victim')
    write_json(tmp_path/'x.json', 1)
    planted = tmp_path/'.planted.tmp'
    planted.symlink_to(tmp_path/'victim')
    monkeypatch.setattr(files, '_beside', lambda path: planted)
    with pytest.raises(Unwritable): write_json(tmp_path/'x.json', 2)
    assert (tmp_path/'victim').read_text() == 'mine' and read_json(tmp_path/'x.json') == 1

def test_what_killed_writers_leave_goes(tmp_path):
    "Hidden files and folders of the dead go with the next write; those of the living stay"
    kill = '''
import os, signal, sys
from pathlib import Path
from loco.core.files import atomic, fresh_folder
with atomic(sys.argv[1] + "/x.json"), fresh_folder(sys.argv[1] + "/store", mark="a") as new:
    (new/"a").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)'''
    for _ in range(3): python(kill, tmp_path).communicate()
    assert len(list(tmp_path.glob('.*'))) == 2                  # each has removed what the one before it left
    with aside(tmp_path/'mine') as living:
        assert list(tmp_path.glob('.*')) == [living]
        files._swept.clear(); write_json(tmp_path/'x.json', 1)
        assert living.is_dir()
    assert os.listdir(tmp_path) == ['x.json']

def test_the_old_folder_comes_back(tmp_path):
    "Who is killed between the two renames has lost nothing"
    kill = '''
import os, signal, sys
from loco.core import files
real = os.replace
def replace(a, b):
    real(a, b)
    if str(b).endswith("old"): os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
with files.fresh_folder(sys.argv[1], mark="a") as new: (new/"a").write_text("new")'''
    with fresh_folder(tmp_path/'store', mark='a') as new: (new/'a').write_text('old')
    python(kill, tmp_path/'store').communicate()
    assert not (tmp_path/'store').exists()
    files._swept.clear(); write_json(tmp_path/'x.json', 1)
    assert (tmp_path/'store'/'a').read_text() == 'old'

def test_nobodys_folder_is_replaced(tmp_path):
    (tmp_path/'thesis').mkdir(); (tmp_path/'thesis'/'one.tex').touch()
    with pytest.raises(Occupied, match='not ours'):
        with fresh_folder(tmp_path/'thesis', mark='manifest.json'): pass
    assert os.listdir(tmp_path) == ['thesis'] and os.listdir(tmp_path/'thesis') == ['one.tex']

@pytest.mark.parametrize('write', [lambda p: write_text(p, 'a \ud83d'), lambda p: write_json(p, {'a': {1}}), lambda p: write_json(p, {'a': '\ud83d'})])
def test_what_cannot_be_written_names_its_file(write, tmp_path):
    (tmp_path/'x.json').write_text('old')
    with pytest.raises(BadInput, match='x.json cannot be written'): write(tmp_path/'x.json')
    assert (tmp_path/'x.json').read_text() == 'old' and os.listdir(tmp_path) == ['x.json']

FULL = '''
import resource, signal, sys
import numpy as np
from pathlib import Path
from loco.core import checkpoint, plots
from loco.core.files import write_json
from loco.data.invent import write_simulated
import torch
p = Path(sys.argv[1])
fig = plots.Picture(); fig.subplots().plot([1, 2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try: %s
except OSError as e: sys.exit(f"{type(e).__name__}: {e}")'''

@pytest.mark.parametrize('write', ['write_json(p/"x.json", list(range(1000)))', 'checkpoint.save(p/"x.safetensors", {"w": torch.zeros(1000)})', 'plots.save_picture(fig, p, "x")'])
def test_a_full_disk_names_the_file_and_leaves_nothing(write, tmp_path):
    said = python(FULL % write, tmp_path).communicate()[1]
    assert said.startswith('Unwritable: ') and f'{tmp_path}/x.' in said and os.listdir(tmp_path) == []

FULL_DISK = {'opentad': ['export', 'opentad', 'data', '--out', 'out', '--quiet'], 'table': ['data', 'check', 'data', '--table', 'out.csv', '--workers', '1', '--quiet'],
             'labels': ['label', 'export', 'data/annotations.json', '--out', 'out.csv'], 'simulated': ['data', 'simulate', '--videos', '9', '--visual-dim', '9', '--audio-dim', '9', '--out', 'out', '--quiet']}

@pytest.fixture(scope='module')
def world(tmp_path_factory):
    "A data set"
    return small.write(tmp_path_factory.mktemp('full')/'data').parent

@pytest.mark.parametrize('words', FULL_DISK.values(), ids=FULL_DISK)
def test_commands_on_a_full_disk_name_the_file_and_leave_nothing(words, world, monkeypatch):
    import resource, faults
    monkeypatch.chdir(world)
    before = contents(world)
    code, said = faults.live(words, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))
    assert code == 2 and 'out' in said.splitlines()[-1] and 'make room' in said and 'Traceback' not in said, said
    assert contents(world) == before

def test_an_export_of_a_model_on_a_full_disk_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    pytest.importorskip('onnxscript')
    from loco.model import deploy
    def full(path): raise OSError(errno.ENOSPC, 'No space left on device', str(path))
    done = type('Done', (), dict(save=lambda self, path: (path.write_bytes(b'half'), full(path))))()
    monkeypatch.setattr(deploy.torch.onnx, 'export', lambda *a, **k: done)
    monkeypatch.setattr(deploy, 'export_program', lambda *a, **k: None)
    with pytest.raises(Unwritable, match=r'model\.onnx could not be written .*make room'): deploy.export_onnx(tiny(), tmp_path/'model.onnx')
    assert os.listdir(tmp_path) == []

@pytest.mark.parametrize('dtype, read', [('float64', True), ('float16', True), ('int32', False), ('bool', False)])
def test_weights_of_another_type_are_converted_or_refused_by_name(dtype, read, tmp_path):
    "A TypeError past the program's own handler"
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file
    model = tiny()
    model.save_pretrained(tmp_path)
    path = tmp_path/'model.safetensors'
    with safe_open(path, 'pt') as f: meta = f.metadata()
    save_file({k: v.to(getattr(torch, dtype)) for k, v in load_file(path).items()}, path, metadata=meta)
    if read: assert next(type(model).from_pretrained(tmp_path).parameters()).dtype == torch.float32
    else:
        with pytest.raises(BadInput, match=f'model.safetensors: .*{dtype}'): type(model).from_pretrained(tmp_path)

def test_other_files_errors_keep_their_names(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        with atomic(tmp_path/'x'): open(tmp_path/'sub'/'nowhere')
    with pytest.raises(Unwritable) as e:
        with atomic(tmp_path/'x'): raise OSError(errno.ENOSPC, 'No space left on device')
    assert e.value.errno == errno.ENOSPC and str(tmp_path/'x') in str(e.value)

# ---------------------------------------------------------------- somebody's own words and pictures

def tiny(labels=('dog', 'cock')):
    from loco.core.config import ModelConfig
    from loco.model.network import LoCo
    return LoCo(ModelConfig(visual_dim=3, audio_dim=2, classes=2, dim=4, heads=1, levels=1, unimodal_blocks=0, fusion_blocks=0, lcc_dim=2, window=2, max_steps=4), labels=labels)

@pytest.mark.parametrize('labels', [('dog', 'c\ud83d'), ('dog', ''), ('dog', ' '), ('dog', 3), ('dog', 'dog'), ('dog',)], ids=ascii)
def test_what_could_not_be_saved_is_refused_before_anything_is_trained(labels):
    "A class name that is half a character, no text, or twice there: a whole epoch, and nothing saved"
    with pytest.raises(BadInput, match='label'): tiny(labels)

def test_class_names_may_come_from_any_table(tmp_path):
    model = tiny(np.array(['dog', 'cat'], dtype=object))
    model.save_pretrained(tmp_path)
    assert type(model).from_pretrained(tmp_path).labels == ('dog', 'cat')

@pytest.mark.parametrize('words', ['# My model', '', 'caf\xe9'])
def test_a_readme_that_somebody_wrote_stays(words, tmp_path):
    readme, model = tmp_path/'README.md', tiny()
    readme.write_bytes(words.encode('latin-1'))
    model.save_pretrained(tmp_path)
    assert readme.read_bytes() == words.encode('latin-1')
    readme.unlink()
    model.save_pretrained(tmp_path, scores={'mAP': 1})
    model.save_pretrained(tmp_path, scores={'mAP': 2})
    assert '| mAP | 2.0 |' in readme.read_text()                # its own is brought up to date
    readme.write_text(edited := readme.read_text() + 'Thanks to my dog.\n')
    model.save_pretrained(tmp_path)
    assert readme.read_text() == edited

def test_a_clean_annotation_file_is_another_file(tmp_path):
    from loco.data.check import check, write_clean
    root = small.write(tmp_path/'small')
    whole, report = (root/'annotations.json').read_bytes(), check(root)
    (root/'link.json').symlink_to('annotations.json')
    for name in ('annotations.json', 'link.json'):
        with pytest.raises(Occupied, match='not replaced'): write_clean(report, root/name)
    assert (root/'annotations.json').read_bytes() == whole
    write_clean(report, root/'clean.json')

# ---------------------------------------------------------------- what is read is not what is written

def loco(*words):
    "The program in this process: its status, and what it says"
    from typer.testing import CliRunner
    from loco.program.main import app
    done = CliRunner().invoke(app, [str(o) for o in words])
    return done.exit_code, f'{done.output} {done.exception}'

def contents(folder): return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}

@pytest.mark.parametrize('words', [['detect', 'a.mp4', '--out', 'a.mp4'], ['detect', 'a.mp4', '--report', 'sub/../a.mp4'], ['detect', 'a.mp4', '--out', 'link.json'],
    ['detect', 'a.mp4', '--out', 'b.mp4'], ['detect', '--report', 'b.mp4', 'a.mp4'], ['detect', 'a.mp4', '--out', 'x', '--report', 'x'], ['data', 'check', 'set', '--table', 'set/annotations.json', '--quiet'],
    ['data', 'check', 'set', '--table', 'set/features/manifest.json', '--quiet'], ['data', 'check', 'set', '--clean', 'set/features/visual.npy', '--quiet'], ['data', 'check', 'set', '--table', 'x', '--clean', 'x', '--quiet'],
    ['label', 'import', 'set', '--out', 'set/annotations.json'], ['label', 'export', 'set/annotations.json', '--out', 'set/annotations.json', '--format', 'csv'], ['label', 'export', 'subs', '--out', 'subs', '--format', 'srt'],
    ['extract', 'a.mp4', '--out', 'set', '--quiet'], ['extract', 'a.mp4', '--out', 'own', '--quiet'], ['data', 'compose', '--out', 'set', '--videos', '8', '--quiet']], ids=' '.join)
def test_no_command_replaces_what_it_reads_or_what_others_made(words, tmp_path, monkeypatch):
    "By whatever name: the source of a table, a film that an option swallows, features in the folder of an extraction"
    if words[0] in ('detect', 'extract', 'compose'): pytest.importorskip('av')
    if 'subs' in words: pytest.importorskip('pysubs2')
    monkeypatch.chdir(tmp_path)
    small.write(tmp_path/'set')
    for o in ('sub', 'own/visual', 'own/audio', 'subs'): (tmp_path/o).mkdir(parents=True)
    for o in ('own/visual/v.npy', 'own/audio/v.npy'): (tmp_path/o).write_bytes(b'mine')
    for o in ('a.mp4', 'b.mp4'): (tmp_path/o).write_bytes((small.STAMPSAV/'clips'/'test_0018.mp4').read_bytes())
    (tmp_path/'subs'/'a.srt').write_text('1\n00:00:01,000 --> 00:00:02,500\ncat\n')
    (tmp_path/'link.json').symlink_to('a.mp4')
    before = contents(tmp_path)
    code, said = loco(*words)
    after = contents(tmp_path)
    assert code and {k: after.get(k) for k in before} == before, said

def test_of_two_films_that_differ_in_their_endings_each_has_its_table(tmp_path):
    pytest.importorskip('av')
    for o in ('x.mp4', 'x.mov'): (tmp_path/o).write_bytes((small.STAMPSAV/'clips'/'test_0018.mp4').read_bytes())
    code, said = loco('detect', tmp_path, '--csv', '--quiet')
    assert code == 0 and sorted(o.name for o in tmp_path.glob('*.csv')) == ['x.mov.events.csv', 'x.mp4.events.csv'], said

@pytest.mark.parametrize('name', ['config.onnx', 'run.onnx', 'model.safetensors', 'run.json'])
def test_an_export_leaves_the_run_alone(name, tmp_path):
    pytest.importorskip('onnxscript')
    from loco.model.deploy import export_onnx
    model = tiny()
    model.save_pretrained(tmp_path)
    (tmp_path/'run.json').write_text('{}')
    before = contents(tmp_path)
    with pytest.raises((BadInput, Occupied)): export_onnx(model, tmp_path/name)
    assert contents(tmp_path) == before

def test_a_store_with_somebodys_files_in_it_is_not_replaced(tmp_path):
    "A `manifest.json` alone makes no store: many programs write one"
    from loco.core.clock import Clock
    from loco.data.features import write_store
    items = [('v', np.ones((3, 2)), np.ones((3, 2)))]
    write_store(tmp_path/'store', items, clock=Clock(16, 16, 4))
    write_store(tmp_path/'store', items, clock=Clock(16, 16, 4))
    (tmp_path/'store'/'index.html').write_text('mine')
    with pytest.raises(Occupied, match='index.html'): write_store(tmp_path/'store', items, clock=Clock(16, 16, 4))
    assert (tmp_path/'store'/'index.html').read_text() == 'mine'

def test_pictures_of_different_things_have_different_files(tmp_path):
    "Whatever runs and videos are called"
    from loco.core.plots import Picture, picture_folder, save_picture
    fig = Picture(1, 1)
    runs = [{'a': 'runs/a'}, {'a': 'others/a'}, {'a': 'runs/a', 'b': 'runs/b'}, {'a and b': 'runs/a and b'}, {'A': 'runs/A'}]
    places = [picture_folder(tmp_path, r) for r in runs]
    assert len({str(o).lower() for o in places}) == len(runs) and places == [picture_folder(tmp_path, r) for r in runs]
    names = ['curves', 'events curves', 'events Curves', 'events ../curves', 'events a/b', 'events a_b']
    assert len({str(save_picture(fig, places[0], n)).lower() for n in names}) == len(names)

def test_failed_training_leaves_no_folder(tmp_path):
    from loco.training.run import train
    cfg = small.config(small.write(tmp_path/'data'), **{'train.lr': 1e30, 'train.clip': 0})
    with pytest.raises(RuntimeError, match='diverged'): train(cfg, tmp_path/'run', progress=False)
    assert not (tmp_path/'run').exists()
