"What all tests share: the working tree on the path, markers, and where optional inputs are"
import os, sys
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')          # two test processes must not fight over the cores
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT/'nbs'/'_tools')]

import pytest
from hypothesis import settings

settings.register_profile('loco', derandomize=True, deadline=None, print_blob=True)
settings.load_profile('loco')

MARKERS = dict(fresh='committed files are up to date', notebooks='notebooks execute', site='documentation site in headless Chromium',
               package='package builds and installs')

def pytest_configure(config):
    for k, v in MARKERS.items(): config.addinivalue_line('markers', f'{k}: {v}')

# ---------------------------------------------------------------- two at a time

def unit(nodeid):
    "What one worker runs without a break: a file, so that what its tests share is made once; but each notebook for itself"
    return nodeid if '::test_executes[' in nodeid else nodeid.partition('::')[0]

LONG = 'study_tables', 'tridet', 'sizing', 'experiments', 'fast_detector', 'your_videos', 'your_data', 'unav100', 'run', 'counting', 'devices' # Notebooks that run longest

def pytest_collection_modifyitems(items):
    "The longest file first and the notebooks last, the longest of them first: small units at the end keep both workers busy"
    def place(o):
        _, notebook, name = o.nodeid.partition('::test_executes[')
        return o.path.name != 'test_site.py', bool(notebook), not name.rstrip(']').partition('_')[2].endswith(LONG)
    items.sort(key=place)

@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling
    class Units(LoadScopeScheduling):
        def _split_scope(self, nodeid): return unit(nodeid)
    config.option.loadscopereorder = False
    return Units(config, log)

@pytest.fixture(scope='session')
def root(): return ROOT

@pytest.fixture(scope='session')
def unav100():
    "The real annotation file of UnAV-100, which is not part of the repository"
    path = ROOT.parent/'shared'/'unav100'/'unav100_annotations.json'
    if not path.is_file(): pytest.skip('../shared/unav100/unav100_annotations.json is not here')
    return path
