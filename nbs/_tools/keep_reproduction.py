"""Keep what `loco reproduce` measured: runs/reproduce/stampsav -> nbs/results/stampsav.json and figures.json, which the results notebooks show

    python nbs/_tools/keep_reproduction.py [FOLDER]          after `loco reproduce all`
"""
import base64, json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT

import numpy as np
from keep_demo import drawn
from loco.core.config import Config
from loco.study.tables import bundle, matrices, write_bundle
from loco.study.experiments import experiment, run_folder
from loco.detection.tables import read_predictions
from loco.training.judge import mixed
from loco.training.objective import open_data

def small(C, side=96):
    "A matrix of cosines as text: means of blocks, in steps of 1/127"
    edges = np.linspace(0, len(C), min(side, len(C)) + 1).astype(int)
    blocks = np.add.reduceat(np.add.reduceat(C, edges[:-1], 0), edges[:-1], 1)/np.outer(np.diff(edges), np.diff(edges))
    return {'steps': len(C), 'side': len(blocks), 'int8': base64.b64encode((blocks*127).round().astype(np.int8).tobytes()).decode()}

def figures(out):
    "What Fig. 4 and Fig. 5 show of single videos, by the first seed"
    runs = {r.name: run_folder(out, r.slug) for r in experiment('fig5').rows}
    annotations, _ = open_data(Config.from_dict(json.loads((runs['LoCo']/'run.json').read_text())))
    videos = mixed(annotations, subset='test', n=3)
    found = {k: drawn(read_predictions(f/'predictions_test.json'), annotations, videos) for k, f in runs.items()}
    return {'fig4': {k: small(C) for k, C in matrices('fig4', out).items()}, 'fig5': {'videos': videos, 'detections': found}}

def main(out=ROOT/'runs'/'reproduce'/'stampsav'):
    results = ROOT/'nbs'/'results'
    write_bundle(results/'stampsav.json', bundle(out))
    (results/'figures.json').write_text(json.dumps(figures(Path(out))) + '\n')
    for name in ('stampsav.json', 'figures.json'): print(f'written: nbs/results/{name}, {(results/name).stat().st_size/1000:.0f} kB')

if __name__ == '__main__': main(*map(Path, sys.argv[1:]))
