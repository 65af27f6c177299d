"""Train the rows that data/stampsav2 was made to tell apart, and keep what they score: -> nbs/results/stampsav2.json, which nbs/5_results/29_stampsav2.ipynb shows

    python nbs/_tools/keep_second.py                   seed 0 of every row, into runs/stampsav2; interrupted, the same command goes on
    python nbs/_tools/keep_second.py --seeds 3         seeds 0, 1 and 2
    python nbs/_tools/keep_second.py --rows CDP        one row
"""
import argparse, json, shutil, subprocess, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT
from loco.data.features import FeatureStore, write_store

NO_LCC, NO_BLOCK = {'model.lcc': 'false'}, {'model.fusion_blocks': '0'}
ALONE = {'model.cross': 'none', **NO_LCC}
CROSS = {'global': {'model.cross': 'global'}, 'fixed windows': {'model.cross': 'fixed'}, 'CDP': {}}
# Row to its changes, the most telling rows first
ROWS = {'pyramid alone, no block': {**ALONE, **NO_BLOCK}, 'CDP + LCC': CROSS['CDP'], 'pyramid alone': ALONE, 'CDP': {**CROSS['CDP'], **NO_LCC}, 'seen only': ALONE, 'heard only': ALONE,
        **{k: {**CROSS[k], **NO_LCC} for k in ('global', 'fixed windows')}, **{f'{k} + LCC': CROSS[k] for k in ('global', 'fixed windows')},
        'global, no block': {**CROSS['global'], **NO_LCC, **NO_BLOCK}}
SILENCED = {'seen only': 'audio', 'heard only': 'visual'} # Whose features are zero

def loco(*words):
    "The program, its standard output, or nothing where it failed"
    r = subprocess.run([sys.executable, '-m', 'loco.program.main', *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return r.stdout if r.returncode == 0 else None

def silenced(data, modality, folder):
    "The data set with the features of one modality zero"
    if (folder/'features'/'manifest.json').exists(): return folder
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(data)/'annotations.json', folder)
    store = FeatureStore(Path(data)/'features')
    items = ((v, *(0*x if m == modality else x for m, x in zip(('visual', 'audio'), store[v]))) for v in store.index)
    write_store(folder/'features', items, clock=store.clock)
    return folder

def run(name, seed, out, data):
    "Train a row, score it on both splits; `None` where that failed"
    if name in SILENCED: data = silenced(data, SILENCED[name], out/f'no_{SILENCED[name]}')
    folder = out/name.replace(' ', '_').replace('+', 'and').replace(',', '')/f'seed-{seed}'
    changes = [w for k, v in {**ROWS[name], 'train.seed': seed}.items() for w in (f'--{k}', v)]
    if loco('train', '--preset', 'stampsav2', '--data', data, '--out', folder, '--quiet', *changes) is None: return None
    scores = {}
    for split in ('validation', 'test'):
        file = folder/f'{split}.json'
        if not file.exists():
            said = loco('eval', folder, '--split', split, '--json', '--quiet')
            if said is None: return None
            file.write_text(said)
        scores[split] = json.loads(file.read_text())[0]['mAP']
    return scores

def keep(kept, path):
    path.write_text(json.dumps(kept, indent=1) + '\n')
    print(f'written: {path}, {len(kept["runs"])} runs', flush=True)

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--out', type=Path, default=ROOT/'runs'/'stampsav2')
    p.add_argument('--data', default=ROOT/'data'/'stampsav2')
    p.add_argument('--to', type=Path, default=ROOT/'nbs'/'results'/'stampsav2.json')
    p.add_argument('--seeds', type=int, default=1)
    p.add_argument('--rows', nargs='*', choices=ROWS, help='Only these rows')
    a = p.parse_args()
    kept = {'command': f'python nbs/_tools/keep_second.py --seeds {a.seeds}', 'runs': []}
    for seed in range(a.seeds):
        for name in a.rows or ROWS:
            scores = run(name, seed, a.out, a.data)
            if scores: kept['runs'].append({'row': name, 'seed': seed, **scores})
            keep(kept, a.to)

if __name__ == '__main__': main()
