"Everything generated that is in git says what its source says: loco/, pyproject.toml and README.md"
import re
import pytest
import export, readme
from common import LIB, directives, load, notebooks, settings, text

pytestmark = pytest.mark.fresh

def test_package_matches_notebooks():
    changes = export.stale()
    assert not changes, 'run `make export`\n' + '\n'.join(export.explain(k, *v) for k, v in changes.items())

def test_readme_matches_index():
    assert not readme.stale(readme.build()), 'run `make readme`'

def test_every_module_has_one_notebook():
    made = [d['default_exp'] for p in notebooks() for c in load(p)['cells'] if 'default_exp' in (d := directives(text(c['source']))[0])]
    rooms = {o.partition('.')[0] for o in made if '.' in o}
    assert len(made) == len(set(made))
    assert {o.relative_to(LIB).with_suffix('').as_posix().replace('/', '.') for o in LIB.rglob('*.py')} == {*made, '_modidx', *(f'{o}.__init__' for o in rooms)}

def test_version_is_that_of_settings():
    import loco
    assert loco.__version__ == settings()['version']

def test_stale_files_are_found(tmp_path, monkeypatch):
    "An edited module, one of no notebook and a missing one are all reported"
    fresh = {'loco/a.py': 'x = 1\n', 'loco/b.py': 'y = 1\n'}
    here = {'loco/a.py': 'x = 2\n', 'loco/c.py': 'z = 1\n'}
    monkeypatch.setattr(export, 'fresh', lambda folder: None)
    monkeypatch.setattr(export, 'exported', lambda root: here if root == export.ROOT else fresh)
    changes = export.stale()
    said = [export.explain(k, *v) for k, v in changes.items()]
    assert list(changes) == ['loco/a.py', 'loco/b.py', 'loco/c.py']
    assert re.search(r'-x = 2\n\+x = 1', said[0]) and said[1] == 'loco/b.py is missing' and said[2] == 'loco/c.py comes from no notebook'
