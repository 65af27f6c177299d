"""Kill commands at random moments, fill the disk, take the rights away, and count what comes of it

    python nbs/_tools/faults.py                      everything, about a quarter of an hour; writes nbs/results/faults.json
    python nbs/_tools/faults.py --missing            only what that report has not counted yet, added to it
    python nbs/_tools/faults.py --kills 8 --out x.json --only train "data pack"

Every command runs in a process of its own that is forked from this one, so that a life costs no imports. A command is one
entry of `COMMANDS`. It is started in a folder, stopped by SIGKILL, SIGTERM or SIGINT after a random time, and started
again in what is left there, until it ends by itself. The end must then be that of a run which nothing disturbed: the
same files, the same numbers bit for bit, times of day and durations aside.
"""
import argparse, ctypes, hashlib, json, multiprocessing, os, random, resource, shutil, signal, subprocess, sys, tempfile, time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from common import NBS, ROOT
sys.path[:0] = [str(ROOT), str(ROOT/'tests')]

RESULTS = NBS/'results'/'faults.json'
SIGNALS = {'SIGKILL': {-9}, 'SIGTERM': {143, -15}, 'SIGINT': {130}}           # and how a command may end on each
PATIENCE = 120                                                                  # seconds after which a life counts as hung
TIMES = {'seconds', 'took', 'started', 'finished', 'total_seconds'}                     # keys of JSON that hold durations
_passing = {'.training.lock', 'tensorboard', '.tmp'}                            # files that say nothing about the end

# ---------------------------------------------------------------- commands

@dataclass(frozen=True)
class Command:
    "How a command is called, and when it is killed"
    words:Callable # `(world, folder)` to the words of the command line; everything it writes goes into `folder`
    share:float # Kills fall within this share of an undisturbed run
    kills:int # How many
    before:Callable|None=None # `(world, folder)`, makes what the command finds in `folder`
    failed:tuple=(2,) # Statuses with which it may fail; 1 where a single video fails and the others are done

def _train(world, folder):
    import small
    return ['train', '--quiet', '--out', folder, *small.words(world/'data', **TINY, **{'train.epochs': 4})]

def _reproduce(world, folder):
    import small
    return ['reproduce', 'fig4', '--out', folder, '--seeds', '1', *small.words(world/'data', **TINY)]

def _pack(world, folder):
    return ['data', 'pack', world/'files', '--out', folder/'store', '--workers', '1', '--quiet', '--fps', '16', '--window', '16', '--stride', '4']

TINY = {'model.dim': 8, 'model.lcc_dim': 4, 'inference.top_k': 50}
COMMANDS = {
    'train': Command(_train, .5, 24),
    'data pack': Command(_pack, .9, 45),
    'extract': Command(lambda world, folder: ['extract', world/'videos', '--out', folder/'features', '--quiet'], .6, 15, failed=(1, 2)),
    'eval': Command(lambda world, folder: ['eval', folder, '--quiet'], 1.2, 25, before=lambda world, folder: shutil.copytree(world/'run', folder)),
    'reproduce': Command(_reproduce, .4, 10),
}

def known():
    "The commands of the table that this version of the program has"
    from typer.main import get_command
    from loco.program.main import app
    return {k: v for k, v in COMMANDS.items() if k.partition(' ')[0] in get_command(app).commands}

def make_world(folder):
    "Everything the commands start from: a store, the same as one file a video, a trained run, videos"
    import numpy as np
    import small
    from loco.data.features import FeatureStore
    data = small.write(folder/'data', splits={'train': 8, 'validation': 2, 'test': 2})
    for m in ('visual', 'audio'): (folder/'files'/m).mkdir(parents=True)
    shutil.copy(data/'annotations.json', folder/'files')
    store = FeatureStore(data/'features')
    for video in json.loads((data/'annotations.json').read_text())['database']:
        for m, x in zip(('visual', 'audio'), store[video]): np.save(folder/'files'/m/f'{video}.npy', x)
    (folder/'videos').mkdir()
    for o in sorted((small.STAMPSAV/'clips').glob('*.mp4'))[:3]: shutil.copy(o, folder/'videos')
    code, said = live(_train(folder, folder/'run'))
    assert code == 0, said
    return folder

# ---------------------------------------------------------------- lives

def _main(words, pipe, prepare):
    "Body of a forked process: the program, as a shell would start it"
    for fd in (1, 2): os.dup2(pipe, fd)
    prepare()
    sys.stdout, sys.stderr = (os.fdopen(os.dup(fd), 'w', buffering=1) for fd in (1, 2))
    sys.argv = ['loco', *map(str, words)]
    from loco.program.main import main
    main()

class Life:
    "One process of a command"
    def __init__(self, words, prepare=lambda: None):
        self.pipe, end = os.pipe()
        self.process = multiprocessing.get_context('fork').Process(target=_main, args=(words, end, prepare))
        self.process.start()
        os.close(end)

    def end(self, after=None, sign=None):
        "Exit status and what it said; the process gets `sign` after some seconds, if it still runs then"
        self.process.join(after if sign else PATIENCE)
        self.stopped = self.process.is_alive()
        if self.stopped and sign:
            os.kill(self.process.pid, getattr(signal, sign))
            self.process.join(PATIENCE)
        hung = self.process.is_alive()
        if hung: self.process.kill()
        self.process.join()
        os.set_blocking(self.pipe, False)
        with open(self.pipe, 'rb') as f: said = (f.read() or b'').decode(errors='replace')
        return 'hung' if hung else self.process.exitcode, said

def live(words, prepare=lambda: None): return Life(words, prepare).end()

# ---------------------------------------------------------------- ends

def _plain(o):
    "JSON without durations"
    if isinstance(o, dict): return {k: _plain(v) for k, v in o.items() if k not in TIMES}
    return [_plain(v) for v in o] if isinstance(o, list) else o

def _content(path, folder):
    "What of a file must be the same"
    if path.suffix == '.safetensors':
        from safetensors.numpy import load_file
        return {k: (str(v.dtype), v.shape, hashlib.sha256(v.tobytes()).hexdigest()) for k, v in load_file(path).items()}
    data = path.read_bytes().replace(str(folder).encode(), b'FOLDER')
    if path.suffix == '.json': return _plain(json.loads(data))
    if path.suffix == '.jsonl': return [_plain(json.loads(l)) for l in data.splitlines()]
    return hashlib.sha256(data).hexdigest()

def outcome(folder):
    "`{file: its content}` of all files of a finished command"
    files = [o for o in sorted(folder.rglob('*')) if o.is_file() and not _passing & {*o.relative_to(folder).parts}]
    return {str(o.relative_to(folder)): _content(o, folder) for o in files}

def differences(a, b):
    "Names of the files that differ between two outcomes, or that one lacks"
    return sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))

# ---------------------------------------------------------------- kills

def undisturbed(command, world, folder):
    "Outcome of a command that nothing disturbs, and its seconds"
    if command.before: command.before(world, folder)
    begin = time.perf_counter()
    code, said = live(command.words(world, folder))
    assert code == 0, f'{command.words(world, folder)}: {said}'
    return outcome(folder), time.perf_counter() - begin

def survive(command, world, folder, seconds, rng, most):
    "Kill a command up to `most` times on its way to its end; what was seen"
    seen = dict(kills={k: 0 for k in SIGNALS}, faults=[])
    if command.before: command.before(world, folder)
    while True:
        sign = rng.choice([*SIGNALS]) if sum(seen['kills'].values()) < most else None
        life = Life(command.words(world, folder))
        code, said = life.end(rng.uniform(0, command.share)*seconds, sign)
        if 'Traceback' in said: seen['faults'].append(f'{sign or "the end"}: a traceback: {said.strip().splitlines()[-1]}')
        if not life.stopped: break
        seen['kills'][sign] += 1
        if code not in SIGNALS[sign] | {0}: seen['faults'].append(f'{sign}: ended with status {code}')
    if code != 0: seen['faults'].append(f'the undisturbed end has status {code}: {said.strip()[-300:]}')
    return seen

def kill(name, command, world, folder, whole, seconds, *, kills=None, seed=0):
    "Kills of one command, over as many runs as that takes"
    rng, left = random.Random(f'{seed} {name}'), command.kills if kills is None else kills
    res = dict(kills={k: 0 for k in SIGNALS}, ends=0, identical=0, seconds=round(seconds, 2), faults=[])
    while left > 0:
        run = folder/str(res['ends'])/'run'                       # model cards name their folder
        run.parent.mkdir()
        seen = survive(command, world, run, seconds, rng, min(left, 8))
        for k, n in seen['kills'].items(): res['kills'][k] += n
        left -= sum(seen['kills'].values())
        differ = differences(whole, outcome(run)) if run.exists() else ['everything']
        res['ends'] += 1
        res['identical'] += not differ
        res['faults'] += seen['faults'] + [f'differs or is left over: {o}' for o in differ]
        shutil.rmtree(run, ignore_errors=True)
    return res

# ---------------------------------------------------------------- a full disk, no rights, nobody who reads

def expect(res, what, said, code, *, status=(2,), name=''):
    "Count an error that ends with one of its statuses, names its file and shows no traceback; anything else is a fault"
    good = code in status and 'Traceback' not in said and str(name) in said
    res['cases'] += 1
    res['said'] += good
    if not good: res['faults'].append(f'{what}: status {code}: {said.strip()[-300:]}')

def again(res, what, command, world, folder, whole):
    "Start the command once more, now undisturbed, and compare its end"
    code, said = live(command.words(world, folder))
    differ = differences(whole, outcome(folder)) if code == 0 else [f'status {code}: {said.strip()[-300:]}']
    res['identical'] += not differ
    res['faults'] += [f'{what}, then again: {o}' for o in differ]

def fresh(command, world, folder):
    "A folder as the command finds it"
    if command.before: command.before(world, folder)
    else: folder.mkdir(parents=True)
    return folder

def fill(name, command, world, folder, whole):
    "No file may grow beyond a limit, as on a full disk: a limit for each file that the command writes, then none"
    found = {p.stat().st_size - 1 for p in (world/'ends'/name/'run').rglob('*') if p.is_file()}
    res = dict(cases=0, said=0, identical=0, faults=[])
    for size in sorted(o for o in found if o >= 0):
        run = fresh(command, world, folder/str(size)/'run')
        code, said = live(command.words(world, run), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
        if code == 0: continue                                   # what it must write fits
        expect(res, f'{size} bytes', said, code, status=command.failed, name=run)
        again(res, f'{size} bytes', command, world, run, whole)
    return res

def _like_others():
    "Give up root's right to read and write in spite of permissions"
    if os.geteuid(): return
    libc, head, sets = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32*2)(0x20080522, 0), (ctypes.c_uint32*6)()
    failed = libc.capget(head, sets)
    for i in (0, 1): sets[i] &= ~0b110                           # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: effective, permitted
    if failed or libc.capset(head, sets): raise OSError(ctypes.get_errno(), 'capabilities cannot be given up here')

def deny(name, command, world, folder, whole):
    "A folder in which nothing can be written, and annotations that cannot be read"
    res = dict(cases=0, said=0, identical=0, faults=[])
    run = fresh(command, world, folder/'closed'/'run')
    run.chmod(0o555)
    code, said = live(command.words(world, run), _like_others)
    run.chmod(0o755)
    expect(res, 'read-only folder', said, code, status=command.failed, name=run)
    again(res, 'read-only folder', command, world, run, whole)
    notes, run = [world/o/'annotations.json' for o in ('data', 'files')], fresh(command, world, folder/'unread'/'run')
    for o in notes: o.chmod(0)
    code, said = live(command.words(world, run), _like_others)
    for o in notes: o.chmod(0o644)
    if name != 'extract': expect(res, 'unreadable annotations', said, code, name='annotations.json')
    again(res, 'unreadable annotations', command, world, run, whole)
    return res

def _nobody_reads():
    r, w = os.pipe()
    os.close(r)
    os.dup2(w, 1)

def pipe(world, folder, whole):
    "Output that nobody reads ends a command quietly; a training goes on where it was"
    res, command = dict(cases=0, said=0, identical=0, faults=[]), COMMANDS['train']
    code, said = live(['config'], _nobody_reads)
    expect(res, 'config', said or 'quiet', code, status=(141,), name='quiet')
    code, said = live([o for o in command.words(world, folder/'run') if o != '--quiet'], _nobody_reads)
    expect(res, 'train', said, code, status=(141,))
    again(res, 'train', command, world, folder/'run', whole)
    return res

# ---------------------------------------------------------------- several processes

SLOW = '''
import functools, time
from loco.training import processes, run
run.processes, quick, naps = functools.partial(processes.processes, timeout={timeout}), run.validate, [{pause}]
def validate(*args, **kw):
    if naps: time.sleep(naps.pop())
    return quick(*args, **kw)
run.validate = validate
from loco.program.main import main
main()
'''

def torchrun(words, *, script=None):
    "Start the program as two ranks"
    what = [script] if script else ['-m', 'loco']
    env = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2', *map(str, what), *map(str, words)],
                            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

def rank_of(parent, rank):
    "Process of a rank below a torchrun, or `None`"
    for pid in Path(f'/proc/{parent}/task/{parent}/children').read_text().split():
        if f'\0RANK={rank}\0' in Path(f'/proc/{pid}/environ').read_text(): return int(pid)

def lose_rank(world, folder, *, rank=1):
    "Kill one of two ranks in the middle of training: seconds until all have ended, and what was said"
    p = torchrun([*_train(world, folder/'run'), '--train.epochs', 500, '--model.drop_path', 0])
    while not (folder/'run'/'history.jsonl').exists():
        if p.poll() is not None: return None, p.communicate()[0]
        time.sleep(.05)
    os.kill(rank_of(p.pid, rank), signal.SIGKILL)
    begin = time.perf_counter()
    said = p.communicate()[0]
    return time.perf_counter() - begin, said

def validate_long(world, folder, *, timeout=10, pause=16):
    "Train on two ranks, with a validation that lasts longer than a rank waits in a collective"
    (folder/'slow.py').write_text(SLOW.format(timeout=timeout, pause=pause))
    p = torchrun([*_train(world, folder/'run'), '--train.epochs', 2, '--train.warmup', 0, '--model.drop_path', 0], script=folder/'slow.py')
    said = p.communicate()[0]
    return p.returncode, said

def ranks(world, folder):
    "Both of them, counted"
    res = dict(cases=0, said=0, faults=[])
    (folder/'lost').mkdir(), (folder/'long').mkdir()
    seconds, said = lose_rank(world, folder/'lost')
    good = seconds is not None and seconds < 30 and 'process 1 of 2' in said
    code, told = validate_long(world, folder/'long')
    for name, ok, text in (('a lost rank', good, said), ('a long validation', code == 0, told)):
        res['cases'] += 1
        res['said'] += ok
        if not ok: res['faults'].append(f'{name}: {text.strip()[-600:]}')
    return res | dict(seconds=seconds and round(seconds, 1))

# ---------------------------------------------------------------- the report

def warm_up():
    "Import once what every life would import"
    from torch.utils.tensorboard import SummaryWriter
    import av, filelock, matplotlib.pyplot, scipy.stats, torch._dynamo, tqdm.auto
    from loco.data import annotations, check, locate, pack
    from loco.program import main
    from loco.study import experiments, tables
    from loco.training import run

def nothing_yet(): return {kind: {} for kind in ('kills', 'full', 'denied', 'others')} | dict(seconds=0)

def report(folder, *, only=(), kills=None, seed=0, res=None, keep=lambda res: None):
    "Everything that `res` does not hold yet, counted; `keep` gets what is known so far"
    res = res or nothing_yet()
    commands, begin = {k: v for k, v in known().items() if not only or k in only}, time.perf_counter() - res['seconds']
    warm_up()
    res['not_there'] = [k for k in COMMANDS if k not in known()]
    def count(kind, name, f):
        if name in res[kind]: return
        at = folder/kind/name.replace(' ', '-')
        at.mkdir(parents=True)
        res[kind][name] = found = f(at)
        shutil.rmtree(at)
        res['seconds'] = round(time.perf_counter() - begin)
        print(f'{res["seconds"]:6} s  {kind:7} {name:10} {json.dumps(found)}', flush=True)
        keep(res)
    world = make_world(folder/'world')
    ends = {}
    for name, c in commands.items():
        if all(name in res[kind] for kind in ('kills', 'full', 'denied')): continue
        (world/'ends'/name).mkdir(parents=True)
        whole, seconds = ends[name] = undisturbed(c, world, world/'ends'/name/'run')
        count('kills', name, lambda at: kill(name, c, world, at, whole, seconds, kills=kills, seed=seed))
    for name, (whole, _) in ends.items():
        c = commands[name]
        count('full', name, lambda at: fill(name, c, world, at, whole))
        count('denied', name, lambda at: deny(name, c, world, at, whole))
    for name, f in (('closed pipe', lambda at: pipe(world, at, outcome(world/'run'))), ('two ranks', lambda at: ranks(world, at))):
        if not only or name in only: count('others', name, f)
    return res

def faults(res):
    "All faults of a report"
    return [f'{kind}, {name}: {o}' for kind in ('kills', 'full', 'denied', 'others') for name, found in res[kind].items() for o in found['faults']]

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--kills', type=int, help='kills of each command, in place of those of the table')
    p.add_argument('--only', nargs='*', default=(), help='parts, such as: train "data pack" "two ranks"')
    p.add_argument('--seed', type=int, default=0, help='seed of the moments and signals')
    p.add_argument('--missing', action='store_true', help='keep what the report holds, and count the rest')
    p.add_argument('--out', type=Path, default=RESULTS, help='the report')
    a = p.parse_args(argv)
    keep = lambda res: a.out.write_text(json.dumps(res, indent=1) + '\n')
    res = json.loads(a.out.read_text()) if a.missing and a.out.exists() else None
    with tempfile.TemporaryDirectory() as tmp: res = report(Path(tmp).resolve(), only=a.only, kills=a.kills, seed=a.seed, res=res, keep=keep)
    found = faults(res)
    print('\n'.join(found) or f'{sum(sum(o["kills"].values()) for o in res["kills"].values())} kills, no fault')
    return bool(found)

if __name__ == '__main__': sys.exit(main())
