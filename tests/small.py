"A data set of a few videos cut out of data/stampsav, and a model small enough to train on it in seconds"
import json
from pathlib import Path

from loco.core.config import Config
from loco.data.annotations import Annotations
from loco.data.features import open_dataset, write_store

ROOT = Path(__file__).resolve().parents[1]
STAMPSAV = ROOT/'data'/'stampsav'
SPLITS = {'train': 16, 'validation': 4, 'test': 4}
SMALL = {'model.dim': 16, 'model.lcc_dim': 8, 'model.levels': 4, 'train.epochs': 2, 'train.warmup': 1, 'train.batch': 4, 'train.device': 'cpu'}

def write(folder, *, splits=SPLITS, dtype='float32'):
    "Write the small data set into a folder: annotations.json and a feature store"
    folder.mkdir(parents=True, exist_ok=True)
    cfg = Config.preset('stampsav').override({'data.root': str(STAMPSAV)})
    whole, features = open_dataset(cfg.data)
    database = json.loads((STAMPSAV/'annotations.json').read_text())['database']
    some = [v for subset, n in splits.items() for v in whole.videos(subset)[:n]]
    (folder/'annotations.json').write_text(json.dumps({'database': {v: database[v] for v in some}}))
    write_store(folder/'features', ((v, *features[v]) for v in some), clock=cfg.clock, dtype=dtype)
    return folder

def settings(root, **changes):
    "Dotted settings of a small model for the data set in `root`"
    return {**SMALL, 'data.root': str(root), 'model.classes': len(Annotations.load(Path(root)/'annotations.json').labels), **changes}

def config(root, **changes): return Config.preset('stampsav').override(settings(root, **changes))

def words(root, **changes):
    "The same as words of a command line"
    return [w for k, v in settings(root, **changes).items() for w in (f'--{k}', str(v))]
