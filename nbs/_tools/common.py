"What the notebook tools share: where things are, and what a cell's `#|` lines say"
import configparser, json, re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NBS, LIB = ROOT/'nbs', ROOT/'loco'

_directive = re.compile(r'#\s*\|\s*([\w-]+)\s*:?[ \t]*(.*)$')
_hide_line = re.compile(r'#\s*\|\s*hide_line\s*$')

def settings():
    "The [DEFAULT] section of settings.ini"
    cfg = configparser.ConfigParser(delimiters=['='])
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    return cfg['DEFAULT']

def notebooks():
    "Every notebook of the project, in reading order: part by part, the workshop, then index.ipynb"
    pages = [*NBS.glob('[!_.]*.ipynb'), *NBS.glob('[!_.]*/[!_.]*.ipynb')]
    return sorted(pages, key=lambda o: (o.parent == NBS, o))

PARTS = {'1_start': '1 Start', '2_grid': '2 From video to grid', '3_detector': '3 A detector on a pyramid', '4_ideas': "4 LoCo's two ideas",
         '5_results': '5 Does it work?', '6_rivals': '6 The systems compared', '7_using': '7 Using it', 'workshop': 'Workshop'}

def parts():
    "`{caption: its notebooks}` of the book's parts that have any"
    found = {caption: [o for o in notebooks() if o.parent.name == folder] for folder, caption in PARTS.items()}
    return {k: v for k, v in found.items() if v}

def page(path):
    "Name of a notebook's page: its path below nbs/ without the ending, as in `3_detector/07_blocks`"
    return Path(path).relative_to(NBS).with_suffix('').as_posix()

def directives(src):
    "`({name: value}, rest)` of a cell: its leading `#| name: value` lines, and the source below them"
    lines, found = src.splitlines(), {}
    while lines and (m := _directive.match(lines[0].strip())):
        found[m[1]] = m[2].strip().strip('"\'')
        lines = lines[1:]
    return found, '\n'.join(o for o in lines if not _hide_line.search(o)).strip('\n')

def text(o):
    "A notebook's multi-line string, which may be stored as a list of lines"
    return o if isinstance(o, str) else ''.join(o)

def load(path): return json.loads(Path(path).read_text(encoding='utf-8'))
