"""A strict accelerator for tests, made of the CPU

`Strict` tensors compute with the CPU's kernels and claim to live elsewhere. Where a real accelerator would fail or wait, they tell:

- an operation that mixes devices raises, as on CUDA;
- each time the host reads from the device (`.item()`, `nonzero`, a boolean index, `.cpu()`), the read is recorded with the line
  of the package that asked, because a real accelerator's queue runs dry meanwhile;
- with `float64=False` a double precision tensor on the device raises, as on MPS.

    with strict_device() as device:
        out = on_device(model)(x.to(device.name))
    device.reads                # Counter of (what, where)
"""
import collections, traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = 'strict'
PACKAGE = str(Path(__file__).resolve().parents[1]/'loco') + '/'
READS = {'aten._local_scalar_dense.default': 'item', 'aten.nonzero.default': 'nonzero', 'aten.masked_select.default': 'masked_select', 'aten._unique2.default': 'unique',
         'aten.equal.default': 'equal', 'aten.is_nonzero.default': 'truth'}
MOVES = 'aten._to_copy', 'aten.copy_'

@dataclass
class Device:
    "What happened on the strict device"
    float64:bool = True
    name:str = NAME
    reads:collections.Counter = field(default_factory=collections.Counter)

    def read(self, what): self.reads[what, site()] += 1

current = Device()

def register():
    "Tell PyTorch the device's name, once; raises ImportError where PyTorch cannot be told"
    if hasattr(torch, NAME): return
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    _setup_privateuseone_for_python_backend(NAME)
    getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]

def site():
    "The innermost line of the package on the stack, as `room/module.py:line`"
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(PACKAGE): return f'{frame.filename[len(PACKAGE):]}:{frame.lineno}'
    return 'outside the package'

def is_strict(device): return device is not None and torch.device(device).type == NAME

class Strict(Tensor):
    "A CPU tensor `bare` that claims to live on the strict device"
    @staticmethod
    def __new__(cls, bare, requires_grad=False):
        return Tensor._make_wrapper_subclass(cls, bare.shape, strides=bare.stride(), storage_offset=bare.storage_offset(), dtype=bare.dtype,
                                             device=torch.device(NAME, 0), requires_grad=requires_grad)

    def __init__(self, bare, requires_grad=False):
        if bare.dtype == torch.float64 and not current.float64: raise TypeError(f'the device knows no float64: {site()}')
        self.bare = bare

    def __repr__(self): return f'Strict({self.bare})'

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})

def bare(x): return x.bare if isinstance(x, Strict) else x
def wrapped(x): return Strict(x) if isinstance(x, Tensor) and not isinstance(x, Strict) else x

def watch(name, args, here, there, device):
    "Raise where devices mix, record where the host reads"
    moves = name.startswith(MOVES)
    if not moves and any(x.dim() for x in there): raise RuntimeError(f'{name} mixes devices: {site()}')
    if name in READS: current.read(READS[name])
    if name == 'aten.index.Tensor' and any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1]): current.read('boolean index')
    to_host = moves and (device is not None and torch.device(device).type == 'cpu' or name.startswith('aten.copy_') and not isinstance(args[0], Strict))
    if to_host: current.read('to the host')

def run(func, args, kwargs):
    "Carry out an operation on the bare tensors"
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    here, there = [x for x in tensors if isinstance(x, Strict)], [x for x in tensors if not isinstance(x, Strict)]
    device = kwargs.get('device')
    if here: watch(str(func), args, here, there, device)
    if device is not None: kwargs = {**kwargs, 'device': 'cpu'}
    out = func(*tree_map(bare, args), **tree_map(bare, kwargs))
    if args and isinstance(args[0], Strict) and out is args[0].bare: return args[0]     # in place
    stays = is_strict(device) if device is not None else bool(here)
    return tree_map(wrapped, out) if stays else out

class Dispatch(TorchDispatchMode):
    "Factories such as `torch.zeros(..., device='strict')` have no tensor to be recognised by"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})

class FromPython(TorchFunctionMode):
    "Functions between Python's numbers and tensors never reach the dispatcher whole"
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.as_tensor, torch.tensor) and is_strict(kwargs.get('device')) and not isinstance(args[0], Strict):
            return Strict(func(*args, **{**kwargs, 'device': 'cpu'}))
        if func is Tensor.new_tensor and isinstance(args[0], Strict): return Strict(torch.tensor(args[1], dtype=kwargs.get('dtype', args[0].dtype)))
        if func is Tensor.tolist and isinstance(args[0], Strict):
            current.read('tolist')
            return args[0].bare.tolist()
        return func(*args, **kwargs)

@contextmanager
def strict_device(*, float64=True):
    "Within the block the strict device exists; yields the `Device` that records"
    global current
    register()
    before, current = current, Device(float64=float64)
    try:
        with Dispatch(), FromPython(): yield current
    finally: current = before

def on_device(module):
    "The module with its parameters and buffers on the strict device"
    for m in module.modules():
        for k, p in m._parameters.items():
            if p is not None: m._parameters[k] = nn.Parameter(Strict(p.detach()), requires_grad=p.requires_grad)
        for k, b in m._buffers.items():
            if b is not None: m._buffers[k] = Strict(b)
    return module
