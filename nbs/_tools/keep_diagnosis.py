"""Keep what LCC and CDP learned: runs/ -> nbs/results/diagnosis.json, which nbs/5_results/39_diagnostics.ipynb shows

    loco train --preset stampsav --out runs/no_lcc --model.lcc false     4 minutes; runs/loco comes from `make demo`
    python nbs/_tools/keep_diagnosis.py                                  runs/no_lcc and runs/loco
    python nbs/_tools/keep_diagnosis.py RUN RUN ...                      other runs
"""
import base64, json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT

from loco.data.samples import VideoDataset
from loco.study.diagnostics import cross_similarity, diagnose_model, observe
from loco.training.judge import load_run
from loco.training.objective import open_data

def pick(annotations, subset='test'):
    "The shortest video with at least three events of two classes"
    several = lambda v: len(annotations.events(v)[1]) >= 3 and len(set(annotations.events(v)[1].tolist())) >= 2
    return min(filter(several, annotations.videos(subset)), key=annotations.duration.get)

def small(C):
    "A matrix of cosines as text, in steps of 1/127"
    return {'steps': len(C), 'int8': base64.b64encode((C*127).round().char().numpy().tobytes()).decode()}

def look(model, dataset, video):
    "Cross-similarity and windows of one video"
    one = VideoDataset(dataset.annotations, dataset.features, dataset.clock, subset=dataset.subset)
    one.videos = (video,)
    o = next(observe(model, one))
    numbers = lambda x: [[round(v, 3) for v in row] for row in x[0].tolist()]
    return {'csm': {k: small(cross_similarity(*v)[0]) for k,v in o.features.items()},
            'windows': [{'level': w.level, 'query': w.query, 'of': w.of, 'steps': int(w.steps[0]), 'size': numbers(w.size), 'offset': numbers(w.offset)}
                        for w in o.windows if w.level == 1]}

def main(runs):
    kept = {'command': 'make demo && loco train --preset stampsav --out runs/no_lcc --model.lcc false && python nbs/_tools/keep_diagnosis.py', 'runs': {}}
    for run in runs:
        model, cfg = load_run(run)
        annotations, features = open_data(cfg)
        dataset = VideoDataset(annotations, features, cfg.clock, subset='test')
        kept['video'] = pick(annotations)
        kept['runs'][Path(run).name] = {'diagnosis': diagnose_model(model, dataset), **look(model, dataset, kept['video'])}
    out = ROOT/'nbs'/'results'/'diagnosis.json'
    out.write_text(json.dumps(kept) + '\n')
    print(f'written: {out.relative_to(ROOT)}, {out.stat().st_size/1000:.0f} kB')

if __name__ == '__main__': main(sys.argv[1:] or [ROOT/'runs'/'no_lcc', ROOT/'runs'/'loco'])
