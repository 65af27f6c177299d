"""Execute notebooks in place, keeping their outputs and the state of their widgets

    python nbs/_tools/run_nbs.py                        every notebook
    python nbs/_tools/run_nbs.py nbs/3_detector/07_blocks.ipynb  some of them
    python nbs/_tools/run_nbs.py --check -j 2           only see that they run, in kernels that start at once; write nothing

The kernel starts in the notebook's folder, as in JupyterLab, and imports `loco` from the working tree. Cells under
`#| eval: false` or `#| notest` are left as they are, outputs included (`--all` runs the `notest` ones too). A training
whose cell says `#| check: epochs=4 -> epochs=1` is that much shorter under `--check`, and whole everywhere else. A second
run on the same machine gives the same file, printed timings excepted: execution counts, widget ids, object addresses,
progress bars and the machine's own paths are taken out.
"""
import argparse, atexit, hashlib, json, os, re, shutil, sys, tempfile, threading, time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import nbformat, psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from common import ROOT, directives, notebooks
from warm import POSSIBLE, WarmClient

WIDGETS = 'application/vnd.jupyter.widget-state+json'
VIEW = 'application/vnd.jupyter.widget-view+json'
KERNEL = dict(display_name='python3', language='python', name='python3')
_ansi = re.compile(r'\x1b\[[0-9;]*m')
_address = re.compile(r' (?:at|object at) 0x[0-9a-fA-F]{6,}')
_bar = re.compile(r'^.*\d+%\|.*\|.*$\n?', re.M)
_cell_file = re.compile(r'/\S*ipykernel_\d+/\d+\.py')
_scratch = re.compile(re.escape(tempfile.gettempdir()) + r'/tmp\w{8}\b')
_model_id = re.compile(r'[0-9a-f]{32}')

def skipped(src, everything=False):
    "Whether a cell's directives keep it from running"
    d, _ = directives(src)
    return d.get('eval') == 'false' or ('notest' in d and not everything)

def shortened(src):
    "A cell as it is checked: under `#| check: a -> b` with b in place of a, and under `#| check: skip` nothing"
    way = directives(src)[0].get('check', '')
    if way == 'skip': return ''
    old, arrow, new = way.partition(' -> ')
    if not arrow: return src
    head, body = src[:src.index(way) + len(way)], src[src.index(way) + len(way):]
    if old not in body: raise ValueError(f'a cell says `#| check: {way}` and holds no {old!r}')
    return head + body.replace(old, new)

# ---------------------------------------------------------------- making a run repeatable

def give_ids(nb):
    "Every cell gets an id of its own, for nbdev marks exported cells with it"
    seen = set()
    for i, c in enumerate(nb.cells):
        if not c.get('id') or c.id in seen: c['id'] = hashlib.sha1(f'{i}{c.source}'.encode()).hexdigest()[:8]
        seen.add(c.id)
    nb.nbformat, nb.nbformat_minor = 4, 5

def tidy(s):
    "Text of an output without object addresses, progress bars and this machine's paths"
    s = _bar.sub('', _address.sub('', s.replace('\r\n', '\n')))
    s = _cell_file.sub('cell', re.sub(r'^[^\n]*\r', '', s, flags=re.M))
    s = _scratch.sub('tmp', s)
    for path in (sys.prefix, str(ROOT), str(Path.home())): s = s.replace(path + '/', '')
    return s

def join_streams(outputs):
    "Neighbouring stream outputs of one name become one: how the kernel cuts them is chance"
    res = []
    for o in outputs:
        if o.output_type == 'stream' and res and res[-1].output_type == 'stream' and res[-1].name == o.name: res[-1]['text'] += o.text
        else: res.append(o)
    return res

def clean_outputs(outputs):
    "Outputs without what differs from run to run"
    outputs = join_streams(outputs)
    for o in outputs:
        if 'execution_count' in o: o['execution_count'] = None
        if o.output_type == 'stream': o['text'] = tidy(o.text)
        for k, v in o.get('data', {}).items():
            if k.startswith('text'): o.data[k] = tidy(v)
            elif k.startswith('image') and 'svg' not in k: o.data[k] = v.rstrip()
    return [o for o in outputs if o.output_type != 'stream' or o.text]

def clean(nb):
    "The notebook as it goes into git, which is also how `nbdev_clean` would leave it"
    for c in nb.cells:
        c.metadata = {k: v for k, v in c.metadata.items() if k == 'hide_input'}
        if c.cell_type == 'code': c.execution_count, c.outputs = None, clean_outputs(c.outputs)
    for o in widgets(nb).values():
        if 'outputs' in o['state']: o['state']['outputs'] = clean_outputs(o['state']['outputs'])
    nb.metadata = {k: v for k, v in nb.metadata.items() if k == 'widgets'} | dict(kernelspec=KERNEL)

def widgets(nb):
    "State of the notebook's widget models by id"
    return nb.metadata.get('widgets', {}).get(WIDGETS, {}).get('state', {})

def trim_widgets(nb):
    "Drop progress bars, models that nothing shows, and unset layout entries, which are most of a widget's text"
    state = widgets(nb)
    bar = lambda k: any(f'IPY_MODEL_{o}' in json.dumps(state.get(k, {})) for o in state if state[o]['model_name'] == 'FloatProgressModel')
    view = lambda o: o.get('data', {}).get(VIEW, {}).get('model_id')
    shown = set()
    for c in (c for c in nb.cells if c.cell_type == 'code'):
        c.outputs = [o for o in c.outputs if not (view(o) and bar(view(o)))]
        shown |= {view(o) for o in c.outputs} - {None}
    todo = list(shown)
    while todo:
        new = {k for k in _model_id.findall(json.dumps(state.get(todo.pop(), {}))) if k in state} - shown
        shown |= new
        todo += new
    for k in list(state):
        if k not in shown: del state[k]
        elif state[k]['model_name'] == 'LayoutModel': state[k]['state'] = {a: b for a, b in state[k]['state'].items() if b is not None}
    if not state: nb.metadata.pop('widgets', None)

def stable_ids(nb):
    "The notebook with widget models numbered in the order of their creation"
    new = {k: f'{i:032x}' for i, k in enumerate(widgets(nb))}
    return nbformat.from_dict(json.loads(_model_id.sub(lambda m: new.get(m[0], m[0]), json.dumps(nb))))

# ---------------------------------------------------------------- running

def environment(jobs):
    "What the kernels see: the working tree's `loco`, quiet progress bars, no personal IPython profile"
    scratch = tempfile.mkdtemp(prefix='loco-nb-')
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    env = dict(IN_TEST='1', OMP_WAIT_POLICY='PASSIVE', TQDM_DISABLE='1', MPLBACKEND='module://matplotlib_inline.backend_inline', PYTHONHASHSEED='0',
               IPYTHONDIR=scratch, JUPYTER_RUNTIME_DIR=scratch, PYDEVD_DISABLE_FILE_VALIDATION='1',
               PYTHONPATH=os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]))
    if jobs > 1: env['OMP_NUM_THREADS'] = os.environ.get('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1)//jobs)))
    os.environ.update(env)

def busy(pid):
    "Processor seconds of a kernel, or `None` while a child of it, or nothing any more, is at work"
    try: return None if (o := psutil.Process(pid)).children() else sum(o.cpu_times()[:2])
    except psutil.Error: return None

@contextmanager
def watched(client, quiet=25):
    """Within the block a kernel that does nothing for `quiet` seconds is killed. Once in some hundred notebooks a message between kernel and client is lost,
    and each would wait for the other until the cell's time is up."""
    done = threading.Event()
    def watch():
        seen, since = None, time.monotonic()
        while not done.wait(2):
            process = getattr(getattr(client.km, 'provisioner', None), 'process', None)
            now = busy(process.pid) if process else None
            if now is None or seen is None or now > seen + .05: seen, since = now, time.monotonic()
            elif time.monotonic() - since > quiet: return psutil.Process(process.pid).kill()
    threading.Thread(target=watch, daemon=True).start()
    try: yield
    finally: done.set()

def execute(path, *, timeout=600, everything=False, check=False):
    "The notebook at `path`, executed and clean; to check it, shortened where it says so, in a kernel forked from a process that has read the large packages"
    nb = nbformat.from_dict(json.loads(Path(path).read_text(encoding='utf-8')))
    nb = nbformat.v4.nbjson.JSONReader().reads(json.dumps(nb))     # joins lines; no validation before the ids are there
    give_ids(nb)
    for c in nb.cells:
        if c.cell_type == 'code' and skipped(c.source, everything): c.metadata['tags'] = ['skip-execution']
        elif c.cell_type == 'code' and check and not everything: c['source'] = shortened(c.source)
    nb.metadata.pop('widgets', None)
    client = (WarmClient if check and POSSIBLE else NotebookClient)(nb, timeout=timeout, kernel_name='python3', extra_arguments=['--log-level=ERROR'],
        resources={'metadata': {'path': str(Path(path).resolve().parent)}})
    with watched(client): client.execute()
    clean(nb)
    trim_widgets(nb)
    return stable_ids(nb)

def save(nb, path):
    "Write the notebook if it changed; whether it did"
    path, new = Path(path), nbformat.writes(nb) + '\n'
    if path.read_text(encoding='utf-8') == new: return False
    tmp = path.with_name(f'.{path.name}.tmp')
    tmp.write_text(new, encoding='utf-8')
    os.replace(tmp, path)
    return True

def run(path, *, check=False, timeout=600, everything=False):
    "`(path, seconds, what became of it, error or None)` of one notebook"
    start, state, error = time.perf_counter(), 'runs', None
    try:
        options = dict(timeout=timeout, everything=everything, check=check)
        try: nb = execute(path, **options)
        except DeadKernelError: nb = execute(path, **options)
        if not check: state = 'written' if save(nb, path) else 'unchanged'
    except CellExecutionError as e: state, error = 'FAILED', _ansi.sub('', str(e))
    except Exception as e: state, error = 'FAILED', f'{type(e).__name__}: {e}'
    return path, time.perf_counter() - start, state, error

def report(path, seconds, state, error):
    print(f'{seconds:7.1f} s  {state:9}  {path.parent.name}/{path.name}', flush=True)
    if error: print(error, flush=True)
    return not error

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('notebooks', nargs='*', type=Path, help='notebooks to execute; all of them when none is named')
    p.add_argument('-j', '--jobs', type=int, default=1, metavar='N', help='notebooks executed at a time')
    p.add_argument('--check', action='store_true', help='execute, write nothing')
    p.add_argument('--all', action='store_true', help='execute the `#| notest` cells too')
    p.add_argument('--timeout', type=int, default=600, metavar='S', help='seconds allowed to one cell')
    a = p.parse_args(argv)
    paths = a.notebooks or notebooks()
    if missing := [str(o) for o in paths if not o.is_file()]: p.error(f'no such notebook: {" ".join(missing)}')
    environment(a.jobs)
    opts, start = dict(check=a.check, timeout=a.timeout, everything=a.all), time.perf_counter()
    if a.jobs == 1 or len(paths) == 1: ok = [report(*run(o, **opts)) for o in paths]
    else:
        with ProcessPoolExecutor(a.jobs) as pool:
            ok = [report(*f.result()) for f in [pool.submit(run, o, **opts) for o in paths]]
    print(f'{time.perf_counter() - start:7.1f} s  {sum(ok)} of {len(ok)} notebooks executed')
    return 0 if all(ok) else 1

if __name__ == '__main__': sys.exit(main())
