"Committed results and what is said about them"
import math, os, resource, subprocess, sys
import numpy as np
from loco.core.config import Config
from loco.study.experiments import EXPERIMENTS, Experiment, Row
from loco.study.tables import Results, read_bundle, results, verdicts
import small

KEPT = small.ROOT/'nbs'/'results'/'stampsav.json'

def test_all_tables_are_shown_from_committed_results(tmp_path):
    "A reader without time or a GPU cannot see the tables: a row lacks runs, or drawing takes minutes"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    p = subprocess.run([sys.executable, '-m', 'loco.program.main', 'reproduce', 'all', '--show', '--start', str(KEPT), '--out', str(tmp_path/'stampsav')],
                       capture_output=True, text=True, cwd=small.ROOT, env={**os.environ, 'COLUMNS': '140', 'OMP_NUM_THREADS': '1'})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert p.returncode == 0, p.stderr
    assert all((tmp_path/'stampsav'/f'{k}.md').exists() for k in EXPERIMENTS)
    assert after.ru_utime - before.ru_utime < 20       # six on two idle cores

def test_every_row_has_the_runs_it_says():
    "A row of a table is silently short of seeds, or was trained with other settings than the others"
    kept = read_bundle(KEPT)
    growing = {'cross-none', 'cross-none+lcc-false', 'lcc-false+system-unav+lr-0.0006', 'cross-none+distances-log+lcc-false+pyramid-false'}    # rows of ours; their pages name the number
    for name in EXPERIMENTS:
        res = results(name, kept['runs'])
        for row, runs in zip(res.experiment.rows, res.runs):
            seeds = [o['seed'] for o in runs]
            assert seeds == list(range(len(seeds))) and (len(seeds) == 5 or row.slug in growing and 1 <= len(seeds) <= 5), (name, row.name, seeds)
    epochs = {len(o['history']) for o in kept['runs']}
    assert epochs == {Config.from_dict(kept['settings']).train.epochs + Config.from_dict(kept['settings']).train.warmup}

def test_one_seed_is_no_evidence():
    "A single run is presented as a significant difference, or with the paper's inside an interval that does not exist"
    rows = (Row('one', paper=(None,)*5 + (50.,)), Row('LoCo', paper=(None,)*5 + (53.4,)))
    scores = np.full((2, 3, 6), math.nan)
    scores[0, 0], scores[1] = 47., 45.
    line, = verdicts(Results(Experiment('', rows), scores, [[], []]), Config.preset('stampsav').to_dict())
    assert 'one seed' in line and 'interval.' not in line.replace('no interval', '') and 'zero' not in line and line.endswith('The paper: 3.4 below.')
