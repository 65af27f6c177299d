"""Keep the error analysis of runs: runs/ -> nbs/results/errors.json, which nbs/workshop/a51_error_report.ipynb shows

    python nbs/_tools/keep_errors.py                     runs/base and runs/loco, after `make demo`
    python nbs/_tools/keep_errors.py RUN RUN ...         other runs that `loco eval` has judged
"""
import json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT

import numpy as np
from loco.study.error_report import analyse_run, summarise
from loco.study.costs import over_own

def misled(errors, most=8):
    "The video of few events in which the most false detections of the first group lie over a distractor of their class"
    det, names = errors.det, list(errors.durations)
    events, count = ({v: int((np.asarray(cols['video'])[ok] == v).sum()) for v in names} for cols, ok in (
        (errors.events, slice(None)), (det, (det['group'] == 1) & (det['kind'] > 1) & (over_own(errors) >= 0))))
    return max((v for v in names if events[v] <= most), key=lambda v: count[v])

def drawn(errors, video):
    "The first group of a video's detections, as lists"
    keep = np.flatnonzero((errors.det['video'] == video) & (errors.det['group'] == 1))
    return {k: [round(float(errors.det[k][i]), 3) if k in ('start', 'end', 'score') else str(errors.det[k][i]) for i in keep]
            for k in ('video', 'label', 'start', 'end', 'score')}

def main(runs):
    found = {Path(o).name: analyse_run(o) for o in runs}
    video = misled(list(found.values())[-1])
    kept = {'command': 'make demo && python nbs/_tools/keep_errors.py', 'video': video,
            'runs': {k: {'report': {'subset': 'test', **summarise(e)}, 'detections': drawn(e, video)} for k,e in found.items()}}
    out = ROOT/'nbs'/'results'/'errors.json'
    out.write_text(json.dumps(kept) + '\n')
    print(f'written: {out.relative_to(ROOT)}, {out.stat().st_size/1000:.0f} kB')

if __name__ == '__main__': main(sys.argv[1:] or [ROOT/'runs'/'base', ROOT/'runs'/'loco'])
