"""Keep what the baseline's whole run measured: runs/baseline -> nbs/results/baseline.json, which 3_detector/17_baseline shows

    loco train --preset stampsav --model.cross none --model.lcc false --out runs/baseline && loco eval runs/baseline
    python nbs/_tools/keep_baseline.py [RUN]
"""
import json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT

import torch
from loco.core.config import Config
from loco.detection.tables import read_predictions
from loco.detection.metric import mean_ap
from loco.training.objective import open_data
from loco.training.judge import read_history

COMMAND = 'loco train --preset stampsav --model.cross none --model.lcc false --out runs/baseline'
RUNNING = 'test_0154'

def rounded(row): return {k: v if isinstance(v, int) else round(v, 5) for k, v in row.items()}

def surest(found, video, n=40):
    "The detections of one video with the highest scores, as lists"
    mine = [i for i, v in enumerate(found['video']) if v == video]
    best = sorted(mine, key=lambda i: -found['score'][i])[:n]
    return {k: [round(float(found[k][i]), 3) if k in ('start', 'end', 'score') else str(found[k][i]) for i in best] for k in found}

def main(run=ROOT/'runs'/'baseline'):
    run = Path(run)
    annotations, _ = open_data(Config.read(run/'run.json'))
    found = read_predictions(run/'predictions_test.json')
    score = mean_ap(annotations.table('test'), found, labels=annotations.labels, videos=annotations.videos('test'))
    metrics = json.loads((run/'metrics_test.json').read_text())
    kept = {'command': COMMAND, 'torch': torch.__version__, 'test': {k: v for k, v in metrics.items() if k != 'of'},
            'at': {f'{t:g}': round(100*v, 3) for t, v in score.at.items()},
            'classes': {k: round(100*float(v.mean()), 2) for k, v in score.per_class.items()},
            'history': [rounded(o) for o in read_history(run)], 'running': surest(found, RUNNING)}
    (ROOT/'nbs'/'results'/'baseline.json').write_text(json.dumps(kept, indent=1) + '\n')

if __name__ == '__main__': main(*sys.argv[1:2])
