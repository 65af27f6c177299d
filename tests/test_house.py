"The package is a house: nine rooms on six floors, every import points down, no module is too long"
import house
from common import LIB, ROOT

def test_every_module_is_in_a_room():
    assert {o.name for o in LIB.iterdir() if o.is_dir() and o.name != '__pycache__'} == set(house.ROOMS)
    assert {o.name for o in LIB.glob('*.py')} == {'__init__.py', '__main__.py', '_modidx.py'}

def test_every_arrow_points_down():
    assert not house.pointing_up(house.arrows())

def test_no_circle():
    assert not house.circle(house.arrows())

def test_modules_are_short():
    assert not {k: n for k, source in house.modules().items() if (n := source.count('\n')) > 500}

def test_wrong_arrows_are_found():
    "Whichever way they are written, also inside a function"
    known = dict.fromkeys(['core.clock', 'data.pack', 'model.lcc', 'program.main', 'rivals.unav', 'training.run'], '')
    ways = ['from loco.program.main import app', 'from ..program.main import app', 'from loco.program import main', 'from ..program import main',
            'import loco.program.main', 'def f():\n    from loco.program.main import app']
    for way in ways: assert house.pointing_up(house.arrows({**known, 'core.clock': way})) == [('core.clock', 'program.main')], way
    assert house.pointing_up(house.arrows({**known, 'data.pack': 'from ..model.lcc import LCC'})) == [('data.pack', 'model.lcc')]
    assert not house.pointing_up(house.arrows({**known, 'program.main': 'from ..core.clock import Clock\nimport torch'}))
    assert house.circle(house.arrows({**known, 'core.clock': 'from ..data.pack import f', 'data.pack': 'from ..core import clock'}))

def test_every_number_of_the_program_has_a_range():
    "An option that takes any number at all: -3 videos, a score of 3"
    import typing
    from loco.program.main import app
    def commands(app):
        yield from (o.callback for o in app.registered_commands)
        for group in app.registered_groups: yield from commands(group.typer_instance)
    open_ends, seen = [], 0
    for f in commands(app):
        for name, hint in typing.get_type_hints(f, include_extras=True).items():
            if typing.get_origin(hint) is not typing.Annotated: continue
            kind, option = typing.get_args(hint)[:2]
            if not {int, float} & {kind, *typing.get_args(kind)}: continue
            seen += 1
            if option.min is None: open_ends.append(f'{f.__name__} --{name}')
    assert seen > 20 and not open_ends

def test_the_model_refuses_in_the_family_of_errors():
    "`except loco.Error` that misses what the model says of an argument"
    import re
    bare = [f'{p.relative_to(ROOT)}: {l.strip()}' for room in ('model', 'detection') for p in sorted((ROOT/'loco'/room).glob('*.py'))
            for l in p.read_text(encoding='utf-8').splitlines() if re.search(r'raise (ValueError|TypeError)\(', l)]
    assert not bare

def test_wrong_arguments_are_an_error_of_the_family():
    "The model's refusals, caught as one"
    import pytest, torch, loco
    from loco.core.config import ModelConfig
    model = loco.LoCo(ModelConfig(visual_dim=4, audio_dim=4, classes=2, dim=8, lcc_dim=4, levels=2))
    x = torch.zeros(1, 8, 4)
    wrong = [lambda: loco.gaussian_target(8, sigma=-1), lambda: model(x[0], x), lambda: model(x[..., :3], x), lambda: model(x, x, torch.ones(1, 8)),
             lambda: model(x.half(), x), lambda: model(x.numpy(), x), lambda: loco.LoCo(None)]
    for call in wrong:
        with pytest.raises(loco.Error) as seen: call()
        assert isinstance(seen.value, (ValueError, TypeError))
