"""How the site reads a notebook, and what it says about the package

`read` turns an executed notebook into the one MyST-NB renders: `#|` directives are carried out, names in backticks become
links, and every exported definition is followed by its reference (signature, summary, parameter table), made from the
package's docstrings and docments. `index` is the page that lists all of them. Nothing is executed and no file is written.
"""
import ast, dataclasses, functools, importlib, inspect, pprint, re, sys, warnings
from pathlib import Path

import nbformat
from fastcore.docments import docments
from nbformat.v4 import new_markdown_cell

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'_tools'))
from common import LIB, NBS, ROOT, directives, load, notebooks, page, settings, text

sys.path.insert(0, str(ROOT))
PACKAGE = LIB.name
HIDDEN, EXPORTED = {'hide', 'default_exp'}, {'export', 'exports', 'exporti'}
LONG = 15              # lines of an exported cell above which it is folded
_empty = inspect.Parameter.empty
_lead = re.compile(r'\A(# .+)\n+> (.+)')
_callout = re.compile(r'^(:{3,})\s*\{\s*\.callout-(note|tip|warning|important|caution)([^}]*)\}', re.M)
_exercise = re.compile(r'\A\*\*(Exercise \d+)\.?\*\*\.?')
_title = re.compile(r'title="([^"]*)"')
_tick = re.compile(r'(?<![`\w{}\[])`((?:loco\.)?[A-Za-z_][\w.]*)(\(\))?`(?![`\]])')
_magic = re.compile(r'^%.*\n?', re.M)
_address = re.compile(r'<(?:function|class|object|built-in function) ?\'?([\w.]*).*?>')

# ---------------------------------------------------------------- the package, by module

@dataclasses.dataclass
class Module:
    "An exported module: its notebook, its summary, and its public definitions by name"
    name: str
    notebook: Path
    summary: str
    names: dict

def exports(cell):
    "Names that an exported cell defines: functions, classes and assigned constants"
    d, source = directives(text(cell['source']))
    if cell['cell_type'] != 'code' or not d.keys() & {'export', 'exports'}: return []
    try: body = ast.parse(_magic.sub('', source)).body
    except SyntaxError: return []
    found = []
    for o in body:
        if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): found.append(o.name)
        elif isinstance(o, ast.Assign): found += [t.id for t in o.targets if isinstance(t, ast.Name)]
        elif isinstance(o, ast.AnnAssign) and isinstance(o.target, ast.Name): found.append(o.target.id)
    return [o for o in found if not o.startswith('_')]

def module_of(cells):
    "Name of the module a notebook exports to, or `None`"
    for c in cells:
        if 'default_exp' in (d := directives(text(c['source']))[0]): return f'{PACKAGE}.{d["default_exp"]}'.removesuffix('.__init__')

@functools.cache
def modules():
    "Every exported module, in reading order"
    found = []
    for path in notebooks():
        cells = load(path)['cells']
        if not (name := module_of(cells)): continue
        mod, heading = importlib.import_module(name), text(cells[0]['source'])
        names = {n: getattr(mod, n) for c in cells for n in exports(c) if hasattr(mod, n)}
        found.append(Module(name, path, m[2] if (m := _lead.match(heading)) else '', names))
    return found

def methods(cls):
    "Public methods and properties that a class itself documents"
    def told(o):
        f = getattr(o, '__func__', getattr(o, 'fget', getattr(o, 'func', o)))
        if not inspect.isfunction(f): return False
        return bool(f.__doc__) or any(p.docment for p in params(f))
    return {k: v for k, v in vars(cls).items() if (not k.startswith('_') or k == '__call__') and told(v)}

@functools.cache
def targets():
    "`{name as written in prose: qualified name}` for every documented definition; the first module to use a short name has it"
    names = [(n, f'{m.name}.{n}') for m in modules() for n in m.names]
    names += [(f'{n}.{k}', f'{m.name}.{n}.{k}') for m in modules() for n, o in m.names.items() if inspect.isclass(o) for k in methods(o)]
    found = dict(reversed(names)) | {q: q for _, q in names}
    public = getattr(importlib.import_module(PACKAGE), '__all__', [])
    return found | {f'{PACKAGE}.{n}': f'{getattr(importlib.import_module(PACKAGE), n).__module__}.{n}' for n in public if n in found}

# ---------------------------------------------------------------- reference of one definition

@dataclasses.dataclass
class Param:
    name: str
    anno: str
    default: str
    docment: str

def short(anno):
    "An annotation as a reader would write it"
    if anno is _empty: return ''
    s = anno if isinstance(anno, str) else inspect.formatannotation(anno)
    if s.startswith('_'): return ''                                   # the type of a sentinel default
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])", '', s).replace("'", '')

def value(default):
    "A default as text that is also Python"
    if default is _empty or type(default).__name__ in ('_MISSING_TYPE', '_HAS_DEFAULT_FACTORY_CLASS'): return ''
    if inspect.isclass(default) or inspect.isfunction(default): return default.__name__
    s = _address.sub(r'\1', repr(default))
    try: ast.parse(s, mode='eval')
    except SyntaxError: return '...'
    return s if len(s) <= 60 else '...'

def params(obj):
    "Parameters of a function or class, with a last one named `return`"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')          # docments also parses inherited docstrings, of any style
            found = docments(obj, full=True)
    except (TypeError, OSError, SyntaxError, IndentationError): return []
    told = {f.name: f.metadata.get('doc', '') for f in dataclasses.fields(obj)} if dataclasses.is_dataclass(obj) else {}
    return [Param(k, short(v.anno), value(v.default), (v.docment or told.get(k) or '').strip()) for k, v in found.items() if k not in ('self', 'cls')]

def signature(obj):
    "Call signature without annotations, which the table gives"
    try: sig = inspect.signature(obj)
    except (ValueError, TypeError): return '()'
    keep = [p for k, p in sig.parameters.items() if k not in ('self', 'cls')]
    class Default:
        def __init__(self, o): self.text = value(o) or '...'
        def __repr__(self): return self.text
    bare = [p.replace(annotation=_empty, default=p.default if p.default is _empty else Default(p.default)) for p in keep]
    return str(sig.replace(parameters=bare, return_annotation=_empty))

def table(obj):
    "Parameter table of a function or class; empty when nothing is said about any"
    rows = params(obj)
    if inspect.isclass(obj): rows = [o for o in rows if o.name != 'return']
    rows = [o for o in rows if o.name != 'return' or o.docment or o.anno not in ('', 'None')]
    if not any(o.docment or o.anno for o in rows): return ''
    defaults, told = any(o.default for o in rows), any(o.docment for o in rows)
    code = lambda s: f'`{s}`'.replace('|', r'\|') if s else ''
    line = lambda *cells: '| ' + ' | '.join(cells) + ' |'
    def row(o):
        name = '**Returns**' if o.name == 'return' else code(o.name)
        meaning = re.sub(r'(?<!\\)\|', r'\\|', o.docment.replace('\n', ' '))
        return line(name, code(o.anno), *([code(o.default)] if defaults else []), *([meaning] if told else []))
    head = ['Parameter', 'Type', *(['Default'] if defaults else []), *(['Meaning'] if told else [])]
    return '\n'.join([line(*head), line(*['---']*len(head)), *map(row, rows)])

def doc(obj):
    "A definition's own docstring: neither inherited nor made up by `dataclass`"
    s = inspect.cleandoc(obj.__doc__ or '')
    return '' if dataclasses.is_dataclass(obj) and s.startswith(f'{obj.__name__}(') else s

def routine(o): return inspect.isfunction(inspect.unwrap(o)) if callable(o) else False

def assigned(name, module):
    "Source of the assignment that makes a constant"
    source = (ROOT/f'{module.replace(".", "/")}.py').read_text(encoding='utf-8')
    for o in ast.parse(source).body:
        targets = o.targets if isinstance(o, ast.Assign) else [o.target] if isinstance(o, ast.AnnAssign) else []
        if any(isinstance(n, ast.Name) and n.id == name for t in targets for n in ast.walk(t)): return ast.get_source_segment(source, o)
    return name

def literal(assignment):
    "Whether the line that makes a constant says its value already"
    try: ast.literal_eval(ast.parse(assignment).body[0].value)
    except (ValueError, AttributeError): return False
    return True

def fence(kind, name, options, parts, colons):
    "A Python-domain directive with the non-empty `parts` as its body"
    edge, options = ':'*colons, [f':{k}: {v}'.rstrip() for k, v in options.items()]
    return '\n'.join([f'{edge}{{py:{kind}}} {name}', *options, *(f'\n{o}' for o in parts if o), edge]) + '\n'

def fold(table): return f':::{{dropdown}} Parameters\n{table}\n:::' if table else ''

def method(name, o):
    "Reference of one method or property"
    if isinstance(o, (property, functools.cached_property)):
        f = getattr(o, 'fget', getattr(o, 'func', None))
        anno = short(inspect.signature(f).return_annotation)
        back = next((p.docment for p in params(f) if p.name == 'return'), '')
        return fence('property', name, {'type': anno} if anno else {}, ['; '.join(filter(None, [doc(f).rstrip('.'), back]))], 4)
    kind = {'classmethod': {'classmethod': ''}, 'staticmethod': {'staticmethod': ''}}.get(type(o).__name__, {})
    f = getattr(o, '__func__', o)
    return fence('method', name + signature(f), kind, [doc(f), fold(table(f))], 4)

def reference(name, module):
    """MyST for one definition of a module: signature, summary, parameter table, and for a class its methods. Tables are folded,
    for the source just above says the same."""
    obj, where = getattr(importlib.import_module(module), name), {'module': module}
    if inspect.isclass(obj):
        inner = [method(k, v) for k, v in methods(obj).items()]
        return fence('class', name + signature(obj), where, [doc(obj), fold(table(obj)), *inner], 5)
    if routine(obj): return fence('function', name + signature(obj), where, [doc(obj), fold(table(obj))], 5)
    lines = [] if literal(assigned(name, module)) else pprint.pformat(obj, width=84, sort_dicts=False).splitlines()
    lines = [] if any(_address.search(o) for o in lines) else lines[:10] + ['...']*(len(lines) > 10)
    return fence('data', name, where, ['\n'.join(['```python', *lines, '```'])] if lines else [], 5)

# ---------------------------------------------------------------- prose

def linked(name, called, module):
    """Qualified name that `name` in prose means, or `None`. A plain word such as `labels` is as likely a parameter: it is a link only
    where its module is explained, when written as a call, or when it is one of the package's own public names."""
    if (own := f'{module}.{name}') in targets(): return own
    target = targets().get(name)
    telling = called or '.' in name or '_' in name or not name.islower() or f'{PACKAGE}.{name}' in targets()
    return target if telling else None

def link_names(source, module=None):
    "Names of exported definitions in backticks become links to their reference"
    def role(m):
        target = linked(m[1], m[2], module)
        return f'{{py:obj}}`{m[1]}{m[2] or ""} <{target}>`' if target else m[0]
    out, fenced = [], False
    for l in source.splitlines():
        if l.lstrip().startswith(('```', '~~~')): fenced = not fenced
        out.append(l if fenced or l.startswith(('#', '    ')) else _tick.sub(role, l))
    return '\n'.join(out)

def callout(m):
    "A Quarto callout as the admonition of the same kind"
    title = _title.search(m[3])
    return f'{m[1]}{{admonition}} {title[1]}\n:class: {m[2]}\n' if title else f'{m[1]}{{{m[2]}}}'

def colab(name):
    "Address at which Colab opens a page's notebook, or `None` while the repository is not on GitHub"
    home = settings()['git_url']
    if not home.startswith('https://github.com/'): return None
    return f'https://colab.research.google.com/github/{home.removeprefix("https://github.com/")}/blob/{settings()["branch"]}/{NBS.name}/{name}.ipynb'

def with_origin(source, module, name):
    "The first cell with a line under its summary: the module that the page exports, its notebook to download, and the notebook in Colab"
    if name == 'index': return source
    parts = [f'Module `{module}`'] if module else []
    parts.append(f'{{download}}`Download the notebook <{name.rpartition("/")[2]}.ipynb>`')
    if (address := colab(name)): parts.append(f'[Open in Colab]({address})')
    return _lead.sub(lambda m: f'{m[0]}\n\n{{.origin}}\n' + ' · '.join(parts), source)

def exercise(source):
    "A cell that begins with `**Exercise 1.**` as a box of its own"
    m = _exercise.match(source)
    return f'::::::{{admonition}} {m[1]}\n:class: exercise\n{source[m.end():].strip()}\n::::::' if m else source

def prose(source, module=None):
    "Markdown of a notebook as MyST"
    source = exercise(_callout.sub(callout, source))
    return link_names(_lead.sub(r'\1\n\n{.lead}\n\2', source), module)

# ---------------------------------------------------------------- code

def only_imports(source):
    "Whether a cell does nothing but import"
    try: return all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in ast.parse(_magic.sub('', source)).body)
    except SyntaxError: return False

def plumbing(source):
    "Words above the folded code of a long exported cell, or `None` for a short one"
    if len(source.splitlines()) <= LONG: return None
    names = [o.name for o in ast.parse(_magic.sub('', source)).body if isinstance(o, (ast.FunctionDef, ast.ClassDef))]
    return f'Show the code of {", ".join(names[:4])}{" and more" if len(names) > 4 else ""}' if names else 'Show the code'

def folded(d, source):
    "Words above the code when it is to be folded, or `None`"
    if d.get('code-fold', 'false') != 'false': return d.get('code-summary') or 'Show the code'
    return plumbing(source) if d.keys() & {'export', 'exporti'} else None

def code(cell):
    "A code cell as its directives ask for it, or `None`"
    d, source = directives(cell.source)
    if d.keys() & HIDDEN or d.get('include') == 'false' or source.startswith('show_doc('): return None
    if d.keys() & EXPORTED and only_imports(source): return None
    tags, look = set(cell.metadata.get('tags', [])), cell.metadata.setdefault('mystnb', {})
    if d.get('echo') == 'false' or 'hide_input' in d: tags.add('remove-input')
    if d.get('output') == 'false' or 'hide_output' in d: tags.add('remove-output')
    if (words := folded(d, source)):
        tags.add('hide-cell' if words.startswith('Solution') else 'hide-input')       # what a solution prints is part of it
        look['code_prompt_show'], look['code_prompt_hide'] = words, words.replace('Show', 'Hide')
    look['image'] = dict(alt=d['fig-alt'] if 'fig-alt' in d else 'Picture drawn by the cell above')
    if tags: cell.metadata['tags'] = sorted(tags)
    cell.source = _magic.sub('', source).strip()
    return cell if cell.source or cell.outputs else None

def read(source):
    "The notebook in `source`, as MyST-NB shall render it"
    nb = nbformat.reads(source, as_version=4)
    nb.metadata['language_info'] = {'name': 'python', 'pygments_lexer': 'ipython3'}
    module, cells = module_of(nb.cells), []
    for i, c in enumerate(nb.cells):
        if c.cell_type == 'markdown':
            c.source = prose(c.source if i else with_origin(c.source, module, nb.metadata.get('docname', 'index')), module)
            cells.append(c)
        elif c.cell_type == 'code':
            names = exports(c)
            if (kept := code(c)): cells.append(kept)
            if module and module != PACKAGE: cells += [new_markdown_cell(reference(n, module)) for n in names]
    nb.cells = cells
    return nb

# ---------------------------------------------------------------- lists of pages

def heading(path):
    "Title and summary of a page"
    first = text(load(path)['cells'][0]['source']) if path.suffix == '.ipynb' else path.read_text(encoding='utf-8')
    title, summary = re.search(r'^# (.+)$', first, re.M), re.search(r'^> (.+)$', first, re.M)
    return title[1], summary[1] if summary else ''

def pages_of(folder):
    "The pages of a part with their summaries, as a list"
    found = [(o, *heading(o)) for o in notebooks() if o.parent == folder]
    return '\n'.join(f'- [{title}]({o.name}): {summary}' for o, title, summary in found)

def plain_text(path):
    "A notebook as Markdown for programs that read: prose, code and printed output, no pictures"
    parts = []
    for c in load(path)['cells']:
        d, source = directives(text(c['source']))
        if c['cell_type'] == 'markdown': parts.append(text(c['source']))
        elif not d.keys() & HIDDEN and source:
            shown = [text(o.get('text') or o.get('data', {}).get('text/plain', '')) for o in c.get('outputs', [])]
            parts += [f'```python\n{source}\n```', *(f'```\n{o.rstrip()}\n```' for o in shown if o.strip())]
    return '\n\n'.join(parts) + '\n'

def llms(title, about, parts):
    "The text of llms.txt: every page with its summary and where to read it as Markdown"
    lines = [f'# {title}', '', f'> {about}', '', 'Every page below is also a Jupyter notebook of the same name.', '']
    for caption, found in parts.items():
        lines += [f'## {caption}', '', *(f'- [{heading(o)[0]}]({page(o)}.md): {heading(o)[1]}' for o in found), '']
    return '\n'.join(lines)

# ---------------------------------------------------------------- the reference page

def index():
    "MyST of the page that lists every public name, by module"
    one = lambda o: (doc(o).splitlines() or [''])[0].replace('|', r'\|') if inspect.isclass(o) or routine(o) else ''
    ref = lambda label, q: f'{{py:obj}}`{label} <{q}>`'
    out, public = [], [o for o in getattr(importlib.import_module(PACKAGE), '__all__', []) if o in targets()]
    if public:
        out += [f'## {PACKAGE}', f'`import {PACKAGE}` is enough to use these; the module behind a name is imported on its first use.', '']
        home = {n: getattr(importlib.import_module(PACKAGE), n) for n in public}
        out += ['| Name | What it is |', '|---|---|', *(f'| {ref(f"{PACKAGE}.{n}", targets()[f"{PACKAGE}.{n}"])} | {one(o)} |' for n, o in home.items()), '']
    for m in modules():
        if not m.names or m.name == PACKAGE: continue
        out += [f'## {m.name}', f'{m.summary}. Explained in [](/{page(m.notebook)}).', '', '| Name | What it is |', '|---|---|']
        for n, o in m.names.items():
            out.append(f'| {ref(n, f"{m.name}.{n}")} | {one(o)} |')
            if inspect.isclass(o):
                for k, v in methods(o).items():
                    f = getattr(v, '__func__', getattr(v, 'fget', getattr(v, 'func', v)))
                    out.append(f'| &emsp;{ref(f".{k}", f"{m.name}.{n}.{k}")} | {one(f)} |')
        out.append('')
    return '\n'.join(out)
