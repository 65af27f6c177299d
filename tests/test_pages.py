"What a page promises its reader: exercises that are solved, citations and links that lead somewhere, words that have one meaning"
import re
import pytest
import references
from common import NBS, ROOT, directives, load, notebooks, page, parts, text

pytestmark = pytest.mark.fresh
PAGES = notebooks()
TAUGHT = [o for o in PAGES if o.parent.name in ('2_grid', '3_detector', '4_ideas')]
_link = re.compile(r'(?<!\!)\[[^\]\n]*\]\(([^)\s]+)\)')
_code = re.compile(r'```.*?```|`[^`\n]*`|\$\$.*?\$\$', re.S)

def exercises(path):
    "`(number, its solution's directives and code)` of each exercise of a page"
    cells = load(path)['cells']
    for c, after in zip(cells, [*cells[1:], None]):
        if c['cell_type'] == 'markdown' and (m := re.match(r'\*\*Exercise (\d+)\.', text(c['source']))):
            yield int(m[1]), directives(text(after['source'])) if after and after['cell_type'] == 'code' else ({}, '')

@pytest.mark.parametrize('path', PAGES, ids=page)
def test_exercises_have_solutions_that_test_themselves(path):
    "A solution that is missing, left open on the site, or asserts nothing"
    for n, (d, source) in exercises(path):
        assert d.get('code-fold') == 'true' and d.get('code-summary', '').startswith('Solution'), f'exercise {n} is not followed by a folded solution'
        assert re.search(r'\bassert\b|\btest_\w+\(', source), f'the solution of exercise {n} tests nothing'

@pytest.mark.parametrize('path', TAUGHT, ids=page)
def test_taught_pages_have_two_to_four_exercises(path):
    found = [n for n, _ in exercises(path)]
    assert found == list(range(1, len(found) + 1)) and 2 <= len(found) <= 4

def anchors(path):
    "What a link can name on a Markdown page or a notebook"
    found = path.read_text(encoding='utf-8') if path.suffix == '.md' else '\n'.join(text(c['source']) for c in load(path)['cells'] if c['cell_type'] == 'markdown')
    return {references.anchor(re.sub(r'[`*$]', '', o)) for o in re.findall(r'^#+ (.+)$', _code.sub('', found) if path.suffix == '.md' else found, re.M)}

def lost(path, sources):
    "Links of a page to files or headings that are not there"
    for to in (o for s in sources for o in _link.findall(_code.sub('', s))):
        if re.match(r'[a-z]+:', to): continue
        file, _, part = to.partition('#')
        there = (path.parent/file).resolve() if file else path
        if not there.exists() or (part and there.suffix in ('.md', '.ipynb') and part not in anchors(there)): yield to

@pytest.mark.parametrize('path', PAGES, ids=page)
def test_links_of_notebooks_resolve(path):
    "As JupyterLab and the page of a repository follow them"
    found = list(lost(path, [*prose(path), *shown(path)]))
    assert not found, f'lead nowhere: {found}'

def prose(path): return [text(c['source']) for c in load(path)['cells'] if c['cell_type'] == 'markdown']

def shown(path):
    "Sentences and tables that the cells of a page have computed"
    return [text(o['data']['text/markdown']) for c in load(path)['cells'] for o in c.get('outputs', []) if 'text/markdown' in o.get('data', {})]

NOT_OURS = {r'chapter': 'part', r'[Tt]his notebook': 'this page', r'pictures? (and|or) (the )?sounds?|sounds? (and|or|without|with) (the |a )?pictures?': 'what is seen and what is heard, visual and audio'}

@pytest.mark.parametrize('path', PAGES, ids=page)
def test_words_are_those_of_the_glossary(path):
    "One thing has two names: a part is a chapter, a page a notebook, the visual modality a picture"
    for sentence in (*prose(path), *shown(path)):
        for word, ours in NOT_OURS.items():
            found = re.search(rf'\b({word})\b', _code.sub('', sentence))
            assert not found, f'{found[0]!r}: the book says {ours}'

@pytest.mark.parametrize('name', ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'nbs/glossary.md', 'nbs/equations.md', 'nbs/references.md',
                                  *(str(o.relative_to(ROOT)) for o in NBS.glob('*/index.md'))])
def test_links_of_other_pages_resolve(name):
    found = list(lost(ROOT/name, [(ROOT/name).read_text(encoding='utf-8')]))
    assert not found, f'lead nowhere: {found}'

def test_every_part_has_a_first_page():
    "A title, a summary, a few lines of words, and each page of the part once"
    for found in parts().values():
        lines = (found[0].parent/'index.md').read_text(encoding='utf-8').splitlines()
        items = [o for o in lines if o.startswith('- ')]
        words = [o for o in lines if o and o not in items and not re.fullmatch(r'\*\*.+\*\*', o)]
        assert words[0].startswith('# ') and words[1].startswith('> ') and 3 <= len(words) <= 8
        listed = [to for o in items for to in _link.findall(o)]
        assert sorted(listed) == sorted(o.name for o in found), found[0].parent.name

def test_bibliography_is_whole():
    "An entry without what a reader needs to find it, or whose key is not its anchor"
    raw, found = references.BIB.read_text(encoding='utf-8'), references.entries()
    assert len(found) == len(re.findall(r'^@', raw, re.M))
    for key, o in found.items():
        assert {'label', 'group', 'author', 'title', 'year'} - {'year'} <= o.keys(), key
        assert references.anchor(o['label']) == key, f'{key}: pages would link to #{references.anchor(o["label"])}'
    assert {'loco', 'unav', 'actionformer', 'longformer', 'soft-nms'} <= found.keys()

def test_citation_names_the_paper():
    said = (ROOT/'CITATION.cff').read_text(encoding='utf-8')
    paper = references.entries()['loco']
    assert paper['title'] in said and paper['eprint'] in said and all(o.rpartition(' ')[2] in said for o in paper['author'].split(' and '))

def test_equations_name_functions_that_exist():
    "A function that was renamed after the table was written"
    import loco, importlib, pkgutil
    here = set()
    for o in pkgutil.walk_packages(loco.__path__, 'loco.'):
        if o.name.startswith(('loco.model.', 'loco.detection.', 'loco.training.objective', 'loco.data.', 'loco.core.clock')): here |= set(vars(importlib.import_module(o.name)))
    named = [n for row in re.findall(r'^\| (?!paper|in the paper|---).*$', (NBS/'equations.md').read_text(encoding='utf-8'), re.M)
             for n in re.findall(r'`([A-Za-z_]\w*)`', row)]
    assert len(named) > 20 and not [o for o in named if o not in here]

def test_words_of_the_glossary_are_in_one_place():
    words = re.findall(r'^### (.+)$', (NBS/'glossary.md').read_text(encoding='utf-8'), re.M)
    assert len(words) == len(set(words)) > 30
