"""Write README.md from nbs/index.ipynb, and nbs/references.md from nbs/references.bib

    python nbs/_tools/readme.py             write them, with the README's pictures in nbs/_readme/
    python nbs/_tools/readme.py --check     exit status 1 if one is stale

Directives are honoured as on the site, links to notebooks are made relative to the top folder, and the picture outputs of
the notebook become files, for a README cannot hold them. A cell under `#| readme: false`, such as a player, is left out.
"""
import argparse, os, re, sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

import references
from common import NBS, ROOT, directives

PICTURES = 'nbs/_readme'
NOTE = '<!-- Written from nbs/index.ipynb by `make readme`: edit the notebook. -->'
_hidden = {'hide', 'export', 'exporti', 'default_exp'}
_link = re.compile(r'(\]\(|src=")(?!https?:|#|mailto:|/|data:|nbs/)([^)"\s]+)')
_magic = re.compile(r'^%.*\n?', re.M)

def from_top(text):
    "Links of a page in `nbs`, relative to the top folder"
    return _link.sub(lambda m: m[1] + os.path.relpath(os.path.join('nbs', m[2])), text)

def shown(cell):
    "The cell as the README shows it, or `None`"
    if cell.cell_type == 'markdown':
        cell.source = from_top(cell.source)
        return cell
    d, source = directives(cell.source)
    if cell.cell_type != 'code' or d.keys() & _hidden or 'false' in (d.get('include'), d.get('readme')): return None
    cell.source, tags = _magic.sub('', source).strip(), cell.metadata.setdefault('tags', [])
    if d.get('echo') == 'false' or 'hide_input' in d: tags.append('remove-input')
    if d.get('output') == 'false' or 'hide_output' in d: cell.outputs = []
    for o in cell.outputs:
        if 'text/markdown' in o.get('data', {}): o.data['text/markdown'] = from_top(o.data['text/markdown'])
    return cell

def build():
    "`{path from the top folder: bytes}` of the README, its pictures and the bibliography"
    nb = nbformat.read(NBS/'index.ipynb', 4)
    nb.metadata['language_info'] = {'name': 'python'}            # names the language of the fences
    nb.cells = [o for o in map(shown, nb.cells) if o]
    exporter = MarkdownExporter(config=Config(TagRemovePreprocessor=dict(enabled=True, remove_input_tags={'remove-input'})))
    text, found = exporter.from_notebook_node(nb, resources=dict(output_files_dir=PICTURES, unique_key='index'))
    text = NOTE + '\n\n' + re.sub(r'\n{3,}', '\n\n', re.sub(r'[ \t]+$', '', text, flags=re.M)).strip() + '\n'
    return {'README.md': text.encode(), str(references.PAGE.relative_to(ROOT)): references.build().encode(), **found['outputs']}

def leftover(files):
    "Pictures of an earlier README"
    return [o for o in (ROOT/PICTURES).glob('*') if str(o.relative_to(ROOT)) not in files]

def stale(files):
    "Names of the files that differ from what the notebook gives"
    same = lambda k: (ROOT/k).is_file() and (ROOT/k).read_bytes() == files[k]
    return [k for k in files if not same(k)] + [str(o.relative_to(ROOT)) for o in leftover(files)]

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--check', action='store_true', help='write nothing; exit with 1 if a file is stale')
    a, files = p.parse_args(argv), build()
    old = stale(files)
    if not old: print('README.md and nbs/references.md match their sources')
    elif a.check: print(f'stale: {", ".join(old)}; run `make readme`')
    else:
        for k, v in files.items():
            (ROOT/k).parent.mkdir(parents=True, exist_ok=True)
            (ROOT/k).write_bytes(v)
        for o in leftover(files): o.unlink()
        print(f'written: {", ".join(old)}')
    return 1 if a.check and old else 0

if __name__ == '__main__': sys.exit(main())
