"A model as ONNX answers as the model does, at any length up to its longest"
import json
import logging
import warnings

import pytest
import torch

from loco.core.config import Config
from loco.core.errors import BadInput
from loco.detection.inference import candidates
from loco.detection.nms import soft_nms
from loco.model.deploy import OnnxModel, check_onnx, export_onnx
from loco.model.localizer import make_model

for needed in ('onnx', 'onnxruntime', 'onnxscript'): pytest.importorskip(needed)

class Heard(logging.Handler):
    "What a logger was told from warnings on"
    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record): self.said.append(record.getMessage())

@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "A small model and its file; translating is slow, so it is done once"
    torch.manual_seed(0)
    cfg = Config.preset('stampsav').model.replace(dim=8, lcc_dim=4, levels=2, unimodal_blocks=1, fusion_blocks=1, scale_init=1.)
    model = make_model(cfg, labels=tuple(f'class {i}' for i in range(cfg.classes))).eval()
    heard, log = Heard(), logging.getLogger('torch')
    log.addHandler(heard)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter('always')
            path = export_onnx(model, tmp_path_factory.mktemp('onnx')/'model.onnx', steps=40)
    finally: log.removeHandler(heard)
    return model, path, heard.said + [str(w.message) for w in warned]

def test_says_nothing(exported):
    "The translator's warnings on the user's terminal"
    assert exported[2] == []

def test_three_lengths(exported):
    assert check_onnx(*exported[:2]) < 1e-4
    assert json.loads(exported[1].with_suffix('.json').read_text())['steps'] == 40

def test_the_same_events(exported):
    model, twin, n = exported[0], OnnxModel(exported[1]), 27
    x = torch.randn(1, n, model.cfg.visual_dim), torch.randn(1, n, model.cfg.audio_dim), torch.ones(1, n, dtype=torch.bool)
    with torch.no_grad(): ours, theirs = (soft_nms(*candidates(m(*x))) for m in (model, twin))
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-4)

def test_too_long(exported):
    model, twin = exported[0], OnnxModel(exported[1])
    with pytest.raises(BadInput, match='--steps 41'):
        twin(torch.zeros(1, 41, model.cfg.visual_dim), torch.zeros(1, 41, model.cfg.audio_dim), torch.ones(1, 41, dtype=torch.bool))
