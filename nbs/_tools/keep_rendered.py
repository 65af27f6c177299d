"""Do video files lose anything? Test videos of data/stampsav are rendered, read back, and compared with the packed features

    apt-get install tuxpaint-stamps-default
    python nbs/_tools/keep_rendered.py --work rendered --videos 160      interrupted, it continues; about 4 s of a core a video

Pictures are drawn at twice the size that the encoder sees, one for each step of the clock, written as H.264 (CRF 27) with sound as AAC (48 kbit/s).
"""
import argparse, math
import numpy as np
from dataclasses import replace
from pathlib import Path

from common import ROOT

import torch
from loco.core.files import write_json
from loco.data.annotations import Annotations
from loco.data.features import FeatureStore
from loco.data.samples import VideoDataset
from loco.detection.inference import predict
from loco.detection.metric import mean_ap
from loco.media.encoders import demo_model, load_encoder
from loco.media.stamps import plan_video, read_recipe
from loco.media.stampsav import write_clip
from loco.model.network import Localizer

DATA = ROOT/'data'/'stampsav'

def render(work, count, share):
    "Features of rendered test videos, as files"
    recipe, encoder = read_recipe(DATA), load_encoder('lite-yamnet', projection=DATA/'pca.npz')
    work.mkdir(parents=True, exist_ok=True)
    first, of = share
    for i in range(first - 1, count, of):
        plan = plan_video('test', i, recipe=recipe)
        if (work/f'{plan.video}.npz').exists(): continue
        write_clip(plan, work/f'{plan.video}.mp4', recipe=recipe, fps=4, preset='veryfast')
        v, a = encoder(work/f'{plan.video}.mp4')
        (work/f'{plan.video}.mp4').unlink()
        np.savez(work/f'{plan.video}.npz', v=v, a=a)

def mixed(packed, work, videos, visual, audio):
    "Features of videos, each modality packed or rendered"
    out = {}
    for v in videos:
        with np.load(work/f'{v}.npz') as f: files = f['v'], f['a']
        n = min(len(files[0]), len(packed[v][0]))
        out[v] = tuple((files if rendered else packed[v])[k][:n] for k, rendered in enumerate((visual, audio)))
    return out

def score(truth, found, videos):
    "mAP at 0.5 and the average, in per cent; a video may be listed several times"
    names = [(v, f'{v}#{k}') for k, v in enumerate(videos)]
    def copies(table):
        at = {v: np.flatnonzero(table['video'] == v) for v in set(videos)}
        rows = np.concatenate([at[v] for v, _ in names])
        return {k: np.repeat(np.array([n for _, n in names], object), [len(at[v]) for v, _ in names]) if k == 'video' else x[rows] for k, x in table.items()}
    row = mean_ap(copies(truth), copies(found)).row()
    return np.array([row['0.5'], row['Avg.']])

def main(args=None):
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--work', type=Path, required=True, help='folder for features of rendered videos, kept')
    p.add_argument('--videos', type=int, default=160, help='how many test videos (default: %(default)s)')
    p.add_argument('--share', type=int, nargs=2, default=(1, 1), metavar=('I', 'N'), help='render only every N-th from the I-th on, and compare nothing')
    p.add_argument('--draws', type=int, default=200, help='draws of the bootstrap (default: %(default)s)')
    a = p.parse_args(args)
    torch.set_num_threads(1)
    render(a.work, a.videos, a.share)
    if tuple(a.share) == (1, 1): write_json(ROOT/'nbs'/'results'/'rendered.json', compare(a.work, a.videos, a.draws))

def compare(work, count, draws):
    "mAP of every mixture, and how far the difference goes by chance"
    model, packed = Localizer.from_pretrained(demo_model()).eval(), FeatureStore(DATA/'features')
    annotations = Annotations.load(DATA/'annotations.json')
    videos = [v for v in annotations.videos('test') if (work/f'{v}.npz').exists()][:count]
    some = replace(annotations, subset={v: 'test' for v in videos}, duration={v: annotations.duration[v] for v in videos})
    truth = {k: x[np.isin(annotations.table('test')['video'].astype(str), videos)] for k, x in annotations.table('test').items()}
    names = {'packed': (False, False), 'rendered': (True, True), 'rendered pictures, packed sound': (True, False), 'packed pictures, rendered sound': (False, True)}
    found = {n: predict(model, VideoDataset(some, mixed(packed, work, videos, *o), model.clock, subset='test')) for n, o in names.items()}
    rng = np.random.default_rng(0)
    gaps = np.array([np.subtract(*(score(truth, found[n], list(d)) for n in ('rendered', 'packed'))) for d in rng.choice(videos, (draws, len(videos)))])
    keys, values = ('at tIoU 0.5', 'averaged 0.1 to 0.9'), {n: score(truth, f, videos) for n, f in found.items()}
    same = {m: round(float(np.mean([np.corrcoef(np.ravel(packed[v][k][:len(f)]), np.ravel(f[:len(packed[v][k])]))[0, 1] for v in videos for f in [np.load(work/f'{v}.npz')['va'[k]]]])), 4)
            for k, m in enumerate(('pictures', 'sound'))}
    return dict(videos=len(videos), correlation=same, **{n: dict(zip(keys, np.round(x, 2).tolist())) for n, x in values.items()},
                difference={k: [round(float(x), 2) for x in np.percentile(gaps[:, i], (2.5, 97.5))] for i, k in enumerate(keys)}, draws=draws)

if __name__ == '__main__': main()
