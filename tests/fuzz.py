"""Damaged files of every kind that the program reads: each must be accepted, or refused by an error of the family that names it

    python tests/fuzz.py --inputs 100000                     mutate valid files at random; print a table
    python tests/fuzz.py --inputs 100000 --engine atheris    let coverage lead the mutations (needs the package atheris)
    python tests/fuzz.py --inputs 100000 --out nbs/results/fuzz.json

An input is a fault where anything else happens: another exception, a message without the file's name, more than ten
seconds, a process that dies. Memory is bounded by RLIMIT_AS, so a reader that believes a header and asks for terabytes shows.
"""
import argparse, json, math, multiprocessing, multiprocessing.connection, os, platform, random, resource, shutil, signal, sys, tarfile, tempfile, time, warnings, zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT/'tests')]

SECONDS, MEMORY = 10, 3 << 30                 # for one input; on top of what is in use before
ODD = [None, True, False, 0, -1, 1.5, 1e308, -1e308, math.inf, math.nan, 10**18, 10**300, '', 'x', '12', '\ud800', '\x1b[2J', '../../x', [], [[]], [1, 2],
       [0.5, 'a'], {}, {'a': 1}, ['a', 'a'], 'y'*3000]

# ---------------------------------------------------------------- valid files

def annotations(folder):
    from loco.core.files import write_json
    event = lambda s, e, l, i: {'segment': [s, e], 'label': l, 'label_id': i}
    write_json(folder/'annotations.json', {'version': 'x', 'database': {
        'a': {'duration': 20.0, 'subset': 'train', 'annotations': [event(0, 4.5, 'dog', 1), event(3, 9.5, 'cock', 0)]},
        'b': {'duration': 12.5, 'subset': 'test', 'annotations': [event(1, 12.5, 'cock', 0)]}}}, indent=None)
    return folder/'annotations.json'

def predictions(folder):
    from loco.core.files import write_json
    found = [{'label': 'dog', 'score': .9, 'segment': [1.2, 7.5]}, {'label': 'cock', 'score': .1, 'segment': [0, 3]}]
    write_json(folder/'predictions.json', {'version': 'x', 'results': {'a': found, 'b': found[:1], 'c': []}, 'external_data': {}}, indent=None)
    return folder/'predictions.json'

def settings(folder):
    from loco.core.config import Config
    from loco.core.files import write_json
    write_json(folder/'run.json', Config.preset('stampsav').to_dict(), indent=None)
    return folder/'run.json'

def history(folder):
    (folder/'history.jsonl').write_text(''.join(json.dumps({'epoch': i, 'total': 1/i, 'mAP': 3.*i}) + '\n' for i in range(1, 6)))
    return folder/'history.jsonl'

def bundle(folder):
    from loco.core.files import read_json, write_json
    kept = read_json(ROOT/'nbs'/'results'/'stampsav.json')
    write_json(folder/'bundle.json', {**kept, 'runs': [{k: o[k] for k in ('slug', 'seed', 'test')} for o in kept['runs'][:3]]}, indent=None)
    return folder/'bundle.json'

def array(folder):
    import numpy as np
    np.save(folder/'x.npy', np.arange(24, dtype=np.float32).reshape(8, 3))
    return folder/'x.npy'

def manifest(folder):
    import numpy as np
    from loco.core.clock import Clock
    from loco.data.features import write_store
    draw = np.random.default_rng(0).normal
    write_store(folder/'store', [(v, draw(size=(n, 3)), draw(size=(n, 2))) for v, n in (('a', 5), ('b', 4))], clock=Clock(16, 16, 4), dtype='float32')
    return folder/'store'/'manifest.json'

def checkpoint(folder):
    import torch
    from loco.core.checkpoint import save
    save(folder/'last.safetensors', {'a': torch.ones(4, 3), 'b': torch.tensor(7)}, meta={'epoch': 3, 'history': [{'mAP': 1.5}]})
    return folder/'last.safetensors'

def model(folder):
    from loco.core.config import ModelConfig
    from loco.model.network import LoCo
    cfg = ModelConfig(visual_dim=3, audio_dim=2, classes=2, dim=4, heads=1, levels=1, unimodal_blocks=0, fusion_blocks=0, lcc_dim=2, window=2, max_steps=4)
    LoCo(cfg, labels=('dog', 'cock'), clock=None).save_pretrained(folder/'model')
    return folder/'model'/'config.json'

def weights(folder): return model(folder).with_name('model.safetensors')

def archive(folder, ending='zip'):
    path = folder/f'i3d.{ending}'
    contents = {f'{v}_{m}.npy': bytes(range(200)) for v in 'ab' for m in ('rgb', 'flow')}
    for n, b in contents.items(): (folder/n).write_bytes(b)
    if ending == 'zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z: [z.write(folder/n, n) for n in contents]
    else:
        with tarfile.open(path, f'w:{ending.split(".")[1]}') as t: [t.add(folder/n, n) for n in contents]
    return path

# ---------------------------------------------------------------- readers

def load_annotations(path):
    from loco.data.annotations import Annotations
    known = Annotations.load(path)
    known.table()
    return known

def load_predictions(path):
    from loco.detection.tables import read_predictions
    return read_predictions(path)

def load_settings(path):
    from loco.core.config import Config
    cfg = Config.read(path)
    return cfg.clock, cfg.model.ranges, cfg.to_dict()

def load_history(path):
    from loco.training.judge import read_history
    return read_history(path.parent)

def load_bundle(path):
    from loco.study.tables import read_bundle
    return read_bundle(path)

def load_array(path):
    from loco.core.files import read_array
    return read_array(path), read_array(path, mmap=True)

def load_store(path):
    from loco.data.features import FeatureStore
    store = FeatureStore(path.parent)
    return [store[v] for v in store.index]

def load_checkpoint(path):
    from loco.core.checkpoint import load
    return load(path)

def load_model(path):
    from loco.model.network import LoCo
    return LoCo.from_pretrained(path.parent)

def unpack(path):
    from loco.data.download import extract
    out = path.with_name('out')
    out.mkdir(exist_ok=True)
    extract(path, out, features='i3d-vggish')
    assert not list(out.glob('.*')) and not (path.parent.parent/'x').exists(), 'something was left, or got out'

KINDS = {'annotations': (annotations, load_annotations), 'predictions': (predictions, load_predictions), 'configuration': (settings, load_settings),
         'history': (history, load_history), 'bundle': (bundle, load_bundle), 'array': (array, load_array), 'manifest': (manifest, load_store),
         'checkpoint': (checkpoint, load_checkpoint), 'model description': (model, load_model), 'weights': (weights, load_model),
         'zip': (archive, unpack), 'tar.gz': (lambda o: archive(o, 'tar.gz'), unpack), 'tar.xz': (lambda o: archive(o, 'tar.xz'), unpack)}

# ---------------------------------------------------------------- mutations

def places(value, found=()):
    "Paths to every value inside a JSON value"
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found] * bool(found) + [p for k, v in items for p in places(v, (*found, k))]

def change(value, draw):
    "A JSON value with one value inside replaced, removed, renamed or repeated"
    value = json.loads(json.dumps(value))
    spots = places(value)
    if not spots: return draw.choice(ODD)
    *way, last = draw.choice(spots)
    home = value
    for k in way: home = home[k]
    what = draw.randrange(5)
    if what == 0: del home[last]
    elif what == 1 and isinstance(home, dict): home[draw.choice(['', 'x', 'path', '../x', *map(str, home)])] = home.pop(last)
    elif what == 2 and isinstance(home, list): home.append(home[last])
    else: home[last] = draw.choice(ODD)
    return value

def mutated_json(raw, draw):
    "A JSON file, or one object a line, with some of its values changed"
    try: lines = [json.dumps(json.loads(raw))]
    except ValueError: lines = raw.decode().splitlines()
    i = draw.randrange(len(lines))
    value = json.loads(lines[i])
    for _ in range(draw.randint(1, 3)): value = change(value, draw) if isinstance(value, (dict, list)) else value
    lines[i] = json.dumps(value)
    text = '\n'.join(lines)
    odd = draw.random()
    if odd < .02: text = text.replace('{', '{"a": ' + '['*draw.choice([70, 5000, 100_000]) + ']'*70 + ', ', 1)
    elif odd < .04: text = text.replace('1', '9'*draw.choice([400, 5000]), 1)
    elif odd < .06: text = '\ufeff' + text
    return text.encode('utf-8', 'surrogatepass')

def mutated_bytes(raw, draw):
    "A file with bytes changed, removed, repeated or added, or cut off"
    b = bytearray(raw)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        i = draw.randrange(len(b)) if b else 0
        n = draw.choice([1, 2, 8, 64])
        what = draw.randrange(6)
        if what == 0 and b: b[i] ^= 1 << draw.randrange(8)
        elif what == 1: b[i:i+n] = draw.randbytes(n)
        elif what == 2: del b[i:i+n]
        elif what == 3: b[i:i] = b[i:i+n]
        elif what == 4: b[i:i+8] = draw.choice([0, 2**31, 2**63 - 1, 2**64 - 1, 10**9]).to_bytes(8, 'little')
        elif draw.random() < .3: del b[i:]
    return bytes(b)

def mutated(raw, draw):
    "The valid file `raw` with something wrong"
    structured = raw[:1] in b'{[' and draw.random() < .7
    return (mutated_json if structured else mutated_bytes)(raw, draw)

# ---------------------------------------------------------------- judging

class Slow(BaseException): "An input that takes too long"

def _late(*_): raise Slow

def outcome(read, path):
    "How a reader takes a file: accepted, the class of its error, or what is wrong with that"
    from loco.core.errors import Error
    if timed := signal.getsignal(signal.SIGALRM) is _late: signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try: read(path)
    except Error as e:
        if path.name not in str(e) and str(path.parent) not in str(e): return f'fault: a message without the file: {e}'
        return type(e).__name__
    except Slow: return f'fault: more than {SECONDS} s'
    except Exception as e: return f'fault: {type(e).__name__}: {e}'
    finally:
        if timed: signal.setitimer(signal.ITIMER_REAL, 0)
    return 'accepted'

def bounded():
    "Bound this process's memory, and wake it when an input takes too long"
    used = int(Path('/proc/self/statm').read_text().split()[0])*resource.getpagesize() if Path('/proc/self/statm').exists() else 4 << 30
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,)*2)
    signal.signal(signal.SIGALRM, _late)
    warnings.simplefilter('ignore')

def prepare(kind, folder):
    "A valid file in a folder, its content, and its reader; the valid file must be accepted"
    make, read = KINDS[kind]
    path = make(folder)
    raw = path.read_bytes()
    if (seen := outcome(read, path)) != 'accepted': raise SystemExit(f'the valid {kind} is not accepted: {seen}')
    return path, raw, read

def fuzz(kind, inputs, *, seed=0):
    "Counts of outcomes over mutated files of a kind, an example of each fault, and the longest time"
    draw, seen, faults, longest = random.Random(f'{kind} {seed}'), Counter(), {}, 0
    with tempfile.TemporaryDirectory(prefix='fuzz-') as tmp:
        folder = Path(tmp)/'in'
        folder.mkdir()
        path, raw, read = prepare(kind, folder)
        for _ in range(inputs):
            path.write_bytes(data := mutated(raw, draw))
            start = time.perf_counter()
            said = outcome(read, path)
            longest = max(longest, time.perf_counter() - start)
            seen[said.partition(':')[0]] += 1
            if said.startswith('fault'): faults.setdefault(said[:160], data[:2000].decode('latin-1'))
    return dict(kind=kind, inputs=inputs, seen=dict(seen), seconds=longest, faults=faults)

def by_coverage(kind, inputs, *, seed=0):
    "The same, with mutations led by coverage"
    import atheris
    with atheris.instrument_imports(include=['loco']):
        import loco.core.files, loco.core.config, loco.core.checkpoint, loco.data.annotations, loco.data.features, loco.data.download, loco.detection.inference  # noqa: F401
    folder = Path(tempfile.mkdtemp(prefix='fuzz-'))
    (folder/'in').mkdir(); (folder/'seeds').mkdir()
    path, raw, read = prepare(kind, folder/'in')
    (folder/'seeds'/'valid').write_bytes(raw)
    seen, faults, longest = Counter(), {}, 0.
    def one(data):
        nonlocal longest
        path.write_bytes(data)
        start = time.perf_counter()
        said = outcome(read, path)
        longest = max(longest, time.perf_counter() - start)
        seen[said.partition(':')[0]] += 1
        if said.startswith('fault'): faults.setdefault(said[:160], data[:2000].decode('latin-1'))
        if seen.total() >= inputs:
            _send(dict(kind=kind, inputs=inputs, seen=dict(seen), seconds=longest, faults=faults))
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)
    atheris.Setup([sys.argv[0], f'-runs={inputs + 1000}', f'-seed={seed + 1}', '-max_len=20000', '-rss_limit_mb=0', '-verbosity=0', str(folder/'seeds')], one)
    atheris.Fuzz()

def _send(report): _send.to.send(report)

def _work(engine, kind, inputs, seed, to):
    _send.to = to
    bounded()
    if (report := engine(kind, inputs, seed=seed)): _send(report)

def begin(engine, kind, inputs, seed):
    "Start an engine in a process of its own; returns where its report arrives, and the process"
    here, there = multiprocessing.Pipe(duplex=False)
    p = multiprocessing.get_context('fork').Process(target=_work, args=(engine, kind, inputs, seed, there))
    p.start(); there.close()
    return here, p

def end(here, p, kind, inputs):
    "The report of a process that has ended; its death is a fault too"
    try: return here.recv()
    except EOFError: pass
    finally: p.join()
    return dict(kind=kind, inputs=inputs, seen={'fault': 1}, seconds=0, faults={f'fault: the process ended with status {p.exitcode}': ''})

def run(engine, todo, jobs):
    "Reports of `(kind, inputs, seed)`, so many at a time, added up by kind"
    todo, at_work, reports = list(todo), {}, {kind: None for kind, *_ in todo}
    while todo or at_work:
        while todo and len(at_work) < jobs:
            kind, inputs, seed = todo.pop(0)
            here, p = begin(engine, kind, inputs, seed)
            at_work[here] = p, kind, inputs
        for here in multiprocessing.connection.wait(list(at_work)):
            part = end(here, *at_work[here])
            reports[part['kind']] = add(reports[part['kind']], part)
            del at_work[here]
    return list(reports.values())

def add(total, part):
    "One report from two"
    if total is None: return part
    return dict(kind=part['kind'], inputs=total['inputs'] + part['inputs'], seen=dict(Counter(total['seen']) + Counter(part['seen'])),
                seconds=max(total['seconds'], part['seconds']), faults={**total['faults'], **part['faults']})

def show(reports):
    "The reports as a table"
    outcomes = ['accepted', *sorted({k for r in reports for k in r['seen']} - {'accepted', 'fault'}), 'fault']
    print(f'{"kind":18}{"inputs":>8}' + ''.join(f'{o:>10}' for o in outcomes) + f'{"longest":>10}')
    for r in reports: print(f'{r["kind"]:18}{r["inputs"]:8,}' + ''.join(f'{r["seen"].get(o, 0):10,}' for o in outcomes) + f'{r["seconds"]:8.2f} s')
    for r in reports:
        for f in list(r['faults'])[:10]: print(f'{r["kind"]}: {f}')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--inputs', type=int, default=13_000, help='over all kinds together')
    p.add_argument('--engine', choices=('random', 'atheris'), default='random')
    p.add_argument('--kind', choices=KINDS, action='append', help='only this kind; may be repeated')
    p.add_argument('--jobs', type=int, default=1, help='processes at a time')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--out', type=Path, help='JSON file of the counts')
    a = p.parse_args()
    if a.engine == 'random': import loco.data.download, loco.detection.inference, loco.model.network, loco.study.tables, loco.training.run  # noqa: F401  once, before the forks
    kinds, engine = a.kind or list(KINDS), dict(random=fuzz, atheris=by_coverage)[a.engine]
    each, start = -(-a.inputs//len(kinds)), time.perf_counter()
    reports = run(engine, [(k, min(2000, each - first), a.seed + first) for k in kinds for first in range(0, each, 2000)], a.jobs)
    show(reports)
    if a.out:
        from loco.core.files import write_json
        kept = [{k: v for k, v in r.items() if k != 'faults'} | {'seconds': round(r['seconds'], 2), 'faults': list(r['faults'])} for r in reports]
        write_json(a.out, dict(engine=a.engine, seed=a.seed, inputs=each*len(kinds), seconds=round(time.perf_counter() - start), python=platform.python_version(), memory=MEMORY, limit=SECONDS, kinds=kept))
    return any(r['faults'] for r in reports)

if __name__ == '__main__': sys.exit(main())
