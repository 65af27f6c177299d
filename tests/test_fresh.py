"Everything generated that is in git says what its source says: loco/, pyproject.toml and README.md"
import builtins, re, symtable
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

def undefined(source, where='module'):
    "Names that a module reads and that neither it nor Python has"
    def read(table): return {s.get_name() for s in table.get_symbols() if s.is_referenced() and s.is_global()}.union(*map(read, table.get_children()))
    whole = symtable.symtable(source, where, 'exec')
    own = {s.get_name() for s in whole.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    return sorted((read(whole) | {s.get_name() for s in whole.get_symbols() if s.is_referenced()}) - own - set(dir(builtins)) - {'__file__', '__name__'})

def test_no_module_uses_what_only_its_page_has():
    "A name that a hidden cell imports is there on the page, and a NameError in the package"
    assert undefined('import os\ndef f(x): return os.sep, Missing, [y for y in x]') == ['Missing']
    assert not {o.relative_to(LIB).as_posix(): names for o in LIB.rglob('*.py') if (names := undefined(o.read_text(encoding='utf-8'), str(o)))}

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
