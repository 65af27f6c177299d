"""Every page of the documentation works in a browser, from a file, with nothing asked of the network"""
import json, re, subprocess, sys, time
from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import unquote
import pytest
from chromium import HERE, HOW, browser, find, until, vendor      # noqa: F401  (`browser` is a fixture)
from common import NBS, ROOT, load, notebooks, page as page_of, text

pytestmark = pytest.mark.site
PAGES = [page_of(o) for o in notebooks()]
if not (HERE and (find('npm') or not vendor.missing())): pytest.skip(HOW, allow_module_level=True)

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The site, built from the committed notebooks with warnings as errors"
    out = tmp_path_factory.mktemp('docs')
    fetched = subprocess.run([sys.executable, NBS/'_site/vendor.py'], capture_output=True, text=True)
    assert not fetched.returncode, fetched.stderr
    done = subprocess.run([sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', '-c', NBS/'_site', '-d', out/'doctrees', NBS, out/'html'],
                          capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    return out/'html'

READY = 'return document.readyState == "complete" && (!window.MathJax || !!MathJax.startup?.promise)'
TYPESET = 'const done = arguments[0]; window.MathJax ? MathJax.startup.promise.then(() => done(1)) : done(1)'

def visit(browser, site, page):
    "Open a page and wait until it is drawn; its console errors and the addresses it asked for"
    for kind in ('browser', 'performance'): browser.get_log(kind)
    browser.get((site/f'{page}.html').as_uri())
    until(browser, READY)
    browser.execute_async_script(TYPESET)
    errors = [o['message'] for o in browser.get_log('browser') if o['level'] == 'SEVERE']
    events = [json.loads(o['message'])['message'] for o in browser.get_log('performance')]
    asked = [o['params']['request']['url'] for o in events if o['method'] == 'Network.requestWillBeSent']
    return errors, asked

def cells(page): return load(NBS/f'{page}.ipynb')['cells']
def prose(page): return [text(c['source']) for c in cells(page) if c['cell_type'] == 'markdown']
def sliders(page): return sum('loco-scrub' in str(c.get('outputs')) for c in cells(page))
def widgets(page): return any('application/vnd.jupyter.widget-view+json' in str(c.get('outputs')) for c in cells(page))

# ---------------------------------------------------------------- what is looked at on every page, in one visit

def check_whole(browser, errors, asked):
    "Nothing in the console, nothing asked of the network, every picture there and with words, one title, every control with a name"
    assert not errors
    assert asked and all(o.startswith(('file:', 'data:', 'blob:', 'chrome:')) for o in asked), f'asks for {[o for o in asked if ":" in o and not o.startswith("file:")]}'
    broken = browser.execute_script('return [...document.images].filter(o => o.complete && !o.naturalWidth).map(o => o.src.slice(0, 90))')
    assert not broken, f'pictures that do not load: {broken}'
    assert browser.execute_script('return [...document.querySelectorAll("h1")].filter(o => o.offsetParent).length') == 1

def check_mathematics(browser, page):
    "Every displayed equation is drawn, and none is left as text"
    wanted = sum(len(re.findall(r'\$\$.+?\$\$', re.sub(r'```.*?```|`[^`\n]*`', '', o, flags=re.S), re.S)) for o in prose(page))
    drawn = browser.execute_script('return document.querySelectorAll("mjx-container[display] svg, div.math mjx-container svg").length')
    assert drawn >= wanted, f'{wanted} displayed equations in the notebook, {drawn} on the page'
    assert not browser.execute_script('return document.querySelectorAll("mjx-merror, [data-mjx-error]").length')
    left = browser.execute_script('return [...document.querySelectorAll(".bd-article p, .bd-article td")].map(o => o.innerText).filter(o => /\\$\\$|\\\\(frac|sigma|sum|hat)/.test(o))')
    assert not left, f'mathematics left as text: {left}'

def check_sliders(browser, page):
    "Each slider shows another picture at its other end"
    moved = browser.execute_script('''
        const shown = box => [...box.querySelectorAll("img")].filter(o => getComputedStyle(o).display != "none").map(o => o.src).join() + box.innerText;
        return [...document.querySelectorAll(".loco-scrub")].map(box => {
            const slider = box.querySelector("input[type=range]"), before = shown(box);
            slider.value = slider.value == slider.max ? slider.min : slider.max;
            for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind, {bubbles: true}));
            return shown(box) != before;
        })''')
    assert len(moved) == sliders(page) and all(moved)

def check_widgets(browser):
    "Live widgets are drawn, and their labels typeset without an error"
    until(browser, 'return document.querySelectorAll(".jupyter-widgets .noUi-handle, .jupyter-widgets input").length')
    time.sleep(.3)                                             # labels are typeset after they are drawn
    assert not [o['message'] for o in browser.get_log('browser') if o['level'] == 'SEVERE']

ALIKE = '''const seen = new Set();
    for (const token of [...document.querySelectorAll(".highlight pre > *")]) {
        const kind = [token.closest(".highlight"), token.parentElement, token].map(o => o.className).join("|");
        seen.has(kind) ? token.remove() : seen.add(kind);
    }'''

AXE = '''const done = arguments[0]; axe.run({exclude: [["mjx-container"]]}, {preload: false, resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21aa"]})
    .then(o => done(o.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(v => `${v.id}: ${v.nodes[0].html.slice(0, 150)} (${v.nodes.length})`)))'''

def check_access(browser, theme):
    "axe-core finds no serious fault: names, contrast, roles; of the thousands of words of code, which get their colour by their kind, it sees one of each kind"
    browser.execute_script(ALIKE)
    browser.execute_script(f'document.documentElement.dataset.theme = document.documentElement.dataset.mode = "{theme}"')
    time.sleep(.3)                                             # colours fade from one theme to the other
    if not browser.execute_script('return !!window.axe'): browser.execute_script((NBS/'_site/vendor/check/axe.min.js').read_text(encoding='utf-8'))
    assert not browser.execute_async_script(AXE), f'in the {theme} theme'

@contextmanager
def phone(browser):
    "At the width of a phone, where a page is hardest to fit and what all pages share is out of sight"
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=360, height=800, deviceScaleFactor=1, mobile=True))
    try: yield
    finally: browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})

LISTS = sorted(page_of(o) for o in NBS.rglob('[!_.]*.md') if '_site' not in o.parts)

@pytest.mark.parametrize('page', [*PAGES, *LISTS, 'search', 'genindex'])
def test_page(browser, site, page):
    with phone(browser):
        check_whole(browser, *visit(browser, site, page))
        if page in PAGES:
            if any('$' in p for p in prose(page)): check_mathematics(browser, page)
            if widgets(page): check_widgets(browser)
            check_sliders(browser, page)
        assert browser.execute_script('return document.documentElement.scrollWidth') <= 360, 'the page scrolls sideways'
        check_access(browser, 'light')                         # last, for it thins the page out

@pytest.mark.parametrize('page', ['index', 'glossary', 'search', 'genindex', *PAGES[8::12]])
def test_wide_page(browser, site, page):
    "What all pages share, menus on both sides and two themes, on some of them"
    check_whole(browser, *visit(browser, site, page))
    for theme in ('light', 'dark'): check_access(browser, theme)

# ---------------------------------------------------------------- the site as a whole

class Links(HTMLParser):
    "Where a page leads, and what can be led to on it"
    def __init__(self, source):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(source)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a.get('id'), a.get('name')} - {None}
        if tag in ('a', 'link', 'script', 'img', 'source') and (to := a.get('href') or a.get('src')): self.links.append(to)

def test_links_resolve(site):
    "Every link between pages, every anchor, every file"
    pages = {o.resolve(): Links(o.read_text(encoding='utf-8')) for o in site.rglob('*.html') if '_static' not in o.parts}
    lost = []
    for path, found in pages.items():
        for to in set(found.links):
            if re.match(r'[a-z]+:|//', to): continue
            file, _, part = to.partition('#')
            there = (path.parent/unquote(file.partition('?')[0])).resolve() if file else path
            if not there.exists() or (part and there in pages and unquote(part) not in pages[there].ids): lost.append(f'{path.name}: {to}')
    assert not lost, f'{len(lost)} links lead nowhere: {sorted(lost)[:20]}'

def test_pages_lead_on(site):
    "From a page to the one before and the one after it, and to its notebook"
    for o in PAGES[1:-2]:
        source = (site/f'{o}.html').read_text(encoding='utf-8')
        assert 'class="right-next"' in source and 'class="left-prev"' in source, o
        assert 'reference download internal' in source, o

def test_exported_code_is_shown(site):
    "What the package is made of stands on its page: open, or folded where it is long"
    for o in ('3_detector/13_nms', '4_ideas/19_lcc', 'workshop/a18_run'):
        source = re.sub(r'<[^>]+>', '', (site/f'{o}.html').read_text(encoding='utf-8'))
        for c in cells(o):
            if re.match(r'#\| exports?\n', text(c['source'])) and (m := re.search(r'^def (\w+)', text(c['source']), re.M)): assert f'def {m[1]}' in source, f'{o}: {m[1]}'

def test_programs_can_read_it(site):
    "llms.txt names every page, and each page is there as Markdown"
    listed = (site/'llms.txt').read_text(encoding='utf-8')
    for o in PAGES:
        assert f'({o}.md)' in listed or o == 'index'
        assert (site/f'{o}.md').read_text(encoding='utf-8').startswith('# ')

def test_colab_link_needs_a_public_home(monkeypatch):
    "One setting, the repository's address, makes the link; a place that is not GitHub makes none"
    sys.path.insert(0, str(NBS/'_site'))
    import reader
    monkeypatch.setattr(reader, 'settings', lambda: dict(git_url='https://example.org/a/b', branch='main'))
    assert reader.colab('2_grid/03_clock') is None
    monkeypatch.setattr(reader, 'settings', lambda: dict(git_url='https://github.com/a/b', branch='main'))
    assert reader.colab('2_grid/03_clock') == 'https://colab.research.google.com/github/a/b/blob/main/nbs/2_grid/03_clock.ipynb'

def test_dark_mode(browser, site):
    visit(browser, site, PAGES[0])
    ground = 'return getComputedStyle(document.body).backgroundColor'
    light = browser.execute_script('document.documentElement.dataset.theme = "light"; ' + ground)
    dark = browser.execute_script('document.documentElement.dataset.theme = "dark"; ' + ground)
    assert light != dark
    until(browser, 'return !!document.querySelector(".theme-switch-button")')

def test_search_finds_a_part(browser, site):
    browser.get((site/'search.html').as_uri() + '?q=Gaussian')
    until(browser, 'return [...document.querySelectorAll("#search-results a")].some(o => o.href.includes("gaussian"))')

def test_every_public_name_has_its_reference(site):
    "On its notebook's page, with its parameters, and in the list of all names"
    import reader
    listed, seen = (site/'api.html').read_text(encoding='utf-8'), 0
    for m in reader.modules():
        if m.name == 'loco': continue
        page = (site/f'{page_of(m.notebook)}.html').read_text(encoding='utf-8')
        for n in m.names:
            assert f'id="{m.name}.{n}"' in page, f'{m.name}.{n} is not on its page'
            assert f'href="{page_of(m.notebook)}.html#{m.name}.{n}"' in listed, f'{m.name}.{n} is not in the list'
            seen += 1
    assert seen > 50

def test_names_in_prose_are_links(site):
    pages = [(site/f'{o}.html').read_text(encoding='utf-8') for o in PAGES]
    assert sum(bool(re.search(r'class="reference internal" href="[\w./]*#loco\.', o)) for o in pages) > len(pages)/3

def test_pages_hold_no_machine_path(site):
    for o in site.rglob('*.html'): assert str(ROOT) not in o.read_text(encoding='utf-8'), o.name
