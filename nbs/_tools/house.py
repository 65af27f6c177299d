"""Who uses whom in `loco/`, read from the imports: the rooms, their floors, and what points up

    python nbs/_tools/house.py              every arrow between rooms, and whether one points up
"""
import ast, sys
from graphlib import CycleError, TopologicalSorter

from common import LIB

FLOORS = (('program',), ('media', 'study'), ('training', 'rivals'), ('detection',), ('data', 'model'), ('core',))     # the roof first
ROOMS = tuple(room for floor in FLOORS for room in floor)
FLOOR = {room: height for height, floor in enumerate(reversed(FLOORS)) for room in floor}                             # 0 is the ground

def modules(lib=LIB):
    "`{'detection.nms': its source}` of every module in a room"
    paths = [o for o in sorted(lib.glob('*/*.py')) if o.stem != '__init__' or o.read_text(encoding='utf-8').strip()]
    return {f'{o.parent.name}.{o.stem}': o.read_text(encoding='utf-8') for o in paths}

def absolute(node, module):
    "Dotted name below `loco` that a `from ... import` reads, or `None` if it reads another package"
    if not node.level: return node.module.removeprefix('loco').lstrip('.') if node.module.partition('.')[0] == 'loco' else None
    base = module.split('.')[:2 - node.level]
    return '.'.join([*base, *filter(None, [node.module])])

def needs(source, module, known):
    "Modules among `known` that a module imports, those inside its functions too"
    found = set()
    for o in ast.walk(ast.parse(source)):
        if isinstance(o, ast.Import): names = [a.name.removeprefix('loco.') for a in o.names if a.name.startswith('loco.')]
        elif isinstance(o, ast.ImportFrom) and (base := absolute(o, module)) is not None: names = [base, *(f'{base}.{a.name}'.lstrip('.') for a in o.names)]
        else: continue
        found |= {n for n in names if n in known}
    return found - {module}

def arrows(sources=None):
    "`{module: modules it imports}`"
    sources = modules() if sources is None else sources
    return {k: needs(v, k, sources) for k, v in sources.items()}

def room(module): return module.partition('.')[0]

def pointing_up(uses):
    "Pairs of modules whose import does not go down to a lower floor and leaves its room"
    return sorted((a, b) for a, found in uses.items() for b in found if room(a) != room(b) and FLOOR[room(b)] >= FLOOR[room(a)])

def circle(uses):
    "Modules that import each other in a circle, or `None`"
    try: TopologicalSorter(uses).prepare()
    except CycleError as e: return e.args[1]

def between_rooms(uses):
    "`{(room, room): number of imports}`"
    pairs = [(room(a), room(b)) for a, found in uses.items() for b in found if room(a) != room(b)]
    return {k: pairs.count(k) for k in sorted(set(pairs), key=lambda k: (-FLOOR[k[0]], k))}

def main():
    uses = arrows()
    for (a, b), n in between_rooms(uses).items(): print(f'{a:>10} -> {b:10} {n:3}')
    wrong = [f'{a} imports {b}, which is not below it' for a, b in pointing_up(uses)] + [f'a circle: {" -> ".join(o)}' for o in [circle(uses)] if o]
    print('\n'.join(wrong) or 'every arrow points down')
    return bool(wrong)

if __name__ == '__main__': sys.exit(main())
