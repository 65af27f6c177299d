"""Every page of the documentation works in a browser, from a file, with nothing asked of the network"""
import json, re, shutil, subprocess, sys, time
import pytest
from common import NBS, ROOT, load, notebooks, page as page_of, text

sys.path.insert(0, str(NBS/'_site'))
import vendor

pytestmark = [pytest.mark.site, pytest.mark.xdist_group('site')]
PAGES = [page_of(o) for o in notebooks()]
FLAGS = '''--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
    --disable-sync --disable-dev-shm-usage --window-size=1300,1600'''.split()

def find(*names): return next(filter(None, map(shutil.which, names)), None)

BINARY, DRIVER = find('chromium', 'chromium-browser', 'google-chrome'), find('chromedriver')
if not (BINARY and DRIVER and (find('npm') or not vendor.missing())):
    pytest.skip('the site is tested in a browser: `make test` as root on Debian installs it, or apt-get install chromium chromium-driver npm', allow_module_level=True)

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

@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    "Headless Chromium with its console and network logs"
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    options = webdriver.ChromeOptions()
    options.binary_location = BINARY
    for o in [*FLAGS, f'--user-data-dir={tmp_path_factory.mktemp("chromium")}']: options.add_argument(o)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()

def until(browser, script, seconds=20):
    "Wait for `script` to return something true"
    end = time.monotonic() + seconds
    while not (found := browser.execute_script(script)):
        assert time.monotonic() < end, f'waited {seconds} s for: {script}'
        time.sleep(.05)
    return found

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

def prose(page): return [text(c['source']) for c in load(NBS/f'{page}.ipynb')['cells'] if c['cell_type'] == 'markdown']

@pytest.mark.parametrize('page', [*PAGES, 'api', 'search', 'genindex'])
def test_page_opens(browser, site, page):
    errors, asked = visit(browser, site, page)
    assert not errors
    assert asked and all(o.startswith(('file:', 'data:', 'blob:')) for o in asked), f'asks for {[o for o in asked if ":" in o and not o.startswith("file:")]}'
    broken = browser.execute_script('return [...document.images].filter(o => o.complete && !o.naturalWidth).map(o => o.src.slice(0, 90))')
    assert not broken, f'pictures that do not load: {broken}'
    assert browser.execute_script('return [...document.querySelectorAll("h1")].filter(o => o.offsetParent).length') == 1

@pytest.mark.parametrize('page', [o for o in PAGES if any('$' in p for p in prose(o))])
def test_mathematics_is_drawn(browser, site, page):
    visit(browser, site, page)
    wanted = sum(len(re.findall(r'\$\$.+?\$\$', re.sub(r'```.*?```|`[^`\n]*`', '', o, flags=re.S), re.S)) for o in prose(page))
    drawn = browser.execute_script('return document.querySelectorAll("mjx-container[display] svg, div.math mjx-container svg").length')
    assert browser.execute_script('return document.querySelectorAll("mjx-container svg").length')
    assert drawn >= wanted, f'{wanted} displayed equations in the notebook, {drawn} on the page'
    assert not browser.execute_script('return document.querySelectorAll("mjx-merror, [data-mjx-error]").length')
    left = browser.execute_script('return [...document.querySelectorAll(".bd-article p, .bd-article td")].map(o => o.innerText).filter(o => /\\$\\$|\\\\(frac|sigma|sum|hat)/.test(o))')
    assert not left, f'mathematics left as text: {left}'

@pytest.mark.parametrize('page', [o for o in PAGES if any('application/vnd.jupyter.widget-view+json' in str(c.get('outputs')) for c in load(NBS/f'{o}.ipynb')['cells'])])
def test_widgets_are_drawn(browser, site, page):
    visit(browser, site, page)
    until(browser, 'return document.querySelectorAll(".jupyter-widgets .noUi-handle, .jupyter-widgets input").length')
    time.sleep(.3)                                             # labels are typeset after they are drawn
    assert not [o['message'] for o in browser.get_log('browser') if o['level'] == 'SEVERE']

def sliders(page): return sum('loco-scrub' in str(c.get('outputs')) for c in load(NBS/f'{page}.ipynb')['cells'])

@pytest.mark.parametrize('page', [o for o in PAGES if sliders(o)])
def test_sliders_show_another_picture(browser, site, page):
    visit(browser, site, page)
    moved = browser.execute_script('''
        const shown = box => [...box.querySelectorAll("img")].filter(o => getComputedStyle(o).display != "none").map(o => o.src).join() + box.innerText;
        return [...document.querySelectorAll(".loco-scrub")].map(box => {
            const slider = box.querySelector("input[type=range]"), before = shown(box);
            slider.value = slider.value == slider.max ? slider.min : slider.max;
            for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind, {bubbles: true}));
            return shown(box) != before;
        })''')
    assert len(moved) == sliders(page) and all(moved)

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
