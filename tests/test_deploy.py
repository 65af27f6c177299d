"A model as ONNX answers as the model does, at any length"
import json, subprocess, sys

import pytest
import torch

from loco.core.config import Config
from loco.core.errors import BadInput
from loco.detection.inference import candidates
from loco.detection.nms import soft_nms
from loco.model.deploy import OnnxModel, check_onnx, export_onnx
from loco.model.localizer import Localizer, make_model

pytestmark = pytest.mark.filterwarnings('ignore::FutureWarning')     # PyTorch's, from its own translator
for needed in ('onnx', 'onnxruntime', 'onnxscript'): pytest.importorskip(needed)

@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "A small model and its file; translating is slow, so it is done once"
    torch.manual_seed(0)
    cfg = Config.preset('stampsav').model.replace(dim=8, lcc_dim=4, levels=2, unimodal_blocks=0, fusion_blocks=0, scale_init=1., max_steps=40)
    model = make_model(cfg, labels=tuple(f'class {i}' for i in range(cfg.classes))).eval()
    for name, p in model.named_parameters():
        if 'adapt' in name: torch.nn.init.normal_(p, std=.3)          # windows that move
    return model, export_onnx(model, tmp_path_factory.mktemp('onnx')/'model.onnx')

def test_three_lengths(exported):
    assert check_onnx(*exported) < 1e-4
    told = json.loads(exported[1].with_suffix('.json').read_text())
    assert (told['multiple'], told['least'], 'steps' in told) == (16, 48, False)

@pytest.mark.parametrize('steps', [1, 7, 16, 40, 41, 48, 49, 150])
def test_any_length(exported, steps):
    "Shorter than a window, on both sides of the trained length, of a piece and of the least length"
    model, twin = exported[0], OnnxModel(exported[1])
    g = torch.Generator().manual_seed(steps)
    x = torch.randn(1, steps, model.cfg.visual_dim, generator=g), torch.randn(1, steps, model.cfg.audio_dim, generator=g), torch.ones(1, steps, dtype=torch.bool)
    with torch.no_grad(): ours, theirs = model(*x), twin(*x)
    for a, b in zip(ours.logits + ours.offsets, theirs.logits + theirs.offsets): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

def test_the_same_events(exported):
    model, twin, n = exported[0], OnnxModel(exported[1]), 27
    x = torch.randn(1, n, model.cfg.visual_dim), torch.randn(1, n, model.cfg.audio_dim), torch.ones(1, n, dtype=torch.bool)
    with torch.no_grad(): ours, theirs = (soft_nms(*candidates(m(*x))) for m in (model, twin))
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-4)

def test_moving_points_are_refused(tmp_path):
    "Logits and offsets of a network whose points stand anywhere would be read as if they stood on a grid"
    with pytest.raises(BadInput, match='TadTR cannot be exported'):
        export_onnx(make_model(Config.preset('stampsav').model.replace(system='tadtr', dim=8, lcc=False)), tmp_path/'model.onnx')

def test_one_length(tmp_path):
    "A file of one length answers up to it, and refuses a longer video by name; writing it says nothing of other packages"
    path = tmp_path/'model.onnx'
    code = f"""
import torch
from loco.core.config import Config
from loco.model.deploy import export_onnx
from loco.model.localizer import Localizer, make_model
cfg = Config.preset('stampsav').model.replace(dim=8, lcc_dim=4, levels=1, unimodal_blocks=1, fusion_blocks=1)
torch.manual_seed(0)
model = make_model(cfg).eval()
export_onnx(model, {str(path)!r}, steps=40)
model.save_pretrained({str(tmp_path)!r})"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=300)
    assert not done.returncode and not done.stderr and not done.stdout, done.stderr
    model, twin = Localizer.from_pretrained(tmp_path), OnnxModel(path)
    assert twin.steps == 40 and check_onnx(model, path) < 1e-4
    with pytest.raises(BadInput, match='--steps 41'):
        twin(torch.zeros(1, 41, model.cfg.visual_dim), torch.zeros(1, 41, model.cfg.audio_dim), torch.ones(1, 41, dtype=torch.bool))
