"""Keep what `make demo` measured: runs/ -> nbs/results/demo.json, which the front page shows

    python nbs/_tools/keep_demo.py          after `make demo`
"""
import json, os, platform, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT

import torch
from loco.core.config import Config
from loco.detection.tables import read_predictions
from loco.training.judge import mixed, read_history, surest
from loco.training.objective import open_data

def drawn(found, annotations, videos):
    "The detections of some videos that are drawn, as lists"
    found = surest(found, annotations)
    keep = [i for i,v in enumerate(found['video']) if v in videos]
    return {k: [round(float(found[k][i]), 3) if k in ('start', 'end', 'score') else str(found[k][i]) for i in keep] for k in found}

def main(runs=ROOT/'runs', names=('base', 'loco')):
    cfg = Config.from_dict(json.loads((runs/'loco'/'run.json').read_text()))
    annotations, _ = open_data(cfg)
    videos = mixed(annotations, subset='test', n=6)
    kept = {'command': 'make demo', 'torch': torch.__version__, 'python': platform.python_version(), 'cores': len(os.sched_getaffinity(0)), 'videos': videos, 'runs': {}}
    for name in names:
        kept['runs'][name] = {'test': json.loads((runs/name/'metrics_test.json').read_text()), 'history': read_history(runs/name),
                              'detections': drawn(read_predictions(runs/name/'predictions_test.json'), annotations, videos)}
    out = ROOT/'nbs'/'results'/'demo.json'
    out.write_text(json.dumps(kept) + '\n')
    print(f'written: {out.relative_to(ROOT)}, {out.stat().st_size/1000:.0f} kB')

if __name__ == '__main__': main()
