"The notebooks are committed as executed, read as they should, and execute again"
import ast, re, statistics
import pytest
import run_nbs
from common import LIB, ROOT, directives, load, notebooks, page, text

PAGES = notebooks()
each = pytest.mark.parametrize('path', PAGES, ids=page)

def sources(nb, kind): return [text(c['source']) for c in nb['cells'] if c['cell_type'] == kind]
def outputs(nb): return [o for c in nb['cells'] if c['cell_type'] == 'code' for o in c['outputs']]

# ---------------------------------------------------------------- as committed

@pytest.mark.fresh
@each
def test_committed_as_executed(path):
    nb = load(path)
    outs, again = outputs(nb), f'run `python nbs/_tools/run_nbs.py nbs/{page(path)}.ipynb`'
    errors = [o['ename'] for o in outs if o['output_type'] == 'error']
    grumbles = [text(o['text']) for o in outs if o.get('name') == 'stderr']
    counts = {c.get('execution_count') for c in nb['cells'] if c['cell_type'] == 'code'} - {None}
    assert outs, f'has no outputs: {again}'
    assert not errors, f'an output is an error: {errors}'
    assert not grumbles, f'a warning is left in the notebook: {grumbles}'
    assert not counts, f'is not clean: {again}'
    assert not any(set(c['metadata']) - {'hide_input'} for c in nb['cells']), f'cells carry metadata: {again}'

@pytest.mark.fresh
@each
def test_widgets_carry_their_state(path):
    nb = load(path)
    state = nb['metadata'].get('widgets', {}).get(run_nbs.WIDGETS, {}).get('state', {})
    shown = {o['data'][run_nbs.VIEW]['model_id'] for o in outputs(nb) if run_nbs.VIEW in o.get('data', {})}
    assert shown <= state.keys(), 'a widget was saved without its state'
    assert sorted(state) == [f'{i:032x}' for i in range(len(state))], 'widget ids are not stable'

@pytest.mark.fresh
@each
def test_small_and_of_no_machine(path):
    raw = path.read_text(encoding='utf-8')
    assert path.stat().st_size < 2**20, 'larger than 1 MiB'
    for where in (str(ROOT), '/site-packages/', '/home/', '/Users/', '/tmp/'):
        seen = [text(o.get('text') or o.get('data', {}).get('text/plain', '')) for o in outputs(load(path))]
        assert not any(where in o for o in seen), f'an output names a path of one machine: {where}'
    assert raw.endswith('}\n') and '\r\n' not in raw

@pytest.mark.fresh
@each
def test_cells_have_their_own_ids(path):
    ids = [c.get('id') for c in load(path)['cells']]
    assert all(ids) and len(ids) == len(set(ids))

# ---------------------------------------------------------------- as written

@pytest.mark.fresh
@each
def test_opens_with_title_and_summary(path):
    first = load(path)['cells'][0]
    assert first['cell_type'] == 'markdown' and re.match(r'# \S.*\n+> \S', text(first['source']))

@pytest.mark.fresh
@each
def test_tells_as_much_as_it_computes(path):
    nb = load(path)
    read = [rest for d, rest in map(directives, sources(nb, 'code')) if not d.keys() & {'hide', 'default_exp'} and not re.match(r'(import|from) \S+.*\Z', rest)]
    prose = sources(nb, 'markdown')
    assert len(prose) >= .5*len(read), f'{len(prose)} cells of prose for {len(read)} of code'

def unshown(path):
    "Public definitions of a notebook, and those among them after which the next is exported at once"
    kinds = []
    for o in sources(load(path), 'code'):
        d, rest = directives(o)
        if d.keys() & {'export', 'exports'} and (m := re.search(r'^(?:def|class) ([^\W_]\w*)', rest, re.M)): kinds.append(m[1])
        elif not d.keys() & {'default_exp', 'export', 'exports', 'exporti'} and rest: kinds.append(None)
    return [o for o in kinds if o], [o for o, after in zip(kinds, [*kinds[1:], 'end']) if o and after]

@pytest.mark.fresh
def test_definitions_are_shown_before_the_next():
    "Nine exported definitions in ten are demonstrated or tested before another is exported"
    found = {page(o): unshown(o) for o in PAGES}
    total, silent = (sum(len(o[i]) for o in found.values()) for i in (0, 1))
    assert silent <= .1*total, f'{silent} of {total} are not: ' + '; '.join(f'{k}: {" ".join(v)}' for k, (_, v) in found.items() if v)

@pytest.mark.fresh
def test_functions_are_short():
    found = {}
    for p in LIB.rglob('*.py'):
        for o in ast.walk(ast.parse(p.read_text(encoding='utf-8'))):
            if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef)):
                doc = o.body[0].end_lineno - o.body[0].lineno + 1 if ast.get_docstring(o) is not None else 0
                found[f'{p.stem}.{o.name}:{o.lineno}'] = o.end_lineno - o.body[0].lineno + 1 - doc
    assert not {k: v for k, v in found.items() if v > 40}
    assert statistics.median(found.values()) <= 7

# ---------------------------------------------------------------- as run

@pytest.fixture(scope='session')
def kernels():
    run_nbs.environment(2)

@pytest.mark.notebooks
@each
def test_executes(path, kernels):
    _, _, _, error = run_nbs.run(path, check=True)
    assert not error, error

@pytest.mark.notebooks
def test_second_run_changes_nothing(tmp_path, kernels):
    "Counts, widget ids, addresses, bars and the order in which the kernel flushes are all taken out"
    import nbformat
    v4 = nbformat.v4
    nb = v4.new_notebook(cells=[
        v4.new_markdown_cell('# t\n\n> s'),
        v4.new_code_cell('from ipywidgets import interact\n@interact(w=(1, 5))\ndef f(w): print(w, object())'),
        v4.new_code_cell('import sys\nfrom tqdm.auto import tqdm\nfor i in tqdm(range(3)): print(i, flush=True)\nobject()'),
        v4.new_code_cell('#| eval: false\n1/0')])
    path = tmp_path/'t.ipynb'
    path.write_text(nbformat.writes(nb), encoding='utf-8')
    states = []
    for _ in range(2):
        _, _, state, error = run_nbs.run(path)
        assert not error
        states.append(state)
    out = path.read_text(encoding='utf-8')
    assert states == ['written', 'unchanged']
    assert ' at 0x' not in out and 'FloatProgress' not in out and 'IntSlider' in out

@pytest.mark.notebooks
def test_a_failing_cell_is_reported(tmp_path, kernels):
    import nbformat
    path = tmp_path/'t.ipynb'
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('answer = 6*7\nraise ValueError(answer)')])), encoding='utf-8')
    before = path.read_text(encoding='utf-8')
    _, _, state, error = run_nbs.run(path)
    assert state == 'FAILED' and 'ValueError: 42' in error and 'answer = 6*7' in error
    assert path.read_text(encoding='utf-8') == before

@pytest.mark.fresh
def test_checks_are_shortened_where_a_cell_says_so():
    "A replacement that meets nothing is an error, or a page's training would quietly be checked whole"
    cell = '#| check: epochs=4 -> epochs=1\nhistory = train(model, epochs=4)'
    assert run_nbs.shortened(cell).endswith('train(model, epochs=1)') and run_nbs.shortened('train(epochs=4)') == 'train(epochs=4)'
    assert run_nbs.shortened('#| hide\n#| check: skip\n1/0') == ''
    with pytest.raises(ValueError, match='epochs=4'): run_nbs.shortened('#| check: epochs=4 -> epochs=1\ntrain(epochs=5)')

@pytest.mark.notebooks
def test_a_kernel_may_end_between_two_questions(monkeypatch):
    "A process that is running when it is looked up and gone when it is asked is one that has ended"
    import subprocess, sys, psutil
    from warm import Forked
    child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
    forked = Forked(child.pid)
    assert forked.poll() is None
    child.communicate(b'\n')
    monkeypatch.setattr(psutil.Process, 'is_running', lambda self: True)
    assert forked.poll() == 0 and forked.wait() == 0
    forked.terminate(), forked.kill()
