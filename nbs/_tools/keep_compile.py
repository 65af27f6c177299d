"""Compile every network with PyTorch's inductor on this machine's CPU, forward and with gradients: -> nbs/results/compile.json, which nbs/workshop/a49_deploy.ipynb shows

    python nbs/_tools/keep_compile.py                  all networks, some minutes each on two cores; what is kept already is not done again
    python nbs/_tools/keep_compile.py LoCo base        these, anew
"""
import dataclasses, json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch
from common import ROOT
from loco.core.config import Config
from loco.model.localizer import make_model, systems

PATH = ROOT/'nbs/results/compile.json'
NETWORKS = {
    'LoCo': {},
    'base': dict(cross='none', lcc=False, pyramid=False),
    'global': dict(cross='global'),
    'fixed': dict(cross='fixed'),
    **{name: dict(system=name) for name in systems if name != 'loco'},
}

def tiny(change):
    "A small network with random weights, and a video"
    torch.manual_seed(0)
    base = Config.preset('stampsav').model.replace(dim=8, lcc_dim=4, levels=2, unimodal_blocks=1, fusion_blocks=1, scale_init=1.)
    cfg = dataclasses.replace(base, **change)
    model = make_model(cfg).eval()
    return model, (torch.randn(1, 64, cfg.visual_dim), torch.randn(1, 64, cfg.audio_dim), torch.ones(1, 64, dtype=torch.bool))

def results(call, model, inputs, training):
    "Outputs, and the gradients of their mean square in training"
    model.zero_grad()
    with torch.set_grad_enabled(training):
        out = call(*inputs)
        tensors = [*out.logits, *out.offsets]
    if not training: return tensors
    sum(x.square().mean() for x in tensors).backward()
    return [x.detach() for x in tensors] + [p.grad.clone() for p in model.parameters() if p.grad is not None]

def off(ours, theirs):
    "Largest difference over one plus the size"
    if len(ours) != len(theirs): raise RuntimeError(f'{len(theirs)} tensors in place of {len(ours)}')
    return max(((p - q).abs()/(1 + p.abs())).max().item() for p, q in zip(ours, theirs))

def survey(change, training):
    "What happens to one network"
    torch._dynamo.reset()
    model, inputs = tiny(change)
    eager = results(model, model, inputs, training)
    try: compiled = results(torch.compile(model), model, inputs, training)
    except Exception as e: return {'works': False, 'error': f'{type(e).__name__}: {e}'.splitlines()[0]}
    return {'works': True, 'difference': off(eager, compiled)}

def main(names):
    if wrong := set(names) - set(NETWORKS): raise SystemExit(f'no network {", ".join(wrong)}; there are {", ".join(NETWORKS)}')
    kept = json.loads(PATH.read_text()) if PATH.exists() else {}
    if kept.get('torch') != torch.__version__: kept = {'torch': torch.__version__, 'networks': {}}
    for name in names or NETWORKS:
        for kind in ('forward', 'training'):
            if not names and kind in kept['networks'].get(name, {}): continue
            kept['networks'].setdefault(name, {})[kind] = survey(NETWORKS[name], kind == 'training')
            PATH.write_text(json.dumps(kept, indent=1) + '\n')
            print(name, kind, kept['networks'][name][kind], flush=True)

if __name__ == '__main__': main(sys.argv[1:])
